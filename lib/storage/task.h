/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_TASK_H
#define OBJM_STORAGE_TASK_H
/*
 * Long background work in slices: a job of the pool's background lane that submits itself again until it has no more to
 * do, at most once in the pool at a time, and that can be ended and waited for.
 */
#include "concurrency/pool.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A slice should last no longer than this. */
#define OBJM_SLICE_NS UINT64_C(1000000)

struct objm_task {
        struct objm_job job;
        struct objm_pool *pool;
        pthread_mutex_t lock;
        pthread_cond_t idle;
        bool active, again; /* in the pool; kicked meanwhile */
        _Atomic bool stopped;
        /* True: there is more to do now. Not called any more once stop() has returned. */
        bool (*slice)(struct objm_task *t, struct objm_qsbr_reader *r);
};

void objm_task_init(struct objm_task *t, struct objm_pool *pool,
                    bool (*slice)(struct objm_task *t, struct objm_qsbr_reader *r));

/* Stop first. */
void objm_task_deinit(struct objm_task *t);

/* Any thread: slice() will be called at least once from now. Nothing happens once task or pool have been stopped. */
void objm_task_kick(struct objm_task *t);

/* No slice begins any more; waits for the one under way. Idempotent; not from a slice. */
void objm_task_stop(struct objm_task *t);

/* For slices that wait themselves. */
static inline bool objm_task_stopped(struct objm_task *t)
{
        return atomic_load_explicit(&t->stopped, memory_order_relaxed);
}

/* Sleeps up to @ms, less when stopped. For what cannot go on until others have freed something; offline meanwhile. */
void objm_task_pause(struct objm_task *t, struct objm_qsbr_reader *r, unsigned ms);

#endif
