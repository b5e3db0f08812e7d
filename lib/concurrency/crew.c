/* SPDX-License-Identifier: MIT */
#include "concurrency/crew.h"

#include "base/clock.h"
#include "base/list.h"
#include "concurrency/spawn.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct objm_crew {
        pthread_mutex_t lock;
        struct objm_list idle; /* members, who was last at work at the end */
        unsigned n_busy, max;
        unsigned idle_ms;
        bool ending;
        atomic_uint refused; /* jobs, less those that made others end */
        struct objm_qsbr *qsbr;
        struct objm_spawner *spawner;
};

/* On its thread's stack. */
struct member {
        struct objm_list link; /* in crew.idle while it has no job */
        struct objm_job *job;
        pthread_cond_t called;
};

struct engagement {
        struct objm_crew *crew;
        struct objm_job *job;
};

int objm_crew_new(unsigned max_threads, unsigned idle_ms, const char *name, struct objm_qsbr *qsbr,
                  struct objm_crew **ret)
{
        struct objm_crew *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        /* Twice: one that is about to end has made room for the next, but is not joined yet. */
        r = objm_spawner_new(2 * max_threads, name, &c->spawner);
        if (r < 0) {
                free(c);
                return r;
        }
        pthread_mutex_init(&c->lock, NULL);
        objm_list_init(&c->idle);
        c->max = max_threads;
        c->idle_ms = idle_ms;
        c->qsbr = qsbr;
        *ret = c;
        return 0;
}

/* The next job, or NULL when it is time to end. The lock is held. */
static struct objm_job *wait_for_job_locked(struct objm_crew *c, struct member *m)
{
        uint64_t until = objm_clock_ns() + c->idle_ms * OBJM_NS_PER_MS;
        struct timespec ts = {.tv_sec = (time_t)(until / OBJM_NS_PER_S), .tv_nsec = (long)(until % OBJM_NS_PER_S)};
        int r = 0;

        m->job = NULL;
        objm_list_add_tail(&c->idle, &m->link);
        c->n_busy--;
        while (!m->job && !c->ending && r != ETIMEDOUT)
                r = pthread_cond_clockwait(&m->called, &c->lock, CLOCK_MONOTONIC, &ts);
        objm_list_unlink(&m->link);
        return m->job;
}

static void serve(void *arg)
{
        struct engagement e = *(struct engagement *)arg;
        struct member m = {.job = e.job};
        struct objm_qsbr_reader reader;

        free(arg);
        pthread_cond_init(&m.called, NULL);
        objm_list_init(&m.link);
        objm_qsbr_register(e.crew->qsbr, &reader);
        while (m.job) {
                objm_qsbr_online(&reader);
                m.job->run(m.job, &reader);
                objm_qsbr_offline(&reader);
                objm_qsbr_poll(e.crew->qsbr);
                pthread_mutex_lock(&e.crew->lock);
                (void)wait_for_job_locked(e.crew, &m);
                pthread_mutex_unlock(&e.crew->lock);
        }
        objm_qsbr_unregister(&reader);
        objm_qsbr_poll(e.crew->qsbr);
        pthread_cond_destroy(&m.called);
}

/* The member that was at work last; NULL when none is idle. */
static struct member *call_idle_locked(struct objm_crew *c, struct objm_job *job)
{
        struct member *m;

        if (objm_list_empty(&c->idle))
                return NULL;
        m = objm_container_of(c->idle.prev, struct member, link);
        objm_list_unlink(&m->link);
        m->job = job;
        pthread_cond_signal(&m->called); /* under the lock: the member ends soon after */
        return m;
}

static int engage(struct objm_crew *c, struct objm_job *job)
{
        struct engagement *e = malloc(sizeof(*e));

        if (!e)
                return -ENOMEM;
        *e = (struct engagement){.crew = c, .job = job};
        if (objm_spawner_spawn(c->spawner, serve, e) == 0)
                return 0;
        free(e);
        return -EAGAIN;
}

int objm_crew_run(struct objm_crew *c, struct objm_job *job)
{
        bool called, engaged;

        pthread_mutex_lock(&c->lock);
        called = call_idle_locked(c, job);
        engaged = !called && c->n_busy < c->max;
        c->n_busy += called || engaged;
        pthread_mutex_unlock(&c->lock);
        if (engaged && engage(c, job) < 0) {
                pthread_mutex_lock(&c->lock);
                c->n_busy--;
                pthread_mutex_unlock(&c->lock);
                engaged = false;
        }
        if (called || engaged)
                return 0;
        if (atomic_load_explicit(&c->refused, memory_order_relaxed) < c->max)
                atomic_fetch_add_explicit(&c->refused, 1, memory_order_relaxed);
        return OBJM_CREW_BUSY;
}

bool objm_crew_wanted(struct objm_crew *c)
{
        unsigned n = atomic_load_explicit(&c->refused, memory_order_relaxed);

        while (n && !atomic_compare_exchange_weak_explicit(&c->refused, &n, n - 1, memory_order_relaxed,
                                                           memory_order_relaxed))
                ;
        return n;
}

void objm_crew_free(struct objm_crew *c)
{
        struct objm_list *it, *next;

        if (!c)
                return;
        pthread_mutex_lock(&c->lock);
        c->ending = true;
        objm_list_for_each_safe(it, next, &c->idle)
                pthread_cond_signal(&objm_container_of(it, struct member, link)->called);
        pthread_mutex_unlock(&c->lock);
        objm_spawner_free(c->spawner);
        pthread_mutex_destroy(&c->lock);
        free(c);
}
