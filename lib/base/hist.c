/* SPDX-License-Identifier: MIT */
#include "base/hist.h"

#include "base/octave.h"

#include <string.h>

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
        h->bucket[objm_octave_bucket(value, OBJM_HIST_SUB_BITS)]++;
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

static uint64_t smaller(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

uint64_t objm_hist_quantile(const struct objm_hist *h, double q)
{
        uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0;

        for (unsigned i = 0; i < OBJM_HIST_BUCKETS; i++) {
                seen += h->bucket[i];
                if (seen > rank || (seen == h->count && seen))
                        return smaller(objm_octave_edge(i, OBJM_HIST_SUB_BITS), h->max);
        }
        return 0;
}
