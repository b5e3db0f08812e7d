/* SPDX-License-Identifier: MIT */
#include "client/backoff.h"

#include "base/clock.h"

#define MAX_NS (20 * OBJM_NS_PER_MS)

void objm_backoff_init(struct objm_backoff *b, uint64_t seed)
{
        *b = (struct objm_backoff){.random = seed | 1};
}

/* xorshift64: nobody is harmed by guessing it. */
static uint64_t next_random(struct objm_backoff *b)
{
        b->random ^= b->random << 13;
        b->random ^= b->random >> 7;
        b->random ^= b->random << 17;
        return b->random;
}

uint64_t objm_backoff_next(struct objm_backoff *b)
{
        unsigned attempt = b->attempt;
        uint64_t ns;

        if (attempt < 6)
                b->attempt++;
        if (!attempt)
                return 0;
        ns = OBJM_NS_PER_MS << (attempt - 1);
        if (ns > MAX_NS)
                ns = MAX_NS;
        return ns - next_random(b) % (ns / 2);
}
