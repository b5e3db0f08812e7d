/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_RING_SERVER_H
#define OBJM_TRANSPORT_RING_SERVER_H
/*
 * The server's end of a ring: takes requests, puts replies. Trusts nothing in memory that the client can write: every
 * entry and every URI is copied once and the copy checked, the reply memory is never read back, and an index that
 * moves where it cannot is -EPROTO, the end of the connection. Never waits. One thread.
 *
 * Requests that were passed since a mark can be given back together with their replies, as long as nothing was
 * published since: they will come again.
 */
#include "transport/arena.h"
#include "transport/shm.h"
#include <sys/types.h>

struct objm_ring_mark {
        uint32_t request, reply, arena;
};

/* A request as it was copied out of the memory, which the client may have changed since. */
union objm_ring_copy {
        struct objm_ring_entry entry;
        struct objm_ring_request request;
};

struct objm_ring_server {
        struct objm_ring_consumer requests;
        struct objm_ring_producer replies;
        struct objm_arena arena;
        struct objm_shm shm;
        uint32_t rung; /* the client's `asleep` for which it has been woken */
};

/* Makes the memory; @ret_fds as objm_shm_create(). 0 or negative errno. */
int objm_ring_server_init(struct objm_ring_server *s, const struct objm_ring_geometry *g,
                          int ret_fds[2]) objm_must_check;
void objm_ring_server_deinit(struct objm_ring_server *s);

/* Requests that can be taken, or -EPROTO. */
static inline int objm_ring_server_readable(struct objm_ring_server *s)
{
        return objm_ring_readable(&s->requests);
}

/* While polling: is there something? objm_ring_look(). */
static inline bool objm_ring_server_look(struct objm_ring_server *s)
{
        return objm_ring_look(&s->requests);
}

/*
 * True when there is something that readable() will find, or find wrong; now, not by and by. A head that is behind what
 * stamps have told of is late and says nothing.
 */
static inline bool objm_ring_server_pending(struct objm_ring_server *s)
{
        struct objm_ring_consumer *c = &s->requests;

        return objm_ring_look(c) ||
               !objm_ring_reachable(c->head, atomic_load_explicit(&c->at.head->value, memory_order_relaxed), c->seen);
}

/* Copies the request that is @ahead of the next one; readable() has said that it is there. Only the copy counts. */
static inline void objm_ring_server_copy(const struct objm_ring_server *s, uint32_t ahead, union objm_ring_copy *ret)
{
        objm_ring_peek(&s->requests, ahead, &ret->entry);
}

/* The next request, which has been copied, is done with. */
static inline void objm_ring_server_pass(struct objm_ring_server *s)
{
        s->requests.next++;
}

/* Points *ret at the URI, in @rq or copied to @buf of OBJM_URI_MAX bytes. False: it is not inside the arena. */
bool objm_ring_server_uri(const struct objm_ring_server *s, const struct objm_ring_request *rq, uint8_t *buf,
                          const uint8_t **ret);

/* Replies that can be put, at least @want if the client has made so much room; or -EPROTO. */
int objm_ring_server_room(struct objm_ring_server *s, uint32_t want);

/* Memory for a body of 1..arena bytes, whose offset goes into the reply. NULL: there is no room now. */
uint8_t *objm_ring_server_body(struct objm_ring_server *s, uint32_t len, uint32_t *ret_at);

/* Puts a reply, for which room() has said there is some. */
static inline void objm_ring_server_put(struct objm_ring_server *s, const struct objm_ring_reply *r)
{
        union {
                struct objm_ring_reply reply;
                struct objm_ring_entry entry;
        } e objm_uninitialized;

        e.reply = *r;
        objm_arena_put(&s->arena, s->replies.next);
        objm_ring_put(&s->replies, &e.entry);
}

static inline struct objm_ring_mark objm_ring_server_mark(const struct objm_ring_server *s)
{
        return (struct objm_ring_mark){s->requests.next, s->replies.next, s->arena.head};
}

/* Gives back what was passed, and takes back what was put, since @m. */
void objm_ring_server_rewind(struct objm_ring_server *s, const struct objm_ring_mark *m);

/*
 * Lets the client see what was put and have the places of what was taken. Returns enum objm_ring_asleep: what it wants
 * to be woken by.
 */
uint32_t objm_ring_server_publish(struct objm_ring_server *s) objm_must_check;

/* Wakes a client that waits by futex. Where none does yet, the next publish() will ask for it again. */
void objm_ring_server_wake(struct objm_ring_server *s);

/* Says that the server sleeps. 0: there is nothing, and the doorbell will be rung; else what readable() says. */
int objm_ring_server_sleep(struct objm_ring_server *s) objm_must_check;
void objm_ring_server_awake(struct objm_ring_server *s);

/* Asks for the doorbell without a look: for one that will look again in any case. */
void objm_ring_server_doze(struct objm_ring_server *s);

/* Ends a ring in which nothing is under way: true, and no request that is put from now on will count. Else false. */
bool objm_ring_server_end(struct objm_ring_server *s) objm_must_check;

#endif
