/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_BENCH_H
#define OBJMAP_BENCH_H
/*
 * The load generator: what to do, and what came of it.
 */
#include "base/hist.h"
#include "objmap/cli.h"
#include "objmap/uris.h"
#include <stdbool.h>
#include <sys/types.h>

enum bench_mode {
        BENCH_FD,
        BENCH_STAT,
        BENCH_PING,
        BENCH_COPY, /* these and below: bytes, read and dropped */
        BENCH_SPLICE,
        BENCH_AUTO,
};

struct bench_options {
        struct cli *cli;
        enum bench_mode mode;
        unsigned connections, depth, threads;
        uint64_t duration_ns; /* used when count is 0 */
        uint64_t count;
        bool transient, json;
        unsigned flags; /* enum objmapper_flags */
        pid_t pid;      /* of the daemon, 0: not given */
        struct uris uris;
};

/* What the daemon has used up. */
struct bench_cost {
        uint64_t cpu_ns;  /* user and system time of all its threads, those that have ended too */
        uint64_t anon_kb; /* anonymous memory in RAM (RssAnon) */
};

struct bench_result {
        struct objm_hist latency; /* ns, from submit to reap; with transient from connect to close */
        uint64_t requests;        /* answered, errors among them */
        uint64_t errors;
        uint64_t bytes; /* of objects */
        int first_error;
        uint64_t elapsed_ns;
        struct bench_cost before, after; /* before: nothing connected; after: all still connected */
        uint64_t cpu_ns;                 /* of the daemon, while the load ran */
};

static inline bool bench_reads(const struct bench_options *o)
{
        return o->mode >= BENCH_COPY;
}

/* Fills in defaults, then what argv says, and reads the URIs. 0 or an exit status. */
int bench_options_parse(struct cli *cli, int argc, char **argv, struct bench_options *ret);
void bench_options_deinit(struct bench_options *o);

/* Runs the load. 0 or an exit status, said why. */
int bench_run(const struct bench_options *o, struct bench_result *ret);

/* 0 or negative errno. */
int bench_cost_read(pid_t pid, struct bench_cost *ret);

void bench_report(const struct bench_options *o, const struct bench_result *r);

#endif
