/* SPDX-License-Identifier: MIT */
#include "objmapperd/server.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/connection.h"
#include "objmapperd/datagram.h"
#include "objmapperd/escort.h"
#include "objmapperd/hello.h"
#include "objmapperd/listener.h"
#include "objmapperd/listening.h"
#include "objmapperd/log.h"
#include "objmapperd/worker.h"
#include "transport/fdpass.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Descriptors that are not connections: standard streams, loops, exports, batches of grants on their way out, and half
 * of them for grants that wait for a client to read.
 */
#define RESERVED_FDS   512
#define QUEUED_FDS_MAX (RESERVED_FDS / 2)
#define SPARE_FDS      160 /* of which bodies keep off: the daemon's own, and grants, which are soon over */

#define KEPT_MAX       1024 /* small files that workers keep open */

#define REAPERS_MAX 16

static unsigned online_cpus(void)
{
        cpu_set_t set;

        return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* A connection with a thread of its own has a loop of its own: two more descriptors, and one to spare. */
static uint32_t affordable_connections(const struct config *config, const struct objm_model *model)
{
        uint32_t each = model->placement == OBJM_PLACE_OWN ? 4 : 1, limit;
        struct rlimit rl;

        if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur == RLIM_INFINITY)
                return config->max_connections;
        limit = rl.rlim_cur > 2 * RESERVED_FDS ? (uint32_t)(rl.rlim_cur - RESERVED_FDS) : (uint32_t)rl.rlim_cur / 2;
        if (config->max_connections <= limit / each)
                return config->max_connections;
        log_line(LOG_WARNING, "max_connections = %u needs a higher limit of open files than %llu: using %u",
                 config->max_connections, (unsigned long long)rl.rlim_cur, limit / each);
        return limit / each;
}

/* What connections can never need, and the daemon itself does not. At least one. */
static long spare_descriptors(uint32_t max_connections, const struct objm_model *model)
{
        uint64_t taken = (uint64_t)max_connections * (model->placement == OBJM_PLACE_OWN ? 4 : 1);
        struct rlimit rl;
        uint64_t spare;

        if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur == RLIM_INFINITY)
                return LONG_MAX;
        spare = rl.rlim_cur / 4 < SPARE_FDS ? rl.rlim_cur / 4 : SPARE_FDS;
        return taken + spare < rl.rlim_cur ? (long)(rl.rlim_cur - taken - spare) : 1;
}

/*
 * A body keeps a descriptor for as long as its client may take, a ring as long as its connection lasts; a small file is
 * only kept to save time.
 */
static void set_limits(struct server *s, const struct config *config)
{
        uint32_t connections = affordable_connections(config, s->model);
        long spare = spare_descriptors(connections, s->model), kept = spare / 4 < KEPT_MAX ? spare / 4 : KEPT_MAX;
        long rings = config->ring_enabled ? spare / 4 : 0;

        atomic_store_explicit(&s->max_connections, connections, memory_order_relaxed);
        atomic_store_explicit(&s->max_rings, rings, memory_order_relaxed);
        atomic_store_explicit(&s->max_bodies, spare - kept - rings, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->kept.left, kept - s->max_kept, memory_order_relaxed);
        s->max_kept = kept;
}

/* Not the store: the next snapshot may have the same, and freeing one waits for its jobs. */
static void snapshot_free(struct objm_qsbr_node *node)
{
        struct snapshot *snap = objm_container_of(node, struct snapshot, retired);

        config_free((struct config *)snap->config);
        free(snap);
}

/* Takes @config on success; opens a store unless @store is given. */
static int snapshot_new(struct server *s, struct config *config, struct objm_store *store, int old_watch_fd,
                        size_t *ret_bad, struct snapshot **ret)
{
        struct objm_store_config sc = {
                .exports = config->exports, .n_exports = config->n_exports, .scan = config->scan,
                .watch = config->watch, .old_watch_fd = old_watch_fd, .log = log_text,
        };
        struct snapshot *snap = calloc(1, sizeof(*snap));
        int r;

        if (!snap)
                return -ENOMEM;
        snap->store = store;
        r = store ? 0 : objm_store_new(&sc, s->qsbr, s->pool, ret_bad, &snap->store);
        if (r < 0) {
                free(snap);
                return r;
        }
        snap->config = config;
        snap->requests_per_connection = config->persistent ? config->requests_per_connection : 1;
        snap->rate_limited = config->requests_per_second || config->requests_per_second_per_uid;
        snap->fds_limited = config->descriptors || config->descriptors_per_uid;
        *ret = snap;
        return 0;
}

static int start_threads(struct server *s, const struct config *config)
{
        unsigned cpus = online_cpus(), n = config->pool_size ? config->pool_size : cpus;
        int r = 0;

        if (s->model->placement == OBJM_PLACE_OWN || s->model->execution == OBJM_EXECUTE_SPAWN)
                r = objm_spawner_new(s->max_connections + 1024, "objm-own", &s->spawner);
        if (r < 0 || s->model->placement == OBJM_PLACE_OWN)
                return r;
        s->fixed = calloc(n, sizeof(*s->fixed));
        if (!s->fixed)
                return -ENOMEM;
        for (; r == 0 && s->n_fixed < n; s->n_fixed += r == 0)
                r = worker_start(s, &s->fixed[s->n_fixed]);
        return r;
}

