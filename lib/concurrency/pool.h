/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_POOL_H
#define OBJM_CONCURRENCY_POOL_H
/*
 * The blocking pool: a fixed number of threads for work that may wait for a disk, but never for a client: a job that
 * has to wait for a socket leaves its thread and comes back when the socket is ready. Three lanes. Requests; what will
 * wait for a disk, which takes turns with them; and scans and the like in the background, which wait for the requests
 * and take turns with what waits for a disk. The last two get at most half of the threads each and together all but one
 * (if there is only one, that one), so that they never hold up a request for longer than one of their own slices.
 * Background work that is long cuts itself into jobs.
 */
#include "base/attr.h"
#include "base/tally.h"
#include "concurrency/qsbr.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct objm_pool;

enum objm_pool_lane {
        OBJM_LANE_REQUEST,
        OBJM_LANE_BACKGROUND,
        OBJM_LANE_COLD,
};

/* Embedded by whoever submits; owned by the pool from submit() until run() is called, by run() from then on. */
struct objm_job {
        struct objm_job *next;
        uint64_t queued_ns; /* when it was submitted; 0: it waited for a descriptor */
        /* In a pool thread. @r is that thread's reader, online; go offline around what may block for long. */
        void (*run)(struct objm_job *job, struct objm_qsbr_reader *r);
};

/* A job that waits for a descriptor instead of in a lane. */
struct objm_pool_source {
        struct objm_job job;
        int fd; /* borrowed: watched from the first wait() to forget() */
        bool known;
        atomic_uint waits; /* hands what the job has written on to the thread that runs it next */
};

enum {
        OBJM_POOL_FULL = 1,    /* max_queue jobs wait already in the lanes other than the background */
        OBJM_POOL_STOPPED = 2, /* stop() was called */
};

/*
 * @threads >= 1; @max_queue bounds the lanes other than the background, together. @name (up to 11 characters) becomes
 * the threads' name.
 */
int objm_pool_new(unsigned threads, size_t max_queue, const char *name, struct objm_qsbr *qsbr,
                  struct objm_pool **ret) objm_must_check;

/* Any thread. 0, OBJM_POOL_FULL or OBJM_POOL_STOPPED; the job is taken only on 0. */
int objm_pool_submit(struct objm_pool *p, struct objm_job *job, enum objm_pool_lane lane) objm_must_check;

/*
 * Runs @s->job once, as soon as @s->fd has one of @events (EPOLLIN, EPOLLOUT; errors and hang-ups always count). The
 * job may run before this returns. Any thread, but only while the job neither waits nor runs, or from within it. 0, or
 * negative errno of epoll_ctl(2): then it is not taken.
 */
int objm_pool_wait(struct objm_pool *p, struct objm_pool_source *s, uint32_t events) objm_must_check;

/* Before the descriptor is closed or watched elsewhere; not while the job waits. */
void objm_pool_forget(struct objm_pool *p, struct objm_pool_source *s);

unsigned objm_pool_threads(const struct objm_pool *p);

/* Jobs waiting in the request lane. */
size_t objm_pool_queued(struct objm_pool *p);

struct objm_pool_counts {
        unsigned threads, busy;       /* busy: in a job */
        size_t requests, cold, background; /* waiting */
        uint64_t jobs;                /* that have been run */
        uint64_t work_ns;             /* time of all threads in jobs */
        uint64_t full;                /* refused, OBJM_POOL_FULL */
        struct objm_tally wait;       /* ns in the lanes other than the background */
};

/* Any thread. */
void objm_pool_count(struct objm_pool *p, struct objm_pool_counts *ret);

/* Refuses further jobs, runs all that wait, joins. Idempotent. */
void objm_pool_stop(struct objm_pool *p);

/* stop(), then frees. NULL is fine. */
void objm_pool_free(struct objm_pool *p);

#endif
