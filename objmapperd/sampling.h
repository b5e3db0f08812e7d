/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SAMPLING_H
#define OBJMAPPERD_SAMPLING_H
/*
 * Which of a worker's turns count for how long requests by ring take. To read the time twice takes a tenth of such a
 * request, so in most turns nobody does. The turns that do are picked at random, whatever is in them: no client can
 * keep its requests out of them, or put them in. One worker's.
 */
#include <stdbool.h>
#include <stdint.h>

#define SAMPLING_STRIDE   16 /* turns from one to the next, on average; twice as many at most */
#define SAMPLING_REQUESTS 16 /* for each of these turns; after as many requests the next one is picked in any case */

struct sampling {
        uint64_t random;   /* never 0 */
        uint32_t turns;    /* until the next */
        uint32_t requests; /* since the last */
        uint32_t limit;    /* of these */
};

/* The first is picked as any other. */
static inline void sampling_draw(struct sampling *s)
{
        s->random ^= s->random << 13;
        s->random ^= s->random >> 7;
        s->random ^= s->random << 17;
        s->turns = 1 + (uint32_t)(s->random >> 32) % (2 * SAMPLING_STRIDE - 1);
        s->limit = s->turns * SAMPLING_REQUESTS;
        s->requests = 0;
}

static inline void sampling_init(struct sampling *s, uint64_t seed)
{
        s->random = seed | 1;
        sampling_draw(s);
}

/* A turn begins. True: it is one that counts. */
static inline bool sampling_pick(struct sampling *s)
{
        if (--s->turns && s->requests < s->limit)
                return false;
        sampling_draw(s);
        return true;
}

/* @n requests by ring were answered in this turn. */
static inline void sampling_add(struct sampling *s, uint32_t n)
{
        s->requests += n;
}

#endif
