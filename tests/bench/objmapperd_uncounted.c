/* SPDX-License-Identifier: MIT */
/*
 * In place of what the daemon counts requests with, for a build of it that is only there to be measured against: its
 * linker takes these for the functions of the same name (--wrap).
 */
#include "objmapperd/metrics.h"
#include "objmapperd/request.h"

struct metrics_record __wrap_metrics_record_of(const struct reply *r);
uint64_t __wrap_metrics_count(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r,
                              size_t n, uint64_t start, uint64_t end);
void __wrap_metrics_tally(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value);

struct metrics_record __wrap_metrics_record_of(const struct reply *r)
{
        return (struct metrics_record){.fallback = METRICS_N_FALLBACKS};
}

uint64_t __wrap_metrics_count(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r,
                              size_t n, uint64_t start, uint64_t end)
{
        return 0;
}

void __wrap_metrics_tally(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value)
{
}
