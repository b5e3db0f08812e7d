/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RATE_H
#define OBJMAPPERD_RATE_H
/*
 * Token buckets: so many tokens a second, as many kept as come in a second. A bucket is the time at which it was, or
 * would have been, empty; the past counts as tokens, so that one of zeros is full, and a changed rate holds at once.
 */
#include "base/attr.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of one thread. */
struct rate {
        uint64_t since_ns;
};

/* Of several. */
struct rate_shared {
        _Atomic uint64_t since_ns;
};

/* @per_s is 1 to 10^9, @now_ns does not go backwards by much. Returns how many of @wanted tokens were there to take. */
uint32_t rate_take(struct rate *r, uint32_t per_s, uint32_t wanted, uint64_t now_ns) objm_must_check;
uint32_t rate_shared_take(struct rate_shared *r, uint32_t per_s, uint32_t wanted, uint64_t now_ns) objm_must_check;

/* Nothing is missing from it, whatever its rate. */
bool rate_shared_is_full(const struct rate_shared *r, uint64_t now_ns);

/* Gives tokens back that were taken and not used. */
void rate_give(struct rate *r, uint32_t per_s, uint32_t n);
void rate_shared_give(struct rate_shared *r, uint32_t per_s, uint32_t n);

#endif
