/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_BENCH_BASE_H
#define TESTS_BENCH_BENCH_BASE_H
/*
 * What every client of the benchmarks needs: an end with a word, and the time in nanoseconds.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void die(const char *what)
{
        perror(what);
        exit(1);
}

static inline uint64_t now(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

#endif
