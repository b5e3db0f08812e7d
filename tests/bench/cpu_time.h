/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_CPU_TIME_H
#define TESTS_BENCH_CPU_TIME_H
/* What servers have used of their CPUs, in ns: all of their threads, those that have ended too. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t cpu_of_process(long pid)
{
        struct timespec t;
        clockid_t clock;

        if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &t) < 0) {
                fprintf(stderr, "no CPU time of process %ld\n", pid);
                exit(1);
        }
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Of "PID" or "PID,PID,...". */
static inline uint64_t cpu_of(const char *pids)
{
        uint64_t sum = 0;
        char *end;

        for (;; pids = end + 1) {
                sum += cpu_of_process(strtol(pids, &end, 10));
                if (*end != ',')
                        return sum;
        }
}

#endif
