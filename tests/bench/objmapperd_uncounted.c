/* SPDX-License-Identifier: MIT */
/*
 * In place of what the daemon counts requests with, for a build of it that is only there to be measured against: its
 * linker takes these for the functions of the same name (--wrap).
 */
#include "objmapperd/metrics.h"

uint64_t __wrap_metrics_count(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r,
                              size_t n, uint64_t start, uint64_t end);
void __wrap_metrics_tally_many(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value, uint64_t n);
void __wrap_metrics_count_ok(struct metrics *m, enum metrics_transport transport, enum metrics_mode mode, uint64_t n,
                             uint64_t bytes);

uint64_t __wrap_metrics_count(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r,
                              size_t n, uint64_t start, uint64_t end)
{
        return 0;
}

void __wrap_metrics_tally_many(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value, uint64_t n)
{
}

void __wrap_metrics_count_ok(struct metrics *m, enum metrics_transport transport, enum metrics_mode mode, uint64_t n,
                             uint64_t bytes)
{
}
