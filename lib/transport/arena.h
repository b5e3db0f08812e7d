/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_ARENA_H
#define OBJM_TRANSPORT_ARENA_H
/*
 * The arena of one direction of a ring, as its producer sees it: pieces are taken in the order of the entries they go
 * with and given back in that order, so where each entry's pieces end is all there is to know. Private memory of the
 * producer, allocated with the first piece; nothing of it is shared. An empty ring's arena begins anew, so that a quiet
 * one touches few pages.
 */
#include "base/attr.h"
#include "concurrency/ring.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct objm_arena {
        uint32_t size;       /* bytes, a power of two */
        uint32_t entries;    /* of the ring, a power of two */
        uint32_t head, tail; /* free-running, in bytes */
        uint32_t freed;      /* index of the entry up to which pieces have been given back */
        uint32_t *end;       /* of each entry: where head was when it was put; NULL: nothing was taken yet */
};

static inline void objm_arena_init(struct objm_arena *a, uint32_t size, uint32_t entries)
{
        *a = (struct objm_arena){.size = size, .entries = entries};
}

static inline void objm_arena_deinit(struct objm_arena *a)
{
        free(a->end);
        a->end = NULL;
}

/* The consumer has passed the entries up to index @tail; @empty: that is all of them. */
static inline void objm_arena_free_to(struct objm_arena *a, uint32_t tail, bool empty)
{
        if (empty)
                a->head = a->tail = 0;
        else if (tail != a->freed && a->end)
                a->tail = a->end[(tail - 1) & (a->entries - 1)];
        a->freed = tail;
}

/*
 * @len bytes in one piece, whose offset *ret is. False: there is no room, or no memory, now; with @len <= size there
 * will be.
 */
static inline bool objm_arena_take(struct objm_arena *a, uint32_t len, uint32_t *ret)
{
        uint32_t at = a->head & (a->size - 1), skip = len > a->size - at ? a->size - at : 0;
        uint32_t whole = (len + OBJM_CACHE_LINE - 1) & ~(uint32_t)(OBJM_CACHE_LINE - 1);

        if (!a->end && !(a->end = calloc(a->entries, sizeof(*a->end))))
                return false;
        if (len > a->size || (uint64_t)(a->head - a->tail) + skip + whole > a->size)
                return false;
        a->head += skip + whole;
        *ret = skip ? 0 : at;
        return true;
}

/* As take(), after a look at how far the consumer of @p, whose entries the pieces go with, has come. */
static inline bool objm_arena_take_again(struct objm_arena *a, struct objm_ring_producer *p, uint32_t len,
                                         uint32_t *ret)
{
        if (objm_ring_writable(p, p->at.size) < 0)
                return false; /* a lie, which shows at the next writable(), too */
        objm_arena_free_to(a, p->seen, p->seen == p->next);
        return objm_arena_take(a, len, ret);
}

/* The entry of index @index has been put, with what was taken since the last one. */
static inline void objm_arena_put(struct objm_arena *a, uint32_t index)
{
        if (a->end)
                a->end[index & (a->entries - 1)] = a->head;
}

#endif
