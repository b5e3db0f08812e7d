/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_BYTEQUEUE_H
#define OBJM_CLIENT_BYTEQUEUE_H
/*
 * A queue of bytes in one contiguous piece, so that decoders can look at its front. One owner, no locks. Popping never
 * moves bytes; making room does, and only when it must.
 */
#include "base/attr.h"
#include <stddef.h>
#include <stdint.h>

struct objm_bytequeue {
        uint8_t *buf;
        size_t cap, head, tail;
};

/* 0 or -ENOMEM. */
int objm_bytequeue_init(struct objm_bytequeue *q, size_t cap) objm_must_check;
void objm_bytequeue_deinit(struct objm_bytequeue *q);

/*
 * Makes at least @n bytes of room behind the end, growing up to @max bytes in all. 0; -ENOBUFS: @max does not allow it
 * now; -ENOMEM.
 */
int objm_bytequeue_reserve(struct objm_bytequeue *q, size_t n, size_t max) objm_must_check;

/* Forgets @n bytes at the front. */
void objm_bytequeue_pop(struct objm_bytequeue *q, size_t n);

static inline size_t objm_bytequeue_len(const struct objm_bytequeue *q)
{
        return q->tail - q->head;
}

static inline const uint8_t *objm_bytequeue_front(const struct objm_bytequeue *q)
{
        return q->buf + q->head;
}

/* Where to write next; objm_bytequeue_room() bytes of it are free. What was written counts after a push. */
static inline uint8_t *objm_bytequeue_end(struct objm_bytequeue *q)
{
        return q->buf + q->tail;
}

static inline size_t objm_bytequeue_room(const struct objm_bytequeue *q)
{
        return q->cap - q->tail;
}

static inline void objm_bytequeue_push(struct objm_bytequeue *q, size_t n)
{
        q->tail += n;
}

static inline void objm_bytequeue_clear(struct objm_bytequeue *q)
{
        q->head = q->tail = 0;
}

#endif
