/* SPDX-License-Identifier: MIT */
#include "storage/sweep.h"

#include "base/clock.h"
#include "storage/task.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct prefix {
        struct prefix *next;
        size_t len;
        char bytes[]; /* of the URIs to be dropped, ends in '/' */
};

/* What one walk is to drop. */
struct wishes {
        struct prefix *prefixes;
        bool outdated;
};

struct objm_sweep {
        struct objm_task task;
        struct objm_catalog *catalog;
        objm_sweep_done_fn done;
        void *userdata;
        pthread_mutex_t lock;
        struct wishes next; /* under the lock */
        bool walking;       /* under the lock */
        struct wishes now;  /* the walk's own */
        struct objm_index_cursor cursor;
        _Atomic uint64_t dropped;
};

static bool is_empty(const struct wishes *w)
{
        return !w->prefixes && !w->outdated;
}

static void clear(struct wishes *w)
{
        struct prefix *p;

        while ((p = w->prefixes)) {
                w->prefixes = p->next;
                free(p);
        }
        w->outdated = false;
}

static bool visit(const struct objm_entry *e, void *userdata)
{
        struct objm_sweep *s = userdata;
        bool drop = s->now.outdated && !objm_catalog_is_current(s->catalog, e);

        for (const struct prefix *p = s->now.prefixes; p && !drop; p = p->next)
                drop = e->key_len > p->len && memcmp(e->key, p->bytes, p->len) == 0;
        if (drop)
                atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
        return drop;
}

/* Takes the next wishes; false when there are none. */
static bool begin(struct objm_sweep *s)
{
        pthread_mutex_lock(&s->lock);
        s->now = s->next;
        s->next = (struct wishes){0};
        s->cursor = (struct objm_index_cursor){0};
        s->walking = !is_empty(&s->now);
        pthread_mutex_unlock(&s->lock);
        return s->walking;
}

static bool slice(struct objm_task *task, struct objm_qsbr_reader *r)
{
        struct objm_sweep *s = objm_container_of(task, struct objm_sweep, task);
        uint64_t deadline = objm_clock_ns() + OBJM_SLICE_NS;

        if (is_empty(&s->now) && !begin(s))
                return false;
        while (objm_index_walk(s->catalog->index, &s->cursor, visit, s))
                if (objm_clock_ns() >= deadline)
                        return true;
        clear(&s->now);
        if (begin(s))
                return true;
        s->done(s->userdata);
        return false;
}

int objm_sweep_new(struct objm_catalog *catalog, struct objm_pool *pool, objm_sweep_done_fn done, void *userdata,
                   struct objm_sweep **ret)
{
        struct objm_sweep *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        objm_task_init(&s->task, pool, slice);
        pthread_mutex_init(&s->lock, NULL);
        s->catalog = catalog;
        s->done = done;
        s->userdata = userdata;
        *ret = s;
        return 0;
}

int objm_sweep_below(struct objm_sweep *s, const struct objm_export *e, const char *path)
{
        struct objm_uri u objm_uninitialized;
        struct prefix *p;

        if (!objm_uri_join(&u, e, path, ""))
                return 0; /* too long to have anything below it */
        p = malloc(sizeof(*p) + u.len);
        if (!p)
                return -ENOMEM;
        p->len = u.len;
        memcpy(p->bytes, u.bytes, u.len);
        pthread_mutex_lock(&s->lock);
        p->next = s->next.prefixes;
        s->next.prefixes = p;
        pthread_mutex_unlock(&s->lock);
        objm_task_kick(&s->task);
        return 0;
}

void objm_sweep_outdated(struct objm_sweep *s)
{
        pthread_mutex_lock(&s->lock);
        s->next.outdated = true;
        pthread_mutex_unlock(&s->lock);
        objm_task_kick(&s->task);
}

bool objm_sweep_busy(struct objm_sweep *s)
{
        bool busy;

        pthread_mutex_lock(&s->lock);
        busy = s->walking || !is_empty(&s->next);
        pthread_mutex_unlock(&s->lock);
        return busy;
}

uint64_t objm_sweep_dropped(const struct objm_sweep *s)
{
        return atomic_load_explicit(&s->dropped, memory_order_relaxed);
}

void objm_sweep_stop(struct objm_sweep *s)
{
        objm_task_stop(&s->task);
}

void objm_sweep_free(struct objm_sweep *s)
{
        if (!s)
                return;
        objm_sweep_stop(s);
        clear(&s->now);
        clear(&s->next);
        pthread_mutex_destroy(&s->lock);
        objm_task_deinit(&s->task);
        free(s);
}
