/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_BACKOFF_H
#define OBJM_CLIENT_BACKOFF_H
/*
 * How long to wait before the next attempt to connect: nothing at first, then 1, 2, 4 .. 20 ms, each shortened by up to
 * a half at random, so that the clients of a restarted server do not come back in step.
 */
#include <stdint.h>

struct objm_backoff {
        uint64_t random; /* state of the generator, not 0 */
        unsigned attempt;
};

void objm_backoff_init(struct objm_backoff *b, uint64_t seed);

/* Nanoseconds until the next attempt, which is counted. */
uint64_t objm_backoff_next(struct objm_backoff *b);

/* The connection works: begin anew. */
static inline void objm_backoff_reset(struct objm_backoff *b)
{
        b->attempt = 0;
}

#endif
