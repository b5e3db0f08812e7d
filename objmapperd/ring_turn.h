/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RING_TURN_H
#define OBJMAPPERD_RING_TURN_H
/*
 * One turn of a ring: up to RING_TURN requests are taken, answered and counted. ring_turn.c says which of those that
 * wait (places for replies, limits on requests a second) and shows the client what came of them; ring_request.c serves
 * each. Descriptors leave in batches, before the replies that announce them show; when the socket takes none, these
 * replies are taken back and their requests are served again later.
 *
 * The worker of the ring alone.
 */
#include "objmapperd/request.h"
#include "objmapperd/ring.h"

enum ring_step {
        RING_STEP_REPLY, /* a reply was put, or the request is with the pool */
        RING_STEP_WAIT,  /* it has been given back: there is no room for what it comes to */
        RING_STEP_FULL,  /* the same, because of the socket */
        RING_STEP_AGAIN, /* it and those before it, back to the mark, have been given back */
};

/* One turn. */
struct ring_turn {
        struct ring *r;
        struct request_context ctx;
        unsigned found;
        bool kept_records;          /* of every reply: somebody looks at the time, or they may be taken back */
        struct objm_ring_mark mark; /* before the first descriptor in the batch */
        size_t marked;              /* records that were to be counted then */
        uint32_t marked_referred;
        uint32_t referred;          /* requests that will come again, by the socket */
};

/* Takes the next request, of which @e is our copy, serves it and puts its reply, or gives it back. */
enum ring_step ring_turn_take(struct ring_turn *t, const struct objm_ring_request *e) objm_must_check;

/* Takes back what came since @m; these requests will be taken again. */
void ring_turn_rewind(struct ring_turn *t, const struct objm_ring_mark *m);

/* Sends the descriptors of the batch. RING_STEP_REPLY; or FULL or AGAIN, when all since the first was given back. */
enum ring_step ring_turn_send_fds(struct ring_turn *t) objm_must_check;

#endif
