/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_HIST_H
#define OBJM_BASE_HIST_H
/*
 * Log-linear histogram of unsigned values (nanoseconds, bytes): 128 steps an octave, so a reported value is at most
 * 0.8 % above the recorded one. One writer; readers and mergers work on a copy.
 */
#include <stdint.h>

#define OBJM_HIST_SUB_BITS 7
#define OBJM_HIST_SUB      (1u << OBJM_HIST_SUB_BITS)
#define OBJM_HIST_BUCKETS  (OBJM_HIST_SUB * (64 - OBJM_HIST_SUB_BITS + 1))

struct objm_hist {
        uint64_t count, sum, min, max;
        uint64_t bucket[OBJM_HIST_BUCKETS];
};

void objm_hist_init(struct objm_hist *h);
void objm_hist_record(struct objm_hist *h, uint64_t value);
void objm_hist_merge(struct objm_hist *into, const struct objm_hist *from);

/* The upper edge of the bucket that holds quantile @q (0..1), never above the recorded maximum; 0 when empty. */
uint64_t objm_hist_quantile(const struct objm_hist *h, double q);

#endif
