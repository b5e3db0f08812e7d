/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_RING_CLIENT_H
#define OBJM_TRANSPORT_RING_CLIENT_H
/*
 * The client's end of a ring: puts requests, takes replies. Never waits, but for wait(). One thread.
 */
#include "transport/arena.h"
#include "transport/shm.h"

struct objm_ring_client {
        struct objm_ring_producer requests;
        struct objm_ring_consumer replies;
        struct objm_arena arena;
        struct objm_shm shm;
        int doorbell;  /* owned; -1: no ring */
        bool armed;    /* the server has been told that this side sleeps */
        uint32_t arms; /* times that it was, in steps of OBJM_RING_ASLEEP_STEP */
};

enum {
        OBJM_RING_CLIENT_FULL = 1,  /* no room until the server has taken some */
        OBJM_RING_CLIENT_ENDED = 2, /* the server has ended the ring: what was put is lost */
};

void objm_ring_client_none(struct objm_ring_client *c);

/* Maps what the server has granted; @fds, OBJM_RING_FDS of them, stay the caller's. 0 or negative errno. */
int objm_ring_client_init(struct objm_ring_client *c, const struct objm_ring_geometry *g,
                          const int *fds) objm_must_check;
void objm_ring_client_deinit(struct objm_ring_client *c);

/* After fork(2): the memory is not in this process. */
void objm_ring_client_forget(struct objm_ring_client *c);

static inline bool objm_ring_client_attached(const struct objm_ring_client *c)
{
        return c->doorbell >= 0;
}

/*
 * Puts a request; @rq without URI and flags, which follow from @uri and, with @plain false, from what is set. 0;
 * OBJM_RING_CLIENT_FULL; -EPROTO: the server makes no sense.
 */
int objm_ring_client_put(struct objm_ring_client *c, struct objm_ring_request *rq, const void *uri, size_t len,
                         bool plain) objm_must_check;

/* Hands over what was put, and wakes the server if it sleeps. 0 or OBJM_RING_CLIENT_ENDED. */
int objm_ring_client_publish(struct objm_ring_client *c) objm_must_check;

/* True when the server has ended the ring. */
bool objm_ring_client_ended(const struct objm_ring_client *c);

/* Replies that can be taken, or -EPROTO. */
static inline int objm_ring_client_readable(struct objm_ring_client *c)
{
        return objm_ring_readable(&c->replies);
}

/* While polling: are there any? objm_ring_look(). */
static inline bool objm_ring_client_look(struct objm_ring_client *c)
{
        return objm_ring_look(&c->replies);
}

void objm_ring_client_take(struct objm_ring_client *c, struct objm_ring_reply *ret);

/* The body of a reply until release(); NULL: it is not inside the arena. */
const uint8_t *objm_ring_client_body(const struct objm_ring_client *c, const struct objm_ring_reply *r);

/* Gives back the places, and the bodies, of what was taken. */
void objm_ring_client_release(struct objm_ring_client *c);

/*
 * Says that this side sleeps and how it is to be woken: OBJM_RING_ASLEEP or OBJM_RING_POLLING. 0: nothing is there, go
 * to sleep; else what readable() says. disarm() when awake.
 */
int objm_ring_client_arm(struct objm_ring_client *c, uint32_t how) objm_must_check;
void objm_ring_client_disarm(struct objm_ring_client *c);

/* Armed for it, sleeps until there is a reply, @timeout_ns have passed or a signal came. */
void objm_ring_client_wait(const struct objm_ring_client *c, uint64_t timeout_ns);

#endif
