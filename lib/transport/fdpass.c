/* SPDX-License-Identifier: MIT */
#include "transport/fdpass.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union control {
        struct cmsghdr align;
        char space[CMSG_SPACE(OBJM_FDPASS_MAX * sizeof(int))];
};

/* Costs less than sendmsg(2), whose header the kernel has to copy and check. */
static ssize_t send_bytes(int sock, const void *buf, size_t len)
{
        ssize_t n;

        do
                n = send(sock, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

ssize_t objm_fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds)
{
        struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        union control control objm_uninitialized; /* a kilobyte, most often used in part */
        ssize_t n;

        if (n_fds > OBJM_FDPASS_MAX)
                return -EINVAL;
        if (!n_fds)
                return send_bytes(sock, buf, len);
        memset(&control, 0, CMSG_SPACE(n_fds * sizeof(int)));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
        do
                n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

int objm_fdpass_probe(void)
{
        int pair[2];
        ssize_t n;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        n = objm_fdpass_send(pair[0], "", 1, pair, 1);
        objm_fd_close(pair[0]);
        objm_fd_close(pair[1]);
        return n < 0 ? (int)n : 0;
}

/* Moves the descriptors of one control message to @fds, closes those that do not fit. Returns how many were kept. */
static size_t take_fds(const struct cmsghdr *c, int *fds, size_t room, bool *lost)
{
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), kept = n < room ? n : room;
        int extra;

        if (kept) /* without room @fds may be NULL */
                memcpy(fds, CMSG_DATA(c), kept * sizeof(int));
        for (size_t i = kept; i < n; i++) {
                memcpy(&extra, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                objm_fd_close(extra);
                *lost = true;
        }
        return kept;
}

ssize_t objm_fdpass_recv(int sock, void *buf, size_t len, int *fds, size_t max_fds, size_t *ret_n, bool *ret_lost)
{
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        union control control;
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof(control)};
        size_t have = 0;
        bool lost = false;
        ssize_t n;

        do
                n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        have += take_fds(c, fds + have, max_fds - have, &lost);
        *ret_n = have;
        *ret_lost = lost || (msg.msg_flags & MSG_CTRUNC);
        return n;
}
