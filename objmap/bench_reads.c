/* SPDX-License-Identifier: MIT */
#include "objmap/bench_reads.h"

#include <errno.h>
#include <stdlib.h>

int bench_reads_init(struct bench_reads *r, size_t n)
{
        *r = (struct bench_reads){.read = calloc(n + 1, sizeof(*r->read)), .n = n};
        if (!r->read)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                r->read[i].next_free = i + 1;
        return 0;
}

void bench_reads_deinit(struct bench_reads *r)
{
        for (size_t i = 0; r->read && i < r->n; i++)
                free(r->read[i].buf);
        free(r->read);
        *r = (struct bench_reads){0};
}

size_t bench_reads_take(struct bench_reads *r, uint64_t now)
{
        struct bench_read *read = &r->read[r->first_free];
        size_t i = r->first_free;

        if (i == r->n)
                return i;
        if (!read->buf && !(read->buf = malloc(BENCH_READ_MAX)))
                return r->n;
        read->start = now;
        r->first_free = read->next_free;
        return i;
}

uint64_t bench_reads_put(struct bench_reads *r, size_t i)
{
        r->read[i].next_free = r->first_free;
        r->first_free = i;
        return r->read[i].start;
}
