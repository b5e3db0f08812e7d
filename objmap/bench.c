/* SPDX-License-Identifier: MIT */
#include "objmap/bench.h"

#include "base/clock.h"
#include "objmap/bench_worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct job {
        struct worker worker;
        struct bench *bench;
        unsigned index;
        pthread_t thread;
};

/*
 * Threads and the main thread meet four times: connected, started, through, measured; so that the daemon is looked at
 * while everything is connected and nothing else goes on.
 */
struct bench {
        const struct bench_options *o;
        pthread_barrier_t barrier;
        struct job *job;
        uint64_t start_ns;
};

static void *thread_main(void *arg)
{
        struct job *job = arg;
        struct worker *w = &job->worker;
        struct bench *b = job->bench;

        w->failed = worker_init(w, b->o, job->index);
        pthread_barrier_wait(&b->barrier);
        pthread_barrier_wait(&b->barrier);
        if (!b->o->count)
                w->stop_ns = b->start_ns + b->o->duration_ns;
        if (!w->failed)
                worker_run(w);
        pthread_barrier_wait(&b->barrier);
        pthread_barrier_wait(&b->barrier);
        worker_deinit(w);
        return NULL;
}

static int read_cost(const struct bench_options *o, struct bench_cost *ret)
{
        int r = o->pid ? bench_cost_read(o->pid, ret) : 0;

        return r < 0 ? cli_file_error("--pid", r) : 0;
}

/* The main thread's side of the four meetings. */
static int conduct(struct bench *b, struct bench_result *ret)
{
        struct bench_cost start = {0};
        int r;

        pthread_barrier_wait(&b->barrier);
        r = read_cost(b->o, &start);
        b->start_ns = objm_clock_ns();
        pthread_barrier_wait(&b->barrier);
        pthread_barrier_wait(&b->barrier);
        if (r == 0)
                r = read_cost(b->o, &ret->after);
        ret->cpu_ns = ret->after.cpu_ns - start.cpu_ns;
        pthread_barrier_wait(&b->barrier);
        return r;
}

static int collect(struct bench *b, struct bench_result *ret)
{
        int failed = 0;

        for (unsigned i = 0; i < b->o->threads; i++) {
                struct worker *w = &b->job[i].worker;

                objm_hist_merge(&ret->latency, &w->result.latency);
                ret->requests += w->result.requests;
                ret->errors += w->result.errors;
                ret->bytes += w->result.bytes;
                if (!ret->first_error)
                        ret->first_error = w->result.first_error;
                if (w->end_ns > b->start_ns + ret->elapsed_ns)
                        ret->elapsed_ns = w->end_ns - b->start_ns;
                if (w->failed)
                        failed = w->failed;
        }
        return failed ? cli_connect_error(b->o->cli, failed) : 0;
}

/* Each connection is a descriptor, and so is each answer that has just come. */
static void raise_fd_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

/* A thread that cannot be started would leave the others waiting for it. */
static void start_threads(struct bench *b)
{
        for (unsigned i = 0; i < b->o->threads; i++) {
                b->job[i] = (struct job){.bench = b, .index = i};
                if (pthread_create(&b->job[i].thread, NULL, thread_main, &b->job[i]) != 0)
                        exit(cli_error("bench", -EAGAIN));
        }
}

int bench_run(const struct bench_options *o, struct bench_result *ret)
{
        struct bench b = {.o = o, .job = calloc(o->threads, sizeof(struct job))};
        int r, status;

        memset(ret, 0, sizeof(*ret));
        objm_hist_init(&ret->latency);
        if (!b.job)
                return cli_error("bench", -ENOMEM);
        raise_fd_limit();
        status = read_cost(o, &ret->before);
        pthread_barrier_init(&b.barrier, NULL, o->threads + 1);
        start_threads(&b);
        r = conduct(&b, ret);
        for (unsigned i = 0; i < o->threads; i++)
                pthread_join(b.job[i].thread, NULL);
        pthread_barrier_destroy(&b.barrier);
        status = status ? status : r;
        r = collect(&b, ret);
        free(b.job);
        return status ? status : r;
}

int cmd_bench(struct cli *cli, int argc, char **argv)
{
        static struct bench_result result;
        struct bench_options o;
        int r = bench_options_parse(cli, argc, argv, &o);

        if (r)
                return r;
        r = bench_run(&o, &result);
        if (r == 0)
                bench_report(&o, &result);
        bench_options_deinit(&o);
        return r;
}
