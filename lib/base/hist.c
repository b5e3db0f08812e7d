/* SPDX-License-Identifier: MIT */
#include "base/hist.h"

#include <string.h>

/* Small values have a bucket each; above, the octave and the bits under the leading one pick the bucket. */
static unsigned bucket_of(uint64_t v)
{
        unsigned octave;

        if (v < OBJM_HIST_SUB)
                return (unsigned)v;
        octave = 63 - (unsigned)__builtin_clzll(v) - OBJM_HIST_SUB_BITS;
        return (octave + 1) * OBJM_HIST_SUB + (unsigned)(v >> octave & (OBJM_HIST_SUB - 1));
}

static uint64_t upper_edge(unsigned b)
{
        unsigned octave = b / OBJM_HIST_SUB - 1;

        if (b < OBJM_HIST_SUB)
                return b;
        return ((uint64_t)(OBJM_HIST_SUB | b % OBJM_HIST_SUB) << octave) + ((UINT64_C(1) << octave) - 1);
}

void objm_hist_init(struct objm_hist *h)
{
        memset(h, 0, sizeof(*h));
        h->min = UINT64_MAX;
}

void objm_hist_record(struct objm_hist *h, uint64_t value)
{
        h->count++;
        h->sum += value;
        if (value < h->min)
                h->min = value;
        if (value > h->max)
                h->max = value;
        h->bucket[bucket_of(value)]++;
}

void objm_hist_merge(struct objm_hist *into, const struct objm_hist *from)
{
        into->count += from->count;
        into->sum += from->sum;
        if (from->min < into->min)
                into->min = from->min;
        if (from->max > into->max)
                into->max = from->max;
        for (unsigned i = 0; i < OBJM_HIST_BUCKETS; i++)
                into->bucket[i] += from->bucket[i];
}

uint64_t objm_hist_quantile(const struct objm_hist *h, double q)
{
        uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0;

        for (unsigned i = 0; i < OBJM_HIST_BUCKETS; i++) {
                seen += h->bucket[i];
                if (seen > rank || (seen == h->count && seen))
                        return upper_edge(i) < h->max ? upper_edge(i) : h->max;
        }
        return 0;
}
