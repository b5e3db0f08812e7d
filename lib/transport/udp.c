/* SPDX-License-Identifier: MIT */
#include "transport/udp.h"

#include "base/fd.h"

#include <errno.h>
#include <sys/socket.h>

static int set(int fd, int level, int name, int value)
{
        return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* "Don't fragment" for what leaves, ip(7) and ipv6(7): what a path cannot take in one piece is lost. */
static int set_options(int fd, sa_family_t family)
{
        int r;

        if (family == AF_INET)
                return set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
        r = set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
        return r < 0 ? r : set(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
}

static int new_socket(sa_family_t family, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
        int r;

        if (fd < 0)
                return -errno;
        r = set_options(fd, family);
        if (r == 0 && family == AF_INET6)
                r = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        if (r < 0)
                return r;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_udp_bind(const struct objm_inet *a, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        int r = new_socket(a->any.sa_family, &fd);

        if (r < 0)
                return r;
        if (bind(fd, &a->any, a->len) < 0)
                return -errno;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_udp_connect(const struct objm_inet *a, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        int r = new_socket(a->any.sa_family, &fd);

        if (r < 0)
                return r;
        if (connect(fd, &a->any, a->len) < 0)
                return -errno;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_udp_name(int fd, struct objm_inet *ret)
{
        struct objm_inet a = {.len = sizeof(a.v6)};

        if (getsockname(fd, &a.any, &a.len) < 0)
                return -errno;
        if (a.any.sa_family != AF_INET && a.any.sa_family != AF_INET6)
                return -EINVAL;
        *ret = a;
        return 0;
}

int objm_udp_adopt(int fd)
{
        struct objm_inet a;
        int type, r = objm_udp_name(fd, &a);
        socklen_t len = sizeof(type);

        if (r < 0)
                return r;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
                return -errno;
        if (type != SOCK_DGRAM || !objm_udp_address_port(&a) || !objm_udp_address_is_unicast(&a))
                return -EINVAL;
        return set_options(fd, a.any.sa_family);
}

static void describe(struct mmsghdr *m, struct iovec *iov, struct objm_udp_datagram *d, size_t len)
{
        *iov = (struct iovec){.iov_base = d->data, .iov_len = len};
        *m = (struct mmsghdr){.msg_hdr = {.msg_name = &d->peer.any, .msg_namelen = d->peer.len, .msg_iov = iov,
                                          .msg_iovlen = 1}};
}

int objm_udp_recv(int fd, struct objm_udp_batch *b)
{
        struct mmsghdr m[OBJM_UDP_BATCH];
        struct iovec iov[OBJM_UDP_BATCH];
        int n;

        for (size_t i = 0; i < OBJM_UDP_BATCH; i++) {
                b->item[i].peer.len = sizeof(b->item[i].peer.v6);
                describe(&m[i], &iov[i], &b->item[i], sizeof(b->item[i].data));
        }
        b->n = 0;
        do
                n = recvmmsg(fd, m, OBJM_UDP_BATCH, MSG_DONTWAIT, NULL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN ? 0 : -errno;
        for (int i = 0; i < n; i++) {
                b->item[i].peer.len = m[i].msg_hdr.msg_namelen;
                b->item[i].len = m[i].msg_hdr.msg_flags & MSG_TRUNC ? 0 : m[i].msg_len;
        }
        b->n = (size_t)n;
        return 0;
}

/* sendmmsg(2) stops at the first one that fails, and says why only if that is the first of all. */
size_t objm_udp_send(int fd, const struct objm_udp_batch *b)
{
        struct mmsghdr m[OBJM_UDP_BATCH];
        struct iovec iov[OBJM_UDP_BATCH];
        size_t at = 0, sent = 0;

        for (size_t i = 0; i < b->n; i++)
                describe(&m[i], &iov[i], (struct objm_udp_datagram *)&b->item[i], b->item[i].len);
        while (at < b->n) {
                int n = sendmmsg(fd, m + at, (unsigned)(b->n - at), MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n > 0) {
                        at += (size_t)n;
                        sent += (size_t)n;
                } else if (errno == EAGAIN || errno == ENOBUFS) {
                        break;
                } else if (errno != EINTR) {
                        at++;
                }
        }
        return sent;
}

bool objm_udp_send_one(int fd, const struct objm_udp_datagram *d)
{
        ssize_t n;

        do
                n = sendto(fd, d->data, d->len, MSG_DONTWAIT | MSG_NOSIGNAL, &d->peer.any, d->peer.len);
        while (n < 0 && errno == EINTR);
        return n >= 0;
}
