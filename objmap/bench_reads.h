/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_BENCH_READS_H
#define OBJMAP_BENCH_READS_H
/*
 * The reads of one thread that are in flight: a buffer for each, and when it was submitted.
 */
#include <stddef.h>
#include <stdint.h>

#define BENCH_READ_MAX 65536 /* bytes of an object */

struct bench_reads {
        struct bench_read {
                uint64_t start; /* ns */
                uint8_t *buf;   /* owned, BENCH_READ_MAX bytes; NULL: not used yet */
                size_t next_free;
        } *read; /* @n of them */
        size_t n, first_free; /* first_free == n: all are in flight */
};

/* 0 or -ENOMEM. */
int bench_reads_init(struct bench_reads *r, size_t n);
void bench_reads_deinit(struct bench_reads *r);

/* A read that begins now. Its number, which is to be put back, or @n: none is free, or there is no memory. */
size_t bench_reads_take(struct bench_reads *r, uint64_t now);
/* Returns when it was submitted. */
uint64_t bench_reads_put(struct bench_reads *r, size_t i);

#endif
