/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_CLOCK_H
#define OBJM_BASE_CLOCK_H
/*
 * Monotonic time in nanoseconds since an arbitrary point, answered by the vDSO without a system call.
 */
#include <stdint.h>
#include <time.h>

#define OBJM_NS_PER_US UINT64_C(1000)
#define OBJM_NS_PER_MS UINT64_C(1000000)
#define OBJM_NS_PER_S  UINT64_C(1000000000)

static inline uint64_t objm_clock_read(clockid_t id)
{
        struct timespec ts;

        clock_gettime(id, &ts);
        return (uint64_t)ts.tv_sec * OBJM_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline uint64_t objm_clock_ns(void)
{
        return objm_clock_read(CLOCK_MONOTONIC);
}

/* The same clock at the resolution of the timer tick (1-10 ms), for timeouts. */
static inline uint64_t objm_clock_coarse_ns(void)
{
        return objm_clock_read(CLOCK_MONOTONIC_COARSE);
}

#endif
