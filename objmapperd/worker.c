/* SPDX-License-Identifier: MIT */
#include "objmapperd/worker.h"

#include "base/clock.h"
#include "objmapperd/connection.h"
#include "objmapperd/quarantine.h"
#include "objmapperd/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Small files that a worker keeps open. Where each connection has one there may be a thousand of them. */
#define KEPT     1024
#define KEPT_OWN 16

static const struct objm_kept_limits kept_max = {.size = TRANSFER_GATHER_MAX, .memory = TRANSFER_GATHER_MAX};

static void for_each_connection(struct worker *w, void (*fn)(struct connection *))
{
        for (unsigned i = 0; i < WORKER_WAIT_MAX; i++) {
                struct objm_list *it, *next;

                objm_list_for_each_safe(it, next, &w->waiting[i])
                        fn(objm_container_of(it, struct connection, link));
        }
}

static void (*end_of(const struct worker *w))(struct connection *)
{
        return w->server->handover ? connection_leave : connection_drain;
}

static void on_drain(struct objm_mail *m)
{
        struct worker *w = objm_container_of(m, struct worker, drain_mail);

        w->draining = true;
        quarantine_end(w);
        for_each_connection(w, end_of(w));
}

static void on_stop(struct objm_mail *m)
{
        struct worker *w = objm_container_of(m, struct worker, stop_mail);

        w->stopping = true;
        quarantine_end(w);
        for_each_connection(w, connection_close);
}

static void on_wake(struct objm_mail *m)
{
        atomic_store(&objm_container_of(m, struct worker, wake_mail)->wake_posted, false);
}

static void on_arrival(struct objm_mail *m)
{
        struct connection *c = objm_container_of(m, struct connection, arrival);
        struct worker *w = c->worker;

        connection_start(c, w);
        if (w->stopping && !c->dead)
                connection_close(c);
        else if (w->draining && !c->dead)
                end_of(w)(c);
}

/* So that no client can know which turns are picked. Without one the time has to do. */
static uint64_t random_seed(void)
{
        uint64_t seed;

        return getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed) ? seed : objm_clock_ns();
}

static int worker_new(struct server *s, struct worker **ret)
{
        const struct config *config = server_snapshot(s)->config;
        struct worker *w = aligned_alloc(OBJM_CACHE_LINE, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        memset(w, 0, offsetof(struct worker, batch.data)); /* not the buffers: pages that are not used cost nothing */
        w->server = s;
        w->drain_mail.deliver = on_drain;
        w->stop_mail.deliver = on_stop;
        w->wake_mail.deliver = on_wake;
        for (unsigned i = 0; i < WORKER_WAIT_MAX; i++)
                objm_list_init(&w->waiting[i]);
        objm_list_init(&w->dead);
        objm_list_init(&w->watched);
        objm_list_init(&w->quarantine);
        objm_list_init(&w->released);
        rings_init(&w->rings);
        objm_list_init(&w->open);
        objm_list_init(&w->link);
        objm_kept_init(&w->kept, s->model->placement == OBJM_PLACE_OWN ? KEPT_OWN : KEPT, kept_max, &s->kept);
        pthread_mutex_init(&w->open_lock, NULL);
        sampling_init(&w->sampling, random_seed());
        objm_spin_init(&w->spin, config->optimize_for_latency ? OBJM_SPIN_DEFAULT_NS : 0);
        w->metrics = metrics_begin(&s->metrics);
        r = w->metrics ? objm_loop_init(&w->loop) : -ENOMEM;
        if (r < 0) {
                if (w->metrics)
                        metrics_end(&s->metrics, w->metrics);
                free(w);
                return r;
        }
        *ret = w;
        return 0;
}

void worker_free(struct worker *w)
{
        objm_kept_deinit(&w->kept);
        objm_loop_deinit(&w->loop);
        metrics_end(&w->server->metrics, w->metrics);
        pthread_mutex_destroy(&w->open_lock);
        free(w);
}

static void *thread_main(void *arg)
{
        pthread_setname_np(pthread_self(), "objm-worker"); /* itself: others would have to write to /proc */
        worker_run(arg);
        return NULL;
}

static void enlist(struct worker *w)
{
        struct server *s = w->server;

        pthread_mutex_lock(&s->workers_lock);
        objm_list_add_tail(&s->workers, &w->link);
        if (s->draining)
                worker_drain_locked(w);
        pthread_mutex_unlock(&s->workers_lock);
}

static void delist(struct worker *w)
{
        struct server *s = w->server;

        pthread_mutex_lock(&s->workers_lock);
        objm_list_unlink(&w->link);
        pulse_forget(&w->beat);
        pthread_mutex_unlock(&s->workers_lock);
}

int worker_start(struct server *s, struct worker **ret)
{
        struct worker *w;
        int r = worker_new(s, &w);

        if (r < 0)
                return r;
        enlist(w);
        r = -pthread_create(&w->thread, NULL, thread_main, w);
        if (r < 0) {
                delist(w);
                worker_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

static void free_retired(struct objm_qsbr_node *node)
{
        worker_free(objm_container_of(node, struct worker, retired));
}

/* A pool thread may have put mail here and be about to ring: memory and descriptors go when it no longer can. */
static void own_thread_main(void *arg)
{
        struct worker *w = arg;
        struct server *s = w->server;

        worker_run(w);
        delist(w);
        objm_qsbr_retire(s->qsbr, &w->retired, free_retired);
        objm_qsbr_poll(s->qsbr); /* else whoever is waited for polls when it is through */
}

int worker_start_own(struct server *s, struct connection *c)
{
        struct worker *w;
        int r = worker_new(s, &w);

        if (r < 0)
                return r;
        w->own = true;
        worker_post(w, c);
        enlist(w);
        r = objm_spawner_spawn(s->spawner, own_thread_main, w);
        if (r < 0) {
                delist(w);
                worker_free(w);
        }
        return r;
}

void worker_post(struct worker *w, struct connection *c)
{
        atomic_fetch_add_explicit(&w->n_connections, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&w->n_held, 1, memory_order_relaxed);
        c->worker = w;
        c->received = objm_clock_ns();
        c->arrival.deliver = on_arrival;
        objm_loop_post(&w->loop, &c->arrival);
}

static struct worker *least_loaded(struct server *s)
{
        struct worker *best = NULL;
        unsigned fewest = 0;

        for (size_t i = 0; i < s->n_fixed; i++) {
                unsigned n = atomic_load_explicit(&s->fixed[i]->n_connections, memory_order_relaxed);

                if (!best || n < fewest) {
                        best = s->fixed[i];
                        fewest = n;
                }
        }
        return best;
}

int worker_place(struct server *s, struct connection *c)
{
        if (s->model->placement == OBJM_PLACE_OWN)
                return worker_start_own(s, c);
        worker_post(least_loaded(s), c);
        return 0;
}

void worker_drain_locked(struct worker *w)
{
        if (!w->drain_posted)
                objm_loop_post(&w->loop, &w->drain_mail);
        w->drain_posted = true;
}

void worker_stop_locked(struct worker *w)
{
        objm_loop_post(&w->loop, &w->stop_mail);
}

void worker_wake_locked(struct worker *w)
{
        if (!atomic_exchange(&w->wake_posted, true))
                objm_loop_post(&w->loop, &w->wake_mail);
}

void worker_join(struct worker *w)
{
        pthread_join(w->thread, NULL);
}
