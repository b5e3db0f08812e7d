/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_BODY_H
#define OBJM_TRANSPORT_BODY_H
/*
 * The bytes of an object on their way to a socket: a head, then a range of a file, sent a piece at a time without
 * waiting for the peer, or no longer than a given time. Copied through a buffer, or spliced by the kernel
 * (sendfile(2), which moves the pages through a pipe that belongs to this one call). What is spliced and not yet
 * received is the file's own pages: a file that is overwritten in place changes under it. Use copy for such trees.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OBJM_BODY_HEAD_MAX 192

struct objm_body {
        int fd; /* owned; private to this transfer */
        bool splice;
        bool nowait; /* send only what is in the page cache */
        bool probed; /* with nowait: the beginning was there */
        bool patient; /* the socket has objm_body_set_patience(): wait for the peer for that long */
        uint8_t head_len, head_sent;
        uint8_t head[OBJM_BODY_HEAD_MAX];
        uint64_t at, left; /* in the file, bytes */
        const uint8_t *bytes; /* borrowed: the whole file, which then is not read; NULL: it is */
};

enum {
        OBJM_BODY_MORE = 1, /* the piece is sent, the socket would take another */
        OBJM_BODY_COLD = 2, /* with nowait: the next bytes have to be waited for; the kernel has begun to read them */
};

/*
 * From here on the socket waits for its peer when it is full, each time up to @ms, and so does recv(2) when it has
 * nothing; with 0 neither waits, as sockets begin here. Sleeping in these calls costs less than in poll(2), whose timer
 * has to be set in hardware. 0 or negative errno.
 */
int objm_body_set_patience(int sock, unsigned ms) objm_must_check;

/*
 * Sends up to about @quantum bytes, at most once around @cap of @buf a system call; splice needs @buf for nowait alone.
 * 0: all is sent; OBJM_BODY_MORE; OBJM_BODY_COLD; -EAGAIN: the socket is full, with patience still; -ENODATA: the file
 * ended before the promised length, -EIO: it cannot be read (nothing is padded: unless nothing has been sent, close the
 * connection); -EPIPE, -ECONNRESET and others: the connection is over. SIGPIPE must be ignored: sendfile(2) has no
 * MSG_NOSIGNAL. Reading the file may wait for a disk; with nowait only where the file system cannot say (preadv2(2):
 * EOPNOTSUPP), or when memory is short.
 */
int objm_body_send(struct objm_body *b, int sock, size_t quantum, void *buf, size_t cap) objm_must_check;

/*
 * True when all of the range is known to be in the page cache and neither end is still being read, so that reading it
 * will not wait. Asks cachestat(2), which came with Linux 6.5 and, on Linux 6.18, answers only those who own the file
 * or may write it.
 */
bool objm_body_cached(const struct objm_body *b);

/*
 * Reads all of @len bytes, with @nowait without waiting for a disk. 0; -EAGAIN: with @nowait, they are not in memory,
 * or the file system cannot tell; -ENODATA: the file has become shorter; other negative errno.
 */
int objm_body_read(int fd, void *buf, size_t len, uint64_t at, bool nowait) objm_must_check;

void objm_body_deinit(struct objm_body *b);

#endif