static int start(struct server *s, struct config *config, int old_watch_fd, size_t *ret_bad)
{
        unsigned pool_size = config->copy_pool_size ? config->copy_pool_size : 2 * online_cpus();
        struct snapshot *snap;
        int r = hello_init();

        s->drained_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (r == 0 && s->drained_fd < 0)
                r = -errno;
        if (r == 0)
                r = accounts_init(&s->accounts);
        if (r == 0)
                r = objm_qsbr_new(&s->qsbr);
        if (r == 0)
                r = objm_spawner_new(REAPERS_MAX, "objm-reaper", &s->reapers);
        if (r == 0)
                r = objm_pool_new(pool_size, config->max_queue_depth, "objm-pool", s->qsbr, &s->pool);
        if (r == 0)
                r = objm_crew_new(ESCORTS_MAX, ESCORTS_IDLE_MS, "objm-escort", s->qsbr, &s->escorts);
        if (r == 0)
                r = snapshot_new(s, config, NULL, old_watch_fd, ret_bad, &snap);
        if (r < 0)
                return r;
        atomic_store_explicit(&s->snapshot, snap, memory_order_release);
        return start_threads(s, config);
}

static void for_each_worker(struct server *s, void (*fn_locked)(struct worker *))
{
        struct objm_list *it, *next;

        pthread_mutex_lock(&s->workers_lock);
        objm_list_for_each_safe(it, next, &s->workers)
                fn_locked(objm_container_of(it, struct worker, link));
        pthread_mutex_unlock(&s->workers_lock);
}

void server_ask(struct server *s, struct pulse *p)
{
        struct objm_list *it, *next;

        pthread_mutex_lock(&s->workers_lock);
        objm_list_for_each_safe(it, next, &s->workers) {
                struct worker *w = objm_container_of(it, struct worker, link);

                pulse_ask(p, &w->beat, &w->loop);
        }
        pthread_mutex_unlock(&s->workers_lock);
        listener_ask(s->listener, p);
        datagram_ask(s->datagram, p);
}

struct reaping {
        struct server *server;
        struct snapshot *snapshot;
        bool keep_store;
};

/* Waits for every thread that may still use the snapshot, also for one that a slow disk holds up. */
static void reap(void *arg)
{
        struct reaping *r = arg;
        struct objm_store *store = r->keep_store ? NULL : r->snapshot->store;

        objm_qsbr_retire(r->server->qsbr, &r->snapshot->retired, snapshot_free);
        objm_qsbr_drain(r->server->qsbr);
        objm_store_free(store);
        free(r);
}

int server_reload(struct server *s, struct config *config, size_t *ret_bad)
{
        struct snapshot *old = atomic_load_explicit(&s->snapshot, memory_order_relaxed), *snap;
        struct reaping *reaping = malloc(sizeof(*reaping));
        bool same = config_same_store(old->config, config);
        int r;

        if (!reaping)
                return -ENOMEM;
        r = snapshot_new(s, config, same ? old->store : NULL, -1, ret_bad, &snap);
        if (r < 0) {
                free(reaping);
                return r;
        }
        *reaping = (struct reaping){.server = s, .snapshot = old, .keep_store = same};
        set_limits(s, config);
        atomic_store_explicit(&s->snapshot, snap, memory_order_release);
        for_each_worker(s, worker_wake_locked); /* a sleeping one goes by the old timeouts */
        if (objm_spawner_spawn(s->reapers, reap, reaping) < 0)
                reap(reaping);
        return 0;
}

void server_count_queued_fds(struct server *s, long change)
{
        atomic_fetch_add_explicit(&s->queued_fds, change, memory_order_relaxed);
}

bool server_queued_fds_over(const struct server *s)
{
        return atomic_load_explicit(&s->queued_fds, memory_order_relaxed) > QUEUED_FDS_MAX;
}

void server_count_bodies(struct server *s, long change)
{
        atomic_fetch_add_explicit(&s->bodies, change, memory_order_relaxed);
}

bool server_bodies_over(const struct server *s)
{
        return atomic_load_explicit(&s->bodies, memory_order_relaxed) >=
               atomic_load_explicit(&s->max_bodies, memory_order_relaxed);
}

void server_count_wide(struct server *s, long change)
{
        atomic_fetch_add_explicit(&s->wide, change, memory_order_relaxed);
}

bool server_refs_scarce(struct server *s)
{
        if (!atomic_load_explicit(&s->refs_scarce, memory_order_relaxed))
                return false;
        if (objm_fdpass_probe() < 0)
                return true;
        atomic_store_explicit(&s->refs_scarce, false, memory_order_relaxed);
        return false;
}

