/* SPDX-License-Identifier: MIT */
/*
 * The floor: a server that makes the system calls of a descriptor grant (recv, openat2, fstat, sendmsg, close) and does
 * nothing else. No index, no checks, no limits, no timeouts; what it costs is what the kernel costs.
 *
 *      floor_server SOCKET TREE blocking|spin|epoll
 *
 * blocking and spin serve one connection after the other; epoll serves many at a time. Ends at SIGTERM.
 */
#include "wire3.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define BATCH 253

struct conn {
        int fd;
        size_t have;
        uint8_t in[16384 + 1];
};

static int root;

static int open_object(uint8_t *uri, size_t len, struct stat *st)
{
        struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                                          RESOLVE_CACHED};
        uint8_t behind = uri[len];
        int fd;

        uri[len] = 0;
        fd = (int)syscall(SYS_openat2, root, (char *)uri + 1, &how, sizeof(how));
        if (fd < 0 && errno == EAGAIN) {
                how.resolve &= ~(uint64_t)RESOLVE_CACHED;
                fd = (int)syscall(SYS_openat2, root, (char *)uri + 1, &how, sizeof(how));
        }
        uri[len] = behind;
        if (fd < 0 || fstat(fd, st) < 0) {
                perror((char *)uri);
                exit(1);
        }
        return fd;
}

static void send_all(int sock, const uint8_t *buf, size_t len, const int *fds, size_t n)
{
        struct iovec iov = {(void *)buf, len};
        union {
                struct cmsghdr c;
                char space[CMSG_SPACE(BATCH * sizeof(int))];
        } u;
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

        if (n) {
                m.msg_control = &u;
                m.msg_controllen = CMSG_SPACE(n * sizeof(int));
                u.c = (struct cmsghdr){.cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS};
                memcpy(CMSG_DATA(&u.c), fds, n * sizeof(int));
        }
        if (sendmsg(sock, &m, MSG_NOSIGNAL) != (ssize_t)len && errno != EPIPE)
                perror("sendmsg");
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
}

/* Answers everything whole in c->in. */
static void serve(struct conn *c)
{
        static uint8_t out[BATCH * REPLY];
        int fds[BATCH];
        size_t at = 0, n = 0, len;
        struct stat st;

        if (c->have >= HELLO && c->in[0] == 'O') {
                uint8_t hello[HELLO_REPLY] = "OBJM\003";

                be16(hello + 6, HELLO_REPLY);
                hello[15] = 1;
                send_all(c->fd, hello, sizeof(hello), NULL, 0);
                at = HELLO;
        }
        while (c->have - at >= REQUEST && c->have - at >= (len = REQUEST + get16(c->in + at + URI_LEN_AT))) {
                uint8_t *reply = out + n * REPLY;

                fds[n] = open_object(c->in + at + REQUEST, len - REQUEST, &st);
                memset(reply, 0, REPLY);
                reply[1] = 1;
                reply[2] = '1';
                reply[3] = 1;
                memcpy(reply + ID_AT, c->in + at + ID_AT, 4);
                be64(reply + 16, (uint64_t)st.st_size);
                at += len;
                if (++n == BATCH) {
                        send_all(c->fd, out, n * REPLY, fds, n);
                        n = 0;
                }
        }
        if (n)
                send_all(c->fd, out, n * REPLY, fds, n);
        c->have -= at;
        if (at && c->have)
                memmove(c->in, c->in + at, c->have);
}

/* False at the end of the connection. */
static int take(struct conn *c, int flags)
{
        ssize_t n;

        do
                n = recv(c->fd, c->in + c->have, sizeof(c->in) - 1 - c->have, flags);
        while (n < 0 && (errno == EAGAIN || errno == EINTR));
        if (n <= 0)
                return 0;
        c->have += (size_t)n;
        serve(c);
        return 1;
}

static void run_one_by_one(int listener, int flags)
{
        static struct conn c;

        for (;;) {
                c.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                c.have = 0;
                while (take(&c, flags))
                        ;
                close(c.fd);
        }
}

static void run_epoll(int listener)
{
        struct epoll_event ev = {.events = EPOLLIN}, evs[256];
        int ep = epoll_create1(0);

        epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
        for (;;) {
                int n = epoll_wait(ep, evs, 256, -1);

                for (int i = 0; i < n; i++) {
                        struct conn *c = evs[i].data.ptr;

                        if (!c) {
                                c = calloc(1, sizeof(*c));
                                c->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                                ev.data.ptr = c;
                                epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
                        } else if (!take(c, 0)) {
                                close(c->fd);
                                free(c);
                        }
                }
        }
}

int main(int argc, char **argv)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (argc != 4) {
                fprintf(stderr, "usage: floor_server SOCKET TREE blocking|spin|epoll\n");
                return 2;
        }
        root = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", argv[1]);
        unlink(argv[1]);
        if (root < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 4096) < 0) {
                perror("floor_server");
                return 1;
        }
        if (!strcmp(argv[3], "epoll"))
                run_epoll(listener);
        else
                run_one_by_one(listener, strcmp(argv[3], "spin") ? 0 : MSG_DONTWAIT);
}
