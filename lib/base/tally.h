/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_TALLY_H
#define OBJM_BASE_TALLY_H
/*
 * A histogram that one thread records in while others read: 16 steps an octave, so what is reported is at most 6.25 %
 * above what was recorded. Values (nanoseconds, bytes, numbers) of OBJM_TALLY_MAX and more share the last step.
 *
 * Recording is a few plain loads and stores, nothing that other CPUs have to agree on. A reader sees each number as it
 * was at some moment, not all of them at the same one. Zeroed memory is an empty tally.
 */
#include "base/octave.h"
#include <stdatomic.h>
#include <stdint.h>

#define OBJM_TALLY_SUB_BITS 4
#define OBJM_TALLY_SUB      (1u << OBJM_TALLY_SUB_BITS)
#define OBJM_TALLY_BITS     40
#define OBJM_TALLY_MAX      (UINT64_C(1) << OBJM_TALLY_BITS)
#define OBJM_TALLY_BUCKETS  (OBJM_TALLY_SUB * (OBJM_TALLY_BITS - OBJM_TALLY_SUB_BITS + 1) + 1)

struct objm_tally {
        _Atomic uint64_t sum;
        _Atomic uint64_t bucket[OBJM_TALLY_BUCKETS];
};

/* Adds @n to a number that only this thread writes. */
static inline void objm_tally_add(_Atomic uint64_t *number, uint64_t n)
{
        atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t objm_tally_get(const _Atomic uint64_t *number)
{
        return atomic_load_explicit(number, memory_order_relaxed);
}

static inline unsigned objm_tally_bucket(uint64_t v)
{
        return v < OBJM_TALLY_MAX ? objm_octave_bucket(v, OBJM_TALLY_SUB_BITS) : OBJM_TALLY_BUCKETS - 1;
}

/* The owner: @n values of @value. */
static inline void objm_tally_record(struct objm_tally *t, uint64_t value, uint64_t n)
{
        objm_tally_add(&t->sum, value * n);
        objm_tally_add(&t->bucket[objm_tally_bucket(value)], n);
}

/* Adds what @from has at present to @into, which is the caller's own. */
void objm_tally_merge(struct objm_tally *into, const struct objm_tally *from);

uint64_t objm_tally_count(const struct objm_tally *t);

/* How many are @low or more and below @high, each of which is 0 or a power of two up to OBJM_TALLY_MAX: exact. */
uint64_t objm_tally_between(const struct objm_tally *t, uint64_t low, uint64_t high);

/* The largest value of the bucket that holds quantile @q (0..1); 0 when empty. */
uint64_t objm_tally_quantile(const struct objm_tally *t, double q);

#endif
