/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_COUNTERS_H
#define OBJM_STORAGE_COUNTERS_H
/*
 * Counts of what requests met, in stripes of a cache line, so that threads on different CPUs do not share one.
 */
#include "base/attr.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define OBJM_COUNTER_STRIPES 16

enum objm_counter { OBJM_COUNT_HIT, OBJM_COUNT_MISS, OBJM_COUNT_DROPPED, OBJM_N_COUNTERS };

struct objm_counters {
        struct {
                _Alignas(OBJM_CACHE_LINE) _Atomic uint64_t n[OBJM_N_COUNTERS];
        } stripe[OBJM_COUNTER_STRIPES];
};

static inline void objm_counters_add(struct objm_counters *c, enum objm_counter which, unsigned n)
{
        unsigned stripe = (unsigned)sched_getcpu() % OBJM_COUNTER_STRIPES;

        atomic_fetch_add_explicit(&c->stripe[stripe].n[which], n, memory_order_relaxed);
}

static inline uint64_t objm_counters_sum(const struct objm_counters *c, enum objm_counter which)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < OBJM_COUNTER_STRIPES; i++)
                sum += atomic_load_explicit(&c->stripe[i].n[which], memory_order_relaxed);
        return sum;
}

#endif
