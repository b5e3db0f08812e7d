/* SPDX-License-Identifier: MIT */
#include "transport/batch.h"

#include "base/fd.h"

#include <assert.h>
#include <errno.h>

void objm_batch_clear(struct objm_batch *b)
{
        objm_fd_close_many(b->fds, b->n_fds);
        b->n_fds = 0;
        b->len = 0;
}

/* Sends the bytes with @n_fds of the descriptors; a remainder, then without descriptors, goes to @q. */
static int send_bytes(const struct objm_batch *b, size_t n_fds, int sock, struct objm_outq *q)
{
        ssize_t n = objm_fdpass_send(sock, b->data, b->len, b->fds, n_fds);

        if (n < 0)
                return (int)n;
        return (size_t)n < b->len ? objm_outq_push(q, b->data + n, b->len - (size_t)n, -1) : 0;
}

int objm_batch_send(struct objm_batch *b, int sock, struct objm_outq *q)
{
        int r = send_bytes(b, b->n_fds, sock, q);

        if (r == 0)
                objm_batch_clear(b);
        return r;
}

/* Queues @len bytes with the batch's descriptor, if it has one. */
static int queue_with_fd(struct objm_batch *b, const void *data, size_t len, struct objm_outq *q)
{
        int r;

        assert(b->n_fds <= 1);
        r = objm_outq_push(q, data, len, b->n_fds ? b->fds[0] : -1);
        if (r == 0)
                b->n_fds = 0; /* the queue owns it now */
        return r;
}

int objm_batch_queue(struct objm_batch *b, struct objm_outq *q)
{
        int r = queue_with_fd(b, b->data, b->len, q);

        objm_batch_clear(b);
        return r;
}

int objm_batch_queue_apart(struct objm_batch *b, uint8_t byte, struct objm_outq *q)
{
        int r = objm_outq_push(q, b->data, b->len, -1);

        if (r == 0 && b->n_fds)
                r = queue_with_fd(b, &byte, 1, q);
        objm_batch_clear(b);
        return r;
}

int objm_batch_send_apart(struct objm_batch *b, uint8_t byte, int sock, struct objm_outq *q)
{
        int r = send_bytes(b, 0, sock, q);
        ssize_t n;

        if (r < 0)
                return r;
        if (b->n_fds) {
                n = objm_outq_empty(q) ? objm_fdpass_send(sock, &byte, 1, b->fds, 1) : -EAGAIN;
                if (n == -EAGAIN || n == -ETOOMANYREFS) /* the header has gone: it cannot be refused any more */
                        r = queue_with_fd(b, &byte, 1, q);
                else if (n < 0)
                        r = (int)n;
        }
        objm_batch_clear(b);
        return r;
}