bool server_wide_over(const struct server *s)
{
        return atomic_load_explicit(&s->wide, memory_order_relaxed) >= CONNECTION_WIDE_MAX;
}

void server_count_denied(struct server *s)
{
        atomic_fetch_add_explicit(&s->denied, 1, memory_order_relaxed);
}

bool server_count_ring(struct server *s)
{
        if (atomic_fetch_add_explicit(&s->rings, 1, memory_order_relaxed) <
            atomic_load_explicit(&s->max_rings, memory_order_relaxed))
                return true;
        server_uncount_ring(s);
        return false;
}

void server_uncount_ring(struct server *s)
{
        atomic_fetch_sub_explicit(&s->rings, 1, memory_order_relaxed);
}

/* Pairs with the store of `draining` in server_drain(): of the two, one sees what the other has done. */
void server_count_out(struct server *s)
{
        uint64_t one = 1;

        if (atomic_fetch_sub(&s->n_connections, 1) == 1 && atomic_load(&s->draining))
                (void)!write(s->drained_fd, &one, sizeof(one));
}

void server_drain(struct server *s, struct handover *h)
{
        s->handover = h;
        listener_stop(s->listener);
        s->listener = NULL;
        datagram_stop(s->datagram);
        pthread_mutex_lock(&s->workers_lock);
        atomic_store(&s->draining, true);
        pthread_mutex_unlock(&s->workers_lock);
        for_each_worker(s, worker_drain_locked);
}

bool server_is_drained(struct server *s)
{
        return atomic_load(&s->draining) && !atomic_load(&s->n_connections);
}

/* Workers end first, then every thread that may still post to them. */
static void stop_threads(struct server *s)
{
        control_close(&s->control);
        listener_stop(s->listener);
        datagram_stop(s->datagram);
        for_each_worker(s, worker_stop_locked);
        for (size_t i = 0; i < s->n_fixed; i++)
                worker_join(s->fixed[i]);
        objm_spawner_free(s->spawner);
        objm_crew_free(s->escorts);
        objm_spawner_free(s->reapers); /* before the pool: they wait for its jobs */
        if (s->pool)
                objm_pool_stop(s->pool);
}

/* What no thread uses any more. */
static void release(struct server *s)
{
        struct snapshot *snap = atomic_load_explicit(&s->snapshot, memory_order_relaxed);

        for (size_t i = 0; i < s->n_fixed; i++)
                worker_free(s->fixed[i]);
        free(s->fixed);
        datagram_free(s->datagram);
        if (snap) {
                objm_store_free(snap->store);
                snapshot_free(&snap->retired);
        }
        objm_pool_free(s->pool);
        objm_qsbr_free(s->qsbr);
        metrics_all_deinit(&s->metrics);
        objm_fd_close(s->drained_fd);
        control_deinit(&s->control);
        accounts_deinit(&s->accounts);
        pthread_mutex_destroy(&s->workers_lock);
        free(s);
}

void server_free(struct server *s)
{
        if (!s)
                return;
        stop_threads(s);
        release(s);
}

int server_new(struct config *config, int old_watch_fd, size_t *ret_bad, struct server **ret)
{
        struct server *s = aligned_alloc(OBJM_CACHE_LINE, sizeof(*s));
        struct snapshot *snap;
        int r;

        if (!s)
                return -ENOMEM;
        *s = (struct server){.model = &objm_models[config->model], .drained_fd = -1, .started_ns = objm_clock_ns()};
        control_init(&s->control);
        set_limits(s, config);
        metrics_all_init(&s->metrics);
        objm_list_init(&s->workers);
        pthread_mutex_init(&s->workers_lock, NULL);
        r = start(s, config, old_watch_fd, ret_bad);
        if (r < 0) {
                stop_threads(s);
                snap = atomic_load_explicit(&s->snapshot, memory_order_relaxed);
                if (snap)
                        snap->config = NULL; /* stays the caller's */
                release(s);
                return r;
        }
        *ret = s;
        return 0;
}

static int add_datagrams(struct server *s, const struct listening *socket)
{
        int r = s->datagram ? 0 : datagram_start(s, &s->datagram);

        return r < 0 ? r : datagram_add(s->datagram, socket);
}

int server_add_socket(struct server *s, const struct listening *socket)
{
        int r;

        if (socket->transport == CONFIG_TRANSPORT_UDP)
                return add_datagrams(s, socket);
        r = s->listener ? 0 : listener_start(s, &s->listener);
        return r < 0 ? r : listener_add(s->listener, socket);
}

int server_go(struct server *s)
{
        int r = s->listener ? listener_go(s->listener) : 0;

        return r == 0 && s->datagram ? datagram_go(s->datagram) : r;
}

void server_remove_socket(struct server *s, const struct listening *socket)
{
        if (socket->transport == CONFIG_TRANSPORT_UDP)
                datagram_remove(s->datagram, socket);
        else
                listener_remove(s->listener, socket);
}
