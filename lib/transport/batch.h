/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_BATCH_H
#define OBJM_TRANSPORT_BATCH_H
/*
 * Replies and their descriptors, gathered to leave in one message. The buffer is the worker's and serves one
 * connection after the other; it is empty between them. All-or-nothing: when the socket takes nothing, nothing is kept
 * and the caller asks again later from the requests; so a peer that does not read holds no descriptor of ours.
 */
#include "base/attr.h"
#include "transport/fdpass.h"
#include "transport/outq.h"
#include <stdint.h>

/*
 * 253 replies of 40 bytes fit, so does any single reply, and some small objects. Within what unix_stream_sendmsg() puts
 * into one buffer of its own (Linux), so that it leaves as one where the socket's buffer is large.
 */
#define OBJM_BATCH_BYTES (32 * 1024)

struct objm_batch {
        size_t len, n_fds;
        int fds[OBJM_FDPASS_MAX];
        uint8_t data[OBJM_BATCH_BYTES];
};

static inline size_t objm_batch_room(const struct objm_batch *b)
{
        return sizeof(b->data) - b->len;
}

/* Takes @take_fd. The caller has made sure of room. */
static inline void objm_batch_add_fd(struct objm_batch *b, int take_fd)
{
        b->fds[b->n_fds++] = take_fd;
}

/* Empties; closes the descriptors. */
void objm_batch_clear(struct objm_batch *b);

/*
 * Sends everything as one message and clears; what the socket did not take of the bytes goes to @q. 0. -EAGAIN (the
 * peer does not read) or -ETOOMANYREFS (too many of our descriptors are in flight): nothing went and the batch is as
 * it was; clear it, or hand it to queue(). Other errors: the connection is over.
 */
int objm_batch_send(struct objm_batch *b, int sock, struct objm_outq *q) objm_must_check;

/* Puts a batch of one reply with at most one descriptor behind what waits in @q, and clears. As objm_outq_push(). */
int objm_batch_queue(struct objm_batch *b, struct objm_outq *q) objm_must_check;

/*
 * The form of version 1: the bytes in one message, then @byte in another that carries the one descriptor. When only
 * the second cannot be sent yet, for either reason, it waits in @q.
 */
int objm_batch_send_apart(struct objm_batch *b, uint8_t byte, int sock, struct objm_outq *q) objm_must_check;
int objm_batch_queue_apart(struct objm_batch *b, uint8_t byte, struct objm_outq *q) objm_must_check;

#endif
