/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SAMPLING_H
#define OBJMAPPERD_SAMPLING_H
/*
 * Which of a worker's turns count for how long requests by ring take. To read the time twice takes a tenth of such a
 * request, and to keep a record of it until its reply has left some more, so in most turns nobody does. The turns that
 * do are picked at random, whatever is in them: no client can keep its requests out of them, or put them in. One
 * worker's.
 */
#include <stdbool.h>
#include <stdint.h>

#define SAMPLING_STRIDE 128 /* turns from one to the next, on average; twice as many at most */
#define SAMPLING_WORK   8   /* look-ups for each of these turns; after as much work the next one is picked anyhow */

struct sampling {
        uint64_t random; /* never 0 */
        uint32_t turns;  /* until the next */
        int64_t work;    /* the same; 0 or less: it is the next */
};

/* The first is picked as any other. */
static inline void sampling_draw(struct sampling *s)
{
        s->random ^= s->random << 13;
        s->random ^= s->random >> 7;
        s->random ^= s->random << 17;
        s->turns = 1 + (uint32_t)(s->random >> 32) % (2 * SAMPLING_STRIDE - 1);
        s->work = (int64_t)s->turns * SAMPLING_WORK;
}

static inline void sampling_init(struct sampling *s, uint64_t seed)
{
        s->random = seed | 1;
        sampling_draw(s);
}

/* A turn begins. True: it is one that counts. */
static inline bool sampling_pick(struct sampling *s)
{
        if (--s->turns && s->work > 0)
                return false;
        sampling_draw(s);
        return true;
}

/* What was done in this turn by ring took about as long as @work look-ups. */
static inline void sampling_add(struct sampling *s, uint64_t work)
{
        s->work -= (int64_t)work;
}

#endif
