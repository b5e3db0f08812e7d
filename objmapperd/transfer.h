/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_TRANSFER_H
#define OBJMAPPERD_TRANSFER_H
/*
 * A request whose answer is the object's bytes, and the connection lent to the pool for as long as that takes. Small
 * objects that are in the page cache are sent by the worker itself. Otherwise the worker stops watching the socket, the
 * pool sends a quantum at a time, waits for the socket among its other work, and gives the connection back by mail. A
 * client that keeps taking bodies is lent to an escort instead, for as long as it does (escort.h).
 * Meanwhile the worker does nothing to the socket but shut it down; what other requests of the connection come to waits
 * in its queue.
 */
#include "objmapperd/connection.h"

/* Bodies up to these sizes are tried in the worker; below TRANSFER_SPLICE_MIN, copying costs less than splicing. */
#define TRANSFER_INLINE_MAX (64 * 1024)
#define TRANSFER_GATHER_MAX (16 * 1024) /* and share a message with other replies */
#define TRANSFER_SPLICE_MIN (32 * 1024)
#define TRANSFER_SPLICE_MAX (128 * 1024)

/* A client that takes fewer bytes in a timeouts.request than this rate makes is cut off. */
#define TRANSFER_MIN_RATE (64 * 1024) /* bytes a second */

struct objm_body;
struct transfer;

enum {
        TRANSFER_LENT = 1,
};

/* Appends head and body, of TRANSFER_GATHER_MAX bytes at most, to the worker's batch, which has room. False: it would
 * have to wait for the disk. reply->fd stays the caller's. */
bool transfer_put(struct connection *c, const struct reply *r) objm_must_check;

/*
 * Sends head and body of @r; @alone: no other request of the connection has come, and an escort may look for more. 0:
 * done, reply->fd is closed. TRANSFER_LENT: others go on, or the connection is being closed; reply->fd is
 * taken. -EAGAIN: the socket is full; -EBUSY: too much waits for the pool; -ENOMEM: nothing is sent and reply->fd is
 * still the caller's.
 */
int transfer_send(struct connection *c, struct reply *r, bool alone) objm_must_check;

/* What is to be sent. body->fd is the reply's still. */
void transfer_describe(const struct connection *c, const struct reply *r, struct objm_body *body);

/* Lends the connection with a request that needs the disk even to be looked up. 0, or -EBUSY, -ENOMEM: not taken. */
int transfer_start(struct connection *c, const struct request *rq) objm_must_check;

/* The pool gives up soon and the connection comes back to be closed. */
void transfer_abort(struct connection *c);

/* Bytes that a client has to take in @window_ns. */
uint64_t transfer_least(uint64_t window_ns);

/* Has the client taken enough since the last call, a timeouts.request ago? */
bool transfer_is_slow(struct connection *c, uint64_t window_ns);

#endif
