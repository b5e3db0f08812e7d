/* SPDX-License-Identifier: MIT */
#include "transport/body.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static ssize_t send_some(int sock, const void *data, size_t len, int flags)
{
        ssize_t n;

        do
                n = send(sock, data, len, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

static ssize_t read_some(int fd, void *buf, size_t len, uint64_t at)
{
        ssize_t n;

        do
                n = pread(fd, buf, len, (off_t)at);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

static size_t smaller(uint64_t a, size_t b)
{
        return a < b ? (size_t)a : b;
}

/* What is left of the head and the next bytes of the file leave in one message. Bytes of the file, or -errno. */
static ssize_t copy_piece(struct objm_body *b, int sock, uint8_t *buf, size_t cap)
{
        size_t head = b->head_len - b->head_sent, want = smaller(b->left, cap - head);
        ssize_t got = want ? read_some(b->fd, buf + head, want, b->at) : 0, n;

        if (got < 0 || (want && got == 0))
                return got < 0 ? -EIO : -ENODATA;
        memcpy(buf, b->head + b->head_sent, head);
        n = send_some(sock, buf, head + (size_t)got, 0);
        if (n < 0)
                return n;
        if ((size_t)n < head) {
                b->head_sent = (uint8_t)(b->head_sent + n);
                return 0;
        }
        b->head_sent = b->head_len;
        return n - (ssize_t)head;
}

/* MSG_MORE: the head waits for the first bytes of the file, so that both leave in one segment. */
static ssize_t splice_piece(struct objm_body *b, int sock, size_t quantum)
{
        off_t at = (off_t)b->at;
        ssize_t n;

        if (b->head_sent < b->head_len) {
                n = send_some(sock, b->head + b->head_sent, b->head_len - b->head_sent, b->left ? MSG_MORE : 0);
                if (n < 0)
                        return n;
                b->head_sent = (uint8_t)(b->head_sent + n);
                if (b->head_sent < b->head_len || !b->left)
                        return 0;
        }
        do
                n = sendfile(sock, b->fd, &at, smaller(b->left, quantum));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return n ? n : -ENODATA;
}

int objm_body_send(struct objm_body *b, int sock, size_t quantum, void *buf, size_t cap)
{
        size_t sent = 0;

        while (b->left || b->head_sent < b->head_len) {
                size_t asked = smaller(b->left, b->splice ? quantum - sent : cap - (b->head_len - b->head_sent));
                ssize_t n;

                if (sent >= quantum)
                        return OBJM_BODY_MORE;
                n = b->splice ? splice_piece(b, sock, quantum - sent) : copy_piece(b, sock, buf, cap);
                if (n < 0)
                        return (int)n;
                b->at += (uint64_t)n;
                b->left -= (uint64_t)n;
                sent += (size_t)n;
                if ((size_t)n < asked)
                        return -EAGAIN; /* full: reading the next piece would be for nothing */
        }
        return 0;
}

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* the same on all architectures that glibc runs on but alpha */
#endif

bool objm_body_cached(const struct objm_body *b)
{
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        struct {
                uint64_t off, len;
        } range = {.off = b->at, .len = b->left};
        struct {
                uint64_t cached, dirty, writeback, evicted, recently_evicted;
        } stat;

        if (!b->left)
                return true;
        if (syscall(SYS_cachestat, b->fd, &range, &stat, 0) < 0)
                return false;
        return stat.cached > (b->at + b->left - 1) / page - b->at / page;
}

void objm_body_deinit(struct objm_body *b)
{
        b->fd = objm_fd_close(b->fd);
}
