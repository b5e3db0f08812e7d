/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_SLOTS_H
#define OBJM_CLIENT_SLOTS_H
/*
 * The request table: a fixed number of slots, each on exactly one list.
 *
 *      free -> queued -> sent -> done -> free          a request's way
 *              queued <- sent                          the connection broke: it will be sent again
 *                        sent (abandoned) -> free      nobody wants the reply any more; it is awaited, then dropped
 *
 * A slot keeps its URI's buffer when it is freed: a table that has warmed up allocates nothing. The id on the wire is
 * the slot's index and its generation, which changes with each use, so that a reply to an earlier use is not taken for
 * this one's.
 */
#include "base/attr.h"
#include "base/list.h"
#include "client/objmapper.h"
#include "protocol/v3.h"
#include <stdbool.h>
#include <stdint.h>

#define OBJM_SLOTS_MAX 65536

struct objm_slot {
        struct objm_list node;
        uint64_t user_data;
        uint64_t if_version; /* get only; 0: none */
        uint64_t range_offset, range_length; /* of a body; both 0: all of it, length 0: to the end */
        uint64_t body_len;   /* when done: bytes of the body that follow on the connection */
        uint8_t *buf;        /* borrowed, a submitted read: where its bytes go, range_length >= 1 at most; else NULL */
        size_t filled;       /* of it, while a body comes in pieces */
        char *uri;           /* owned, not terminated */
        uint16_t uri_len, uri_cap, generation;
        uint8_t op;   /* enum objm_v3_op, in every version of the protocol */
        uint8_t mode; /* of a get: enum objm_mode, as wanted */
        uint8_t asked; /* what was sent instead, when the server does not know `mode` */
        uint8_t sends; /* how often it went out in vain */
        bool on_wire, abandoned;
        bool on_ring;   /* with on_wire: sent through the ring */
        bool fd_coming; /* with on_ring: answered, but for the descriptor */
        bool no_ring;   /* not for the ring: it has said so */
        bool metadata;  /* wanted with the reply; stat and control operations have it anyway */
        int result;                     /* when done: 0, of a submitted read the number of bytes, or -errno */
        struct objmapper_object object; /* when done; owns object.fd */
};

/* How much there is from @offset on of an object of @size bytes, @length at most; 0: to its end. */
static inline uint64_t objm_slots_clip(uint64_t offset, uint64_t length, uint64_t size)
{
        uint64_t len = offset < size ? size - offset : 0;

        return length && length < len ? length : len;
}

/* Not of objects, and not through the submit calls: one at a time. */
static inline bool objm_slot_is_control(const struct objm_slot *s)
{
        return s->op >= OBJM_V3_OP_STATS;
}

struct objm_slots_read {
        uint8_t mode; /* enum objm_mode */
        uint64_t range_offset, range_length, if_version;
        uint8_t *buf; /* NULL: whoever waits takes the body */
        uint64_t user_data;
};

struct objm_slots {
        struct objm_slot *slot;
        unsigned depth;
        bool metadata;        /* of all that are added */
        unsigned n_used;      /* not free */
        unsigned n_sent;      /* sent, abandoned ones among them */
        unsigned n_abandoned;
        unsigned n_ring;       /* sent through the ring */
        unsigned n_fds_coming; /* of these, answered but for the descriptor */
        unsigned n_done;
        struct objm_list free, queued, sent, done;
};

/* 0 or -ENOMEM. The table must not move afterwards. */
int objm_slots_init(struct objm_slots *t, unsigned depth) objm_must_check;
/* Closes the descriptors of what is done. */
void objm_slots_deinit(struct objm_slots *t);

/* Queues a request; copies @uri. 0; -EAGAIN: no slot is free; -ENOMEM. */
int objm_slots_add(struct objm_slots *t, uint8_t op, const void *uri, size_t len, uint64_t user_data,
                   uint64_t if_version) objm_must_check;
/* The same for a get that may be answered with a body. */
int objm_slots_add_read(struct objm_slots *t, const struct objm_slots_read *read, const void *uri, size_t len)
        objm_must_check;

/* The same for a control operation; @mode goes out as it is. */
int objm_slots_add_control(struct objm_slots *t, uint8_t op, uint8_t mode) objm_must_check;

/* The oldest of a list, or NULL. */
struct objm_slot *objm_slots_first(struct objm_list *list);

/* The slot that has been sent under @id, or NULL. */
struct objm_slot *objm_slots_find_sent(struct objm_slots *t, uint32_t id);
uint32_t objm_slots_id(const struct objm_slots *t, const struct objm_slot *s);

void objm_slots_mark_sent(struct objm_slots *t, struct objm_slot *s);
/* The same through the ring; and of one of those, that all but the descriptor has come. */
void objm_slots_mark_on_ring(struct objm_slots *t, struct objm_slot *s);
void objm_slots_mark_fd_coming(struct objm_slots *t, struct objm_slot *s);

/* Ends a request that is queued or sent; takes over object->fd. An abandoned one's descriptor is closed. */
void objm_slots_complete(struct objm_slots *t, struct objm_slot *s, int result,
                         const struct objmapper_object *take_object);
/* The same without an object. */
void objm_slots_fail(struct objm_slots *t, struct objm_slot *s, int result);
void objm_slots_fail_sent(struct objm_slots *t, int result);
void objm_slots_fail_queued(struct objm_slots *t, int result);

/*
 * Puts what is sent back before what is queued, in order; drops abandoned ones. With @count each loses one of its
 * OBJM_SLOTS_SENDS chances and ends with -ECONNRESET after the last.
 */
#define OBJM_SLOTS_SENDS 16
void objm_slots_requeue_sent(struct objm_slots *t, bool count);

/* Puts one that is done back, behind what is queued. False: it has lost its last chance, and stays. */
bool objm_slots_repeat(struct objm_slots *t, struct objm_slot *s) objm_must_check;

/*
 * As requeue_sent() for one that is not for the ring; and, when the ring has ended, for all in it that have not been
 * answered.
 */
void objm_slots_requeue_for_socket(struct objm_slots *t, struct objm_slot *s);
void objm_slots_requeue_ring(struct objm_slots *t);

/* Nobody wants what is queued, sent or done any more. */
void objm_slots_abandon_all(struct objm_slots *t);

/* Moves up to @n done requests out; the caller owns the descriptors. Returns how many. */
size_t objm_slots_take_done(struct objm_slots *t, struct objmapper_completion *ret, size_t n);

static inline size_t objm_slots_in_flight(const struct objm_slots *t)
{
        return t->n_used - t->n_abandoned;
}

#endif
