/* SPDX-License-Identifier: MIT */
#include "storage/sync.h"

#include "base/clock.h"
#include "storage/scan.h"
#include "storage/sweep.h"
#include "storage/task.h"
#include "storage/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

struct objm_sync {
        struct objm_catalog *catalog;
        struct objm_watch *watch; /* NULL: nothing is watched */
        struct objm_scan *scan;
        struct objm_sweep *sweep;
        struct objm_task events; /* reads the watch */

        pthread_mutex_t lock; /* what follows; outside the locks of scan and sweep */
        bool full;            /* a scan of everything is under way */
        bool scanned_once;
        bool lost;    /* events were lost: scan everything again */
        bool whole;   /* every directory could be read and is watched */
        bool deaf;    /* nobody polls the watch */
        bool reading; /* events are being read and applied */
        void (*rearm)(void *userdata);
        void *rearm_userdata;
        _Atomic bool in_step;
};

static void update_locked(struct objm_sync *s)
{
        bool in_step = s->watch && !s->deaf && !s->reading && s->scanned_once && s->whole && !s->full && !s->lost &&
                       !objm_scan_busy(s->scan) && !objm_sweep_busy(s->sweep);

        atomic_store_explicit(&s->in_step, in_step, memory_order_release);
}

static int add_roots(struct objm_sync *s)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < s->catalog->exports.n; i++)
                r = objm_scan_add(s->scan, &s->catalog->exports.item[i], "");
        return r;
}

static void scan_everything_locked(struct objm_sync *s)
{
        s->full = true;
        s->lost = false;
        objm_scan_take_incomplete(s->scan);
        if (s->scanned_once)
                objm_catalog_next_generation(s->catalog);
        s->whole = add_roots(s) == 0;
        update_locked(s);
}

static void lose_locked(struct objm_sync *s)
{
        if (!s->lost && !s->full)
                objm_catalog_log(s->catalog, LOG_WARNING, "changes were missed; the exports are scanned again");
        s->lost = true;
        if (!s->full)
                scan_everything_locked(s);
        update_locked(s);
}

static void on_lost(void *userdata)
{
        struct objm_sync *s = userdata;

        pthread_mutex_lock(&s->lock);
        lose_locked(s);
        pthread_mutex_unlock(&s->lock);
}

static void on_appeared(void *userdata, const struct objm_export *e, const char *path)
{
        struct objm_sync *s = userdata;

        if (objm_scan_add(s->scan, e, path) < 0)
                on_lost(s);
}

static void on_left(void *userdata, const struct objm_export *e, const char *path)
{
        struct objm_sync *s = userdata;

        objm_scan_leave(s->scan, e, path);
        pthread_mutex_lock(&s->lock);
        if (objm_sweep_below(s->sweep, e, path) < 0)
                lose_locked(s);
        update_locked(s);
        pthread_mutex_unlock(&s->lock);
}

static const struct objm_watch_ops watch_ops = {
        .appeared = on_appeared,
        .left = on_left,
        .lost = on_lost,
};

/* What was seen before and not this time is gone. */
static void end_full_scan_locked(struct objm_sync *s)
{
        s->full = false;
        if (s->scanned_once)
                objm_sweep_outdated(s->sweep);
        s->scanned_once = true;
        objm_catalog_log(s->catalog, LOG_INFO, "scan done: %zu objects known, %zu directories watched",
                         objm_index_count(s->catalog->index), s->watch ? objm_watch_count(s->watch) : 0);
}

/* While roots were being added, the first may have been done before the last was there: then this is not the end. */
static void on_scan_done(void *userdata)
{
        struct objm_sync *s = userdata;

        pthread_mutex_lock(&s->lock);
        if (!objm_scan_busy(s->scan)) {
                if (objm_scan_take_incomplete(s->scan))
                        s->whole = false;
                if (s->full)
                        end_full_scan_locked(s);
                if (s->lost)
                        scan_everything_locked(s);
                update_locked(s);
        }
        pthread_mutex_unlock(&s->lock);
}

static void on_sweep_done(void *userdata)
{
        struct objm_sync *s = userdata;

        pthread_mutex_lock(&s->lock);
        update_locked(s);
        pthread_mutex_unlock(&s->lock);
}

