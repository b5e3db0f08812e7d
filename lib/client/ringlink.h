/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_RINGLINK_H
#define OBJM_CLIENT_RINGLINK_H
/*
 * A session's shared-memory ring, with OBJMAPPER_RING: asked for on each new connection, used for what the ring can do
 * while there is one, and gone with the connection. Everything works without it: what the server refuses, or what is
 * asked for meanwhile, goes over the socket.
 *
 *      OFF        none: not wanted, or the server has none for us
 *      ATTACHING  asked for
 *      ON         requests go through it
 *
 * Nothing in here waits, but for objm_ringlink_sleep().
 */
#include "transport/ring_client.h"

struct objmapper;
struct objm_reply;
struct objm_slot;

enum objm_ringlink_state {
        OBJM_RINGLINK_OFF,
        OBJM_RINGLINK_ATTACHING,
        OBJM_RINGLINK_ON,
};

struct objm_ringlink {
        struct objm_ring_client end; /* ON */
        enum objm_ringlink_state state;
        bool unusable;       /* this process cannot: do not ask again */
        bool ended;          /* the server has ended one; the next use asks for another */
        bool full;           /* what is queued waits for room */
        unsigned looks;
        const uint8_t *body; /* not NULL: what is to be received next of a body, and is given back after that */
};

/* The connection is READY: asks for a ring if one is wanted and to be had. */
void objm_ringlink_ask(struct objmapper *om);

/*
 * The answer to that, whose header is @used bytes at the front of the input. 1: taken; 0: not all of it is there;
 * -EPROTO; -EMFILE: its descriptors were lost.
 */
int objm_ringlink_answered(struct objmapper *om, const struct objm_reply *r, size_t used);

/* The server says on the socket: look at the ring. */
void objm_ringlink_on_doorbell(struct objmapper *om);

/* The connection is gone. @forked: it is the parent's. */
void objm_ringlink_close(struct objmapper *om, bool forked);

/* True when @s is to go through the ring. */
bool objm_ringlink_takes(const struct objmapper *om, const struct objm_slot *s);

/* Puts a request and marks it sent. False: no room now, or the connection was dropped. */
bool objm_ringlink_put(struct objmapper *om, struct objm_slot *s);

/* Hands over what was put. */
void objm_ringlink_publish(struct objmapper *om);

/* Completes what has been answered. False: nothing was there. */
bool objm_ringlink_receive(struct objmapper *om);

/* True when all that is awaited comes through memory. */
bool objm_ringlink_alone(const struct objmapper *om);

/* 1 to @n bytes of the body. */
size_t objm_ringlink_take_body(struct objmapper *om, void *buf, size_t n);
void objm_ringlink_skip_body(struct objmapper *om);

/* Sleeps until the ring has something, at most @ns; also returns when it is worth a look at the socket. */
void objm_ringlink_sleep(struct objmapper *om, uint64_t ns);

/* Before polling the socket. True: do not, there is something already. */
bool objm_ringlink_arm(struct objmapper *om);

static inline bool objm_ringlink_on(const struct objm_ringlink *l)
{
        return l->state == OBJM_RINGLINK_ON;
}

#endif
