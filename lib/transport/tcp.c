/* SPDX-License-Identifier: MIT */
#include "transport/tcp.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#define DRAIN_BYTES (64 * 1024) /* of input, before an orderly close */

static int set(int fd, int level, int name, int value)
{
        return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/*
 * Each reply leaves at once; a peer that has vanished is found out. SO_SNDBUF stays the kernel's to tune, since a fixed
 * one bounds the rate over long paths; TCP_NOTSENT_LOWAT bounds what waits.
 */
static int tune(int fd)
{
        static const struct {
                int level, name, value;
        } options[] = {
                {IPPROTO_TCP, TCP_NODELAY, 1},
                {SOL_SOCKET, SO_KEEPALIVE, 1},
                {IPPROTO_TCP, TCP_KEEPIDLE, OBJM_TCP_KEEP_IDLE_S},
                {IPPROTO_TCP, TCP_KEEPINTVL, OBJM_TCP_KEEP_EACH_S},
                {IPPROTO_TCP, TCP_KEEPCNT, OBJM_TCP_KEEP_PROBES},
                {IPPROTO_TCP, TCP_USER_TIMEOUT, OBJM_TCP_GIVE_UP_MS},
                {IPPROTO_TCP, TCP_NOTSENT_LOWAT, OBJM_TCP_UNSENT},
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < objm_array_len(options); i++)
                r = set(fd, options[i].level, options[i].name, options[i].value);
        return r;
}

static int new_socket(const struct objm_inet *addr)
{
        int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return fd < 0 ? -errno : fd;
}

int objm_tcp_listen(const struct objm_inet *addr, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = new_socket(addr);
        int r = fd < 0 ? fd : set(fd, SOL_SOCKET, SO_REUSEADDR, 1);

        if (r == 0 && addr->any.sa_family == AF_INET6)
                r = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        if (r < 0)
                return r;
        if (bind(fd, &addr->any, addr->len) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_tcp_adopt_listener(int fd)
{
        int protocol = 0, listening = 0;
        socklen_t len = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
                return errno == ENOTSOCK ? -EINVAL : -errno;
        if (protocol != IPPROTO_TCP || !listening)
                return -EINVAL;
        return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

/* The options are set on each connection: what a listener that was passed to us had is not ours to know. */
int objm_tcp_accept(int listener, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        int r;

        if (fd < 0)
                return -errno;
        r = tune(fd);
        if (r < 0)
                return r;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_tcp_connect(const struct objm_inet *addr, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = new_socket(addr);
        int r = fd < 0 ? fd : tune(fd);

        if (r < 0)
                return r;
        if (connect(fd, &addr->any, addr->len) < 0 && errno != EINPROGRESS)
                return -errno;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

/*
 * Where nobody listens on a port of this machine that is among those the kernel gives to connecting sockets, it may
 * give just that one, and the socket is connected to itself (RFC 9293, 3.5: simultaneous open).
 */
static bool is_own_peer(int fd)
{
        struct objm_inet own = {.len = sizeof(own.v6)}, peer = {.len = sizeof(peer.v6)};

        return getsockname(fd, &own.any, &own.len) == 0 && getpeername(fd, &peer.any, &peer.len) == 0 &&
               objm_inet_same(&own, &peer);
}

int objm_tcp_connected(int fd)
{
        int error = 0;
        socklen_t len = sizeof(error);

        if (!objm_tcp_has_room(fd))
                return -EINPROGRESS;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
                return -errno;
        return error ? -error : is_own_peer(fd) ? -ECONNREFUSED : 0;
}

int objm_tcp_name(int fd, struct objm_inet *ret)
{
        struct objm_inet a = {.len = sizeof(a.v6)};

        if (getsockname(fd, &a.any, &a.len) < 0)
                return -errno;
        if (a.any.sa_family != AF_INET && a.any.sa_family != AF_INET6)
                return -EAFNOSUPPORT;
        *ret = a;
        return 0;
}

size_t objm_tcp_unread(int fd)
{
        int n = 0;

        return ioctl(fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* An error, too, ends the wait: POLLERR and POLLHUP. */
bool objm_tcp_has_room(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        return poll(&p, 1, 0) > 0;
}

void objm_tcp_reset_on_close(int fd)
{
        struct linger now = {.l_onoff = 1};

        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void objm_tcp_finish(int fd)
{
        char dropped[4096];

        shutdown(fd, SHUT_WR);
        for (size_t i = 0; i < DRAIN_BYTES / sizeof(dropped); i++)
                if (recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT) <= 0)
                        return;
}
