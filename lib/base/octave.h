/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_OCTAVE_H
#define OBJM_BASE_OCTAVE_H
/*
 * The buckets of log-linear histograms: 2^bits steps an octave. Small values have a bucket each; above, the octave and
 * the bits under the leading one pick the bucket. What is reported, a bucket's upper edge, is at most 2^-bits of it
 * above what was recorded.
 */
#include <stdint.h>

/* @bits is 1 to 16, and a constant where speed counts. */
static inline unsigned objm_octave_bucket(uint64_t v, unsigned bits)
{
        unsigned octave = (63 ^ (unsigned)__builtin_clzll(v | 1u << bits)) - bits; /* 0 for the small ones */

        return (octave << bits) + (unsigned)(v >> octave); /* the leading bit counts as one octave */
}

/* The largest value of bucket @b. */
static inline uint64_t objm_octave_edge(unsigned b, unsigned bits)
{
        unsigned octave = (b >> bits) - 1;

        if (b < 1u << bits)
                return b;
        return ((uint64_t)(1u << bits | (b & ((1u << bits) - 1))) << octave) + ((UINT64_C(1) << octave) - 1);
}

#endif
