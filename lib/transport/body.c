/* SPDX-License-Identifier: MIT */
#include "transport/body.h"

#include "base/fd.h"
#include "base/pagecache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t send_some(int sock, const void *data, size_t len, int flags)
{
        ssize_t n;

        do
                n = send(sock, data, len, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

static int how_to_wait(const struct objm_body *b)
{
        return b->patient ? 0 : MSG_DONTWAIT;
}

static size_t smaller(uint64_t a, size_t b)
{
        return a < b ? (size_t)a : b;
}

#define NOT_CACHED (-EBUSY) /* which neither reading nor sending says */

static ssize_t read_some(int fd, void *buf, size_t len, uint64_t at)
{
        ssize_t n;

        do
                n = pread(fd, buf, len, (off_t)at);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -EIO : n;
}

static ssize_t read_at(int fd, void *buf, size_t len, uint64_t at)
{
        ssize_t n = pread(fd, buf, len, (off_t)at);

        return n < 0 ? -errno : n;
}

int objm_body_read(int fd, void *buf, size_t len, uint64_t at, bool nowait)
{
        for (size_t have = 0; have < len;) {
                ssize_t n = (nowait ? objm_pagecache_read : read_at)(fd, (uint8_t *)buf + have, len - have,
                                                                       at + have);

                if (n == -EOPNOTSUPP)
                        return -EAGAIN;
                if (n < 0 && n != -EINTR)
                        return (int)n;
                if (n == 0)
                        return -ENODATA;
                have += n > 0 ? (size_t)n : 0;
        }
        return 0;
}

/* All of it, NOT_CACHED or -EIO; waits where the file system cannot say. */
static ssize_t read_cached(int fd, void *buf, size_t len, uint64_t at)
{
        ssize_t n = objm_pagecache_read(fd, buf, len, at);

        if (n == -EOPNOTSUPP)
                return read_some(fd, buf, len, at);
        if (n < 0 && n != -EAGAIN && n != -EINTR)
                return -EIO;
        return n == (ssize_t)len ? n : NOT_CACHED; /* less: the rest is not cached, or the file has become shorter */
}

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* the same on all architectures that glibc runs on but alpha */
#endif

/* @len > 0. 1, 0, or -1: the kernel does not say. Pages count from when they begin to be read. */
static int in_page_cache(int fd, uint64_t at, uint64_t len)
{
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = (at + len - 1) / page - at / page + 1;
        struct {
                uint64_t off, len;
        } range = {.off = at, .len = len};
        struct {
                uint64_t cached, dirty, writeback, evicted, recently_evicted;
        } stat;

        if (syscall(SYS_cachestat, fd, &range, &stat, 0) < 0)
                return -1;
        return stat.cached >= pages;
}

/* Has the byte at @at been read? 1, 0, or -1: the file system does not say. */
static int is_read(int fd, uint64_t at)
{
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        ssize_t n = preadv2(fd, &iov, 1, (off_t)at, RWF_NOWAIT);

        return n < 0 && errno == EOPNOTSUPP ? -1 : n == 1;
}

/* As in_page_cache(), and neither end is still being read. -1: one of the two did not say. */
static int at_hand(int fd, uint64_t at, uint64_t len)
{
        int known = in_page_cache(fd, at, len), first, last;

        if (known <= 0)
                return known;
        first = is_read(fd, at);
        last = is_read(fd, at + len - 1);
        return first && last ? (first < last ? first : last) : 0;
}

static ssize_t send_two(int sock, const void *a, size_t a_len, const void *b, size_t b_len, int flags)
{
        struct iovec iov[2] = {{.iov_base = (void *)a, .iov_len = a_len}, {.iov_base = (void *)b, .iov_len = b_len}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t n;

        do
                n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* What @n bytes, sent of head and file, mean for the head; what is left of them is the file's. */
static ssize_t after_head(struct objm_body *b, ssize_t n)
{
        size_t head = b->head_len - b->head_sent;

        if (n < 0)
                return n;
        if ((size_t)n < head) {
                b->head_sent = (uint8_t)(b->head_sent + n);
                return 0;
        }
        b->head_sent = b->head_len;
        return n - (ssize_t)head;
}

/* As copy_piece(). */
static ssize_t piece_of_memory(struct objm_body *b, int sock, size_t cap)
{
        size_t head = b->head_len - b->head_sent;

        return after_head(b, send_two(sock, b->head + b->head_sent, head, b->bytes + b->at,
                                      smaller(b->left, cap - head), how_to_wait(b)));
}

/* What is left of the head and the next bytes of the file leave in one message. Bytes of the file, or -errno. */
static ssize_t copy_piece(struct objm_body *b, int sock, uint8_t *buf, size_t cap)
{
        size_t head = b->head_len - b->head_sent, want = smaller(b->left, cap - head);
        ssize_t got = 0;

        if (b->bytes)
                return piece_of_memory(b, sock, cap);
        if (want)
                got = (b->nowait ? read_cached : read_some)(b->fd, buf + head, want, b->at);
        if (got < 0 || (want && got == 0))
                return got < 0 ? got : -ENODATA;
        memcpy(buf, b->head + b->head_sent, head);
        return after_head(b, send_some(sock, buf, head + (size_t)got, how_to_wait(b)));
}

/* MSG_MORE: the head waits for the first bytes of the file, so that both leave in one segment. */
static ssize_t splice_piece(struct objm_body *b, int sock, size_t quantum)
{
        off_t at = (off_t)b->at;
        ssize_t n;

        if (b->head_sent < b->head_len) {
                n = send_some(sock, b->head + b->head_sent, b->head_len - b->head_sent,
                              how_to_wait(b) | (b->left ? MSG_MORE : 0));
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

/*
 * Where cachestat(2) does not answer: is the beginning of the next @len bytes there, enough for the kernel to read
 * ahead of it if not, and is their end? Between quanta the end is enough.
 */
static bool probe(struct objm_body *b, size_t len, uint8_t *buf, size_t cap)
{
        size_t first = b->probed ? 0 : smaller(len, cap);
        ssize_t n = first ? read_cached(b->fd, buf, first, b->at) : 0;

        b->probed = n != NOT_CACHED;
        return b->probed && read_cached(b->fd, buf, 1, b->at + len - 1) != NOT_CACHED;
}

static bool cached(struct objm_body *b, size_t len, void *buf, size_t cap)
{
        int known = at_hand(b->fd, b->at, len);

        return known < 0 ? probe(b, len, buf, cap) : known;
}

int objm_body_set_patience(int sock, unsigned ms)
{
        struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
        int flags = fcntl(sock, F_GETFL);

        if (flags < 0 || fcntl(sock, F_SETFL, ms ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0)
                return -errno;
        if (ms && (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
                   setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0))
                return -errno;
        return 0;
}

int objm_body_send(struct objm_body *b, int sock, size_t quantum, void *buf, size_t cap)
{
        size_t sent = 0;

        while (b->left || b->head_sent < b->head_len) {
                size_t asked = smaller(b->left, b->splice ? quantum - sent : cap - (b->head_len - b->head_sent));
                ssize_t n;

                if (sent >= quantum)
                        return OBJM_BODY_MORE;
                if (b->splice && b->nowait && asked && !cached(b, asked, buf, cap))
                        return OBJM_BODY_COLD;
                n = b->splice ? splice_piece(b, sock, quantum - sent) : copy_piece(b, sock, buf, cap);
                if (n < 0)
                        return n == NOT_CACHED ? OBJM_BODY_COLD : (int)n;
                b->at += (uint64_t)n;
                b->left -= (uint64_t)n;
                sent += (size_t)n;
                if ((size_t)n < asked)
                        return -EAGAIN; /* full: reading the next piece would be for nothing */
        }
        return 0;
}

bool objm_body_cached(const struct objm_body *b)
{
        return !b->left || at_hand(b->fd, b->at, b->left) > 0;
}

void objm_body_deinit(struct objm_body *b)
{
        b->fd = objm_fd_close(b->fd);
}
