/* SPDX-License-Identifier: MIT */
#include "storage/task.h"

#include "base/clock.h"

static void submit_locked(struct objm_task *t)
{
        t->active = !t->stopped && objm_pool_submit(t->pool, &t->job, OBJM_LANE_BACKGROUND) == 0;
        if (!t->active)
                pthread_cond_broadcast(&t->idle);
}

static void run(struct objm_job *job, struct objm_qsbr_reader *r)
{
        struct objm_task *t = objm_container_of(job, struct objm_task, job);
        bool more;

        pthread_mutex_lock(&t->lock);
        t->again = false;
        pthread_mutex_unlock(&t->lock);
        more = !objm_task_stopped(t) && t->slice(t, r);
        pthread_mutex_lock(&t->lock);
        if (more || t->again) {
                submit_locked(t);
        } else {
                t->active = false;
                pthread_cond_broadcast(&t->idle);
        }
        pthread_mutex_unlock(&t->lock);
}

void objm_task_init(struct objm_task *t, struct objm_pool *pool,
                    bool (*slice)(struct objm_task *t, struct objm_qsbr_reader *r))
{
        pthread_condattr_t attr;

        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&t->idle, &attr);
        pthread_condattr_destroy(&attr);
        pthread_mutex_init(&t->lock, NULL);
        t->job.run = run;
        t->pool = pool;
        t->active = t->again = false;
        atomic_init(&t->stopped, false);
        t->slice = slice;
}

void objm_task_deinit(struct objm_task *t)
{
        pthread_cond_destroy(&t->idle);
        pthread_mutex_destroy(&t->lock);
}

void objm_task_kick(struct objm_task *t)
{
        pthread_mutex_lock(&t->lock);
        if (t->active)
                t->again = true;
        else
                submit_locked(t);
        pthread_mutex_unlock(&t->lock);
}

void objm_task_stop(struct objm_task *t)
{
        pthread_mutex_lock(&t->lock);
        t->stopped = true;
        pthread_cond_broadcast(&t->idle);
        while (t->active)
                pthread_cond_wait(&t->idle, &t->lock);
        pthread_mutex_unlock(&t->lock);
}

void objm_task_pause(struct objm_task *t, struct objm_qsbr_reader *r, unsigned ms)
{
        uint64_t until = objm_clock_ns() + ms * OBJM_NS_PER_MS;
        struct timespec ts = {.tv_sec = (time_t)(until / OBJM_NS_PER_S), .tv_nsec = (long)(until % OBJM_NS_PER_S)};

        objm_qsbr_offline(r);
        pthread_mutex_lock(&t->lock);
        while (!t->stopped && pthread_cond_timedwait(&t->idle, &t->lock, &ts) == 0)
                continue;
        pthread_mutex_unlock(&t->lock);
        objm_qsbr_online(r);
}
