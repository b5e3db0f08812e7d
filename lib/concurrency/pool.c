/* SPDX-License-Identifier: MIT */
/*
 * One mutex, one condition, two FIFO lanes. Jobs last at least some microseconds, so the lock is not what limits.
 */
#include "concurrency/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Jobs go a few calls deep and hold one path; the default of 8 MiB only inflates the address space. */
#define STACK_SIZE (256 * 1024)

struct lane {
        struct objm_job *head, **tail;
        size_t length;
};

struct objm_pool {
        pthread_mutex_t lock;
        pthread_cond_t work;
        struct lane lane[2];
        size_t max_queue;
        unsigned background, max_background; /* threads in background jobs, and how many may be */
        bool stopped;
        struct objm_qsbr *qsbr;
        char name[12];
        unsigned n_threads, n_joined;
        pthread_t thread[];
};

static void lane_init(struct lane *l)
{
        l->head = NULL;
        l->tail = &l->head;
        l->length = 0;
}

static void lane_push(struct lane *l, struct objm_job *job)
{
        job->next = NULL;
        *l->tail = job;
        l->tail = &job->next;
        l->length++;
}

static struct objm_job *lane_pop(struct lane *l)
{
        struct objm_job *job = l->head;

        if (!job)
                return NULL;
        l->head = job->next;
        if (!l->head)
                l->tail = &l->head;
        l->length--;
        return job;
}

static struct objm_job *next_job_locked(struct objm_pool *p, enum objm_pool_lane *ret_lane)
{
        struct objm_job *job = lane_pop(&p->lane[OBJM_LANE_REQUEST]);

        if (job) {
                *ret_lane = OBJM_LANE_REQUEST;
                return job;
        }
        if (p->background >= p->max_background)
                return NULL;
        job = lane_pop(&p->lane[OBJM_LANE_BACKGROUND]);
        if (job) {
                *ret_lane = OBJM_LANE_BACKGROUND;
                p->background++;
        }
        return job;
}

/* Waits for a job; NULL when the pool has stopped and this thread has no more to do. */
static struct objm_job *wait_for_job(struct objm_pool *p, enum objm_pool_lane *ret_lane)
{
        struct objm_job *job;

        pthread_mutex_lock(&p->lock);
        while (!(job = next_job_locked(p, ret_lane)) && !(p->stopped && !p->lane[OBJM_LANE_BACKGROUND].head))
                pthread_cond_wait(&p->work, &p->lock);
        pthread_mutex_unlock(&p->lock);
        return job;
}

/* A thread that waits because the background had its share may go on now. */
static void leave_background(struct objm_pool *p)
{
        pthread_mutex_lock(&p->lock);
        p->background--;
        if (p->stopped)
                pthread_cond_broadcast(&p->work);
        else if (p->lane[OBJM_LANE_BACKGROUND].head)
                pthread_cond_signal(&p->work);
        pthread_mutex_unlock(&p->lock);
}

static void *pool_thread(void *arg)
{
        struct objm_pool *p = arg;
        struct objm_qsbr_reader reader;
        enum objm_pool_lane lane;
        struct objm_job *job;

        objm_qsbr_register(p->qsbr, &reader);
        while ((job = wait_for_job(p, &lane))) {
                objm_qsbr_online(&reader);
                job->run(job, &reader);
                objm_qsbr_offline(&reader);
                if (lane == OBJM_LANE_BACKGROUND)
                        leave_background(p);
                objm_qsbr_poll(p->qsbr);
        }
        objm_qsbr_unregister(&reader);
        return NULL;
}

/* Every signal belongs to other threads. */
static int start_thread(struct objm_pool *p, const pthread_attr_t *attr)
{
        char name[16];
        int r = pthread_create(&p->thread[p->n_threads], attr, pool_thread, p);

        if (r)
                return -r;
        snprintf(name, sizeof(name), "%s-%u", p->name, p->n_threads % 1000);
        pthread_setname_np(p->thread[p->n_threads], name);
        p->n_threads++;
        return 0;
}

static int start_threads(struct objm_pool *p, unsigned threads)
{
        pthread_attr_t attr;
        sigset_t all;
        int r = -pthread_attr_init(&attr);

        if (r)
                return r;
        sigfillset(&all);
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        pthread_attr_setsigmask_np(&attr, &all);
        while (r == 0 && p->n_threads < threads)
                r = start_thread(p, &attr);
        pthread_attr_destroy(&attr);
        return r;
}

int objm_pool_new(unsigned threads, size_t max_queue, const char *name, struct objm_qsbr *qsbr, struct objm_pool **ret)
{
        struct objm_pool *p;
        int r;

        if (threads == 0)
                return -EINVAL;
        p = calloc(1, sizeof(*p) + threads * sizeof(p->thread[0]));
        if (!p)
                return -ENOMEM;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->work, NULL);
        lane_init(&p->lane[OBJM_LANE_REQUEST]);
        lane_init(&p->lane[OBJM_LANE_BACKGROUND]);
        p->max_queue = max_queue;
        p->max_background = threads > 1 ? threads / 2 : 1;
        p->qsbr = qsbr;
        snprintf(p->name, sizeof(p->name), "%s", name);
        r = start_threads(p, threads);
        if (r < 0) {
                objm_pool_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

int objm_pool_submit(struct objm_pool *p, struct objm_job *job, enum objm_pool_lane lane)
{
        int r = 0;

        pthread_mutex_lock(&p->lock);
        if (p->stopped)
                r = OBJM_POOL_STOPPED;
        else if (lane == OBJM_LANE_REQUEST && p->lane[lane].length >= p->max_queue)
                r = OBJM_POOL_FULL;
        else
                lane_push(&p->lane[lane], job);
        if (r == 0)
                pthread_cond_signal(&p->work);
        pthread_mutex_unlock(&p->lock);
        return r;
}

unsigned objm_pool_threads(const struct objm_pool *p)
{
        return p->n_threads;
}

size_t objm_pool_queued(struct objm_pool *p)
{
        size_t n;

        pthread_mutex_lock(&p->lock);
        n = p->lane[OBJM_LANE_REQUEST].length;
        pthread_mutex_unlock(&p->lock);
        return n;
}

void objm_pool_stop(struct objm_pool *p)
{
        pthread_mutex_lock(&p->lock);
        p->stopped = true;
        pthread_cond_broadcast(&p->work);
        pthread_mutex_unlock(&p->lock);
        while (p->n_joined < p->n_threads)
                pthread_join(p->thread[p->n_joined++], NULL);
}

void objm_pool_free(struct objm_pool *p)
{
        if (!p)
                return;
        objm_pool_stop(p);
        pthread_cond_destroy(&p->work);
        pthread_mutex_destroy(&p->lock);
        free(p);
}