static void call_rearm(struct objm_sync *s)
{
        void (*rearm)(void *userdata);
        void *userdata;

        pthread_mutex_lock(&s->lock);
        rearm = s->rearm;
        userdata = s->rearm_userdata;
        s->rearm = NULL;
        pthread_mutex_unlock(&s->lock);
        if (rearm)
                rearm(userdata);
}

static void set_reading(struct objm_sync *s, bool reading)
{
        pthread_mutex_lock(&s->lock);
        s->reading = reading;
        update_locked(s);
        pthread_mutex_unlock(&s->lock);
}

static bool events_slice(struct objm_task *task, struct objm_qsbr_reader *r)
{
        struct objm_sync *s = objm_container_of(task, struct objm_sync, events);
        uint64_t deadline = objm_clock_ns() + OBJM_SLICE_NS;

        set_reading(s, true);
        while (objm_watch_read(s->watch))
                if (objm_clock_ns() >= deadline)
                        return true;
        set_reading(s, false);
        call_rearm(s);
        return false;
}

static void start_watch(struct objm_sync *s, int old_fd)
{
        int r = objm_watch_new(s->catalog, &watch_ops, s, old_fd, &s->watch);

        if (r < 0)
                objm_catalog_log(s->catalog, LOG_WARNING, "cannot watch for changes: %s", strerrordesc_np(-r));
}

static int build(struct objm_sync *s, const struct objm_store_config *config, struct objm_pool *pool)
{
        int r;

        if (config->watch)
                start_watch(s, config->old_watch_fd);
        r = objm_scan_new(s->catalog, s->watch, pool, on_scan_done, s, &s->scan);
        if (r == 0)
                r = objm_sweep_new(s->catalog, pool, on_sweep_done, s, &s->sweep);
        return r;
}

int objm_sync_new(struct objm_catalog *catalog, const struct objm_store_config *config, struct objm_pool *pool,
                  struct objm_sync **ret)
{
        struct objm_sync *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        pthread_mutex_init(&s->lock, NULL);
        objm_task_init(&s->events, pool, events_slice);
        s->catalog = catalog;
        r = build(s, config, pool);
        if (r < 0) {
                objm_sync_free(s);
                return r;
        }
        pthread_mutex_lock(&s->lock);
        scan_everything_locked(s);
        pthread_mutex_unlock(&s->lock);
        *ret = s;
        return 0;
}

/* All tasks stop before anything is freed: each may call on the others. */
void objm_sync_free(struct objm_sync *s)
{
        if (!s)
                return;
        objm_task_stop(&s->events);
        if (s->scan)
                objm_scan_stop(s->scan);
        if (s->sweep)
                objm_sweep_stop(s->sweep);
        objm_sweep_free(s->sweep);
        objm_scan_free(s->scan);
        objm_watch_free(s->watch);
        objm_task_deinit(&s->events);
        pthread_mutex_destroy(&s->lock);
        free(s);
}

void objm_sync_unwatch(struct objm_sync *s)
{
        pthread_mutex_lock(&s->lock);
        s->deaf = true;
        update_locked(s);
        pthread_mutex_unlock(&s->lock);
}

bool objm_sync_in_step(const struct objm_sync *s)
{
        return atomic_load_explicit(&s->in_step, memory_order_acquire);
}

/*
 * In this order: an event that is no longer unread has been taken by events_slice(), which had said before that the
 * index is not in step, and says that it is only after the event has been applied.
 */
bool objm_sync_is_current(const struct objm_sync *s)
{
        return objm_sync_in_step(s) && !objm_watch_unread(s->watch) && objm_sync_in_step(s);
}

int objm_sync_watch_fd(const struct objm_sync *s)
{
        return s->watch ? objm_watch_fd(s->watch) : -1;
}

void objm_sync_on_watch_ready(struct objm_sync *s, void (*rearm)(void *userdata), void *userdata)
{
        pthread_mutex_lock(&s->lock);
        s->rearm = rearm;
        s->rearm_userdata = userdata;
        pthread_mutex_unlock(&s->lock);
        objm_task_kick(&s->events);
}

void objm_sync_count(struct objm_sync *s, struct objm_store_counts *counts)
{
        counts->scanned = objm_scan_count(s->scan);
        counts->dropped += objm_sweep_dropped(s->sweep);
        counts->watches = s->watch ? objm_watch_count(s->watch) : 0;
        counts->scanning = objm_scan_busy(s->scan);
        counts->in_step = objm_sync_in_step(s);
}
