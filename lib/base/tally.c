/* SPDX-License-Identifier: MIT */
#include "base/tally.h"

void objm_tally_merge(struct objm_tally *into, const struct objm_tally *from)
{
        objm_tally_add(&into->sum, objm_tally_get(&from->sum));
        for (unsigned i = 0; i < OBJM_TALLY_BUCKETS; i++)
                objm_tally_add(&into->bucket[i], objm_tally_get(&from->bucket[i]));
}

static uint64_t sum(const struct objm_tally *t, unsigned from, unsigned end)
{
        uint64_t n = 0;

        for (unsigned i = from; i < end; i++)
                n += objm_tally_get(&t->bucket[i]);
        return n;
}

uint64_t objm_tally_count(const struct objm_tally *t)
{
        return sum(t, 0, OBJM_TALLY_BUCKETS);
}

uint64_t objm_tally_between(const struct objm_tally *t, uint64_t low, uint64_t high)
{
        return sum(t, objm_tally_bucket(low), objm_tally_bucket(high));
}

uint64_t objm_tally_quantile(const struct objm_tally *t, double q)
{
        uint64_t count = objm_tally_count(t), rank = (uint64_t)(q * (double)count), seen = 0;

        for (unsigned i = 0; i < OBJM_TALLY_BUCKETS; i++) {
                seen += objm_tally_get(&t->bucket[i]);
                if (seen > rank || (seen >= count && seen))
                        return objm_octave_edge(i, OBJM_TALLY_SUB_BITS);
        }
        return 0;
}
