/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RING_H
#define OBJMAPPERD_RING_H
/*
 * A connection's shared-memory ring: requests come and replies go through memory instead of the socket, by the same
 * table of operations. Descriptors still go over the socket. It belongs to the connection's worker and ends with the
 * connection; or before, when nobody has used it for ring.idle.
 *
 *      AWAKE    its requests are looked for in every turn, the client need not ring
 *      ASLEEP   the client rings
 *      WAITING  it cannot go on before the client takes replies, or the client rings for nothing: looked at by time,
 *               ever less often, and when the client rings
 */
#include "base/list.h"
#include "concurrency/loop.h"
#include "objmapperd/metrics.h"
#include "objmapperd/request.h"
#include "transport/ring_server.h"

/* Requests in a turn, so that one ring does not starve the others. */
#define RING_TURN 32

struct connection;

enum ring_state {
        RING_AWAKE,
        RING_ASLEEP,
        RING_WAITING,
        RING_CLOSED,
};

struct ring {
        struct objm_ring_server end;
        struct connection *c;
        struct objm_source doorbell; /* the eventfd: edge-triggered, never read */
        struct objm_list link;       /* by state: rings.awake, rings.waiting[level], or none */
        struct objm_list used;       /* in rings.all, in the order of `since` */
        struct objm_list done;       /* jobs whose replies wait for room */
        uint64_t since;              /* ns, coarse: when it last had a request */
        uint64_t retry_at;           /* WAITING: when to look again */
        uint32_t again;              /* requests that have started and were given back; see probe.h */
        uint16_t jobs;               /* with the pool or in `done` */
        uint8_t state, level;
        uint8_t vain, bells;         /* turns awake, and doorbells, in a row that nothing came of */
        bool muted;                  /* the doorbell is not listened to */
        bool limited;                /* WAITING: its client asks faster than it may */
        bool socket_full;            /* it goes on when the socket takes more */
};

/* Makes a ring that no worker knows of yet; @ret_fds as objm_shm_create(). Any thread. 0 or negative errno. */
int ring_new(const struct objm_ring_geometry *g, struct ring **ret, int ret_fds[2]) objm_must_check;

/* Begins to serve @r, which is taken on success, for @c, which has none. */
int ring_start(struct ring *r, struct connection *c) objm_must_check;

/* Ends it at once; the memory of the struct goes by ring_free(), when no event names it any more. */
void ring_close(struct ring *r);

/* The client has written what no client may: closes the connection. */
void ring_cut_off(struct ring *r);
void ring_free(struct ring *r);

/*
 * One turn, see ring_turn.h: works on up to RING_TURN requests. Returns how many; the ring may have become WAITING and
 * the connection closed.
 */
unsigned ring_serve(struct ring *r);

/* False for none, too. */
static inline bool ring_is_open(const struct ring *r)
{
        return r && r->state != RING_CLOSED;
}

/* True when requests wait that could be worked on, or replies that the client has to make room for. */
bool ring_pending(struct ring *r);

/* Whether a body fits into the ring's arena; one that does not goes over the socket only. */
static inline bool ring_body_fits(const struct ring *r, const struct reply *reply)
{
        return reply->body_len <= r->end.shm.geometry.arena;
}

/* Puts a reply that says no more than @status, for which there is room; @to_socket: the client is to ask there. */
void ring_put_refusal(struct ring *r, const struct request *rq, uint8_t status, bool to_socket);

/* Counts a request that the client will make by the socket. */
void ring_note_referred(struct ring *r, const struct request *rq);

/* Lets the client see what has been put, and wakes it. */
void ring_publish(struct ring *r);

/* Nobody has used it for long: ends it if nothing is under way, and tells the client. */
void ring_retire(struct ring *r);

#endif
