/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_OUTQ_H
#define OBJM_TRANSPORT_OUTQ_H
/*
 * What could not be sent at once: a bounded queue of messages, each with at most one descriptor, which goes with the
 * message's first byte. Empty queues own no memory. One thread.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <stddef.h>

#define OBJM_OUTQ_BYTES_MAX (64 * 1024)
#define OBJM_OUTQ_FDS_MAX   64

struct objm_out;

struct objm_outq {
        struct objm_out *head, **tail;
        size_t bytes, fds;
};

void objm_outq_init(struct objm_outq *q);

/* Closes the descriptors that still wait. */
void objm_outq_deinit(struct objm_outq *q);

static inline bool objm_outq_empty(const struct objm_outq *q)
{
        return !q->head;
}

/* Copies @len >= 1 bytes; takes @fd (or -1) on success. -ENOBUFS: the bounds are reached; -ENOMEM. */
int objm_outq_push(struct objm_outq *q, const void *data, size_t len, int take_fd) objm_must_check;

/*
 * Sends what the socket takes. 0: all is sent; -EAGAIN: some waits; -ETOOMANYREFS: the same, though the socket would
 * take it: the kernel passes on no more of our descriptors; other negative errno: the connection is over.
 */
int objm_outq_send(struct objm_outq *q, int sock) objm_must_check;

#endif
