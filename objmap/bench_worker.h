/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_BENCH_WORKER_H
#define OBJMAP_BENCH_WORKER_H
/*
 * One thread of the load generator, with connections of its own. Nothing in it is shared while the load runs.
 */
#include "objmap/bench.h"
#include "objmap/bench_reads.h"

struct connection {
        struct objmapper *om;
        bool down;           /* reconnecting: no descriptor now */
        unsigned generation; /* as registered with epoll; 0: not yet */
        short events;        /* as registered */
};

struct worker {
        const struct bench_options *o;
        struct connection *connection;
        unsigned n_connections, n_down;
        int epoll;
        int *closing; /* descriptors received in this round */
        unsigned n_closing;
        struct bench_reads reads; /* with a depth above 1 */
        size_t next_uri;
        uint64_t quota;     /* requests still to submit; with a duration, plenty */
        uint64_t stop_ns;   /* objm_clock_ns() */
        uint64_t end_ns;    /* when it was through */
        uint64_t progress_ns;
        int failed; /* 0 or -errno: could not go on */
        struct bench_result result;
};

/* Thread @index of the options' threads: its share of connections (made), requests and URIs. 0 or negative errno. */
int worker_init(struct worker *w, const struct bench_options *o, unsigned index);
void worker_deinit(struct worker *w);

/* Makes requests until the quota or the time is used up. */
void worker_run(struct worker *w);

#endif
