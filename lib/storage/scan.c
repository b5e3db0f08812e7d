/* SPDX-License-Identifier: MIT */
#include "storage/scan.h"

#include "base/clock.h"
#include "base/fd.h"
#include "storage/name.h"
#include "storage/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define READ_SIZE    32768
#define STARVED_MS   20 /* without descriptors or memory: try again after that */
#define MAX_WORKERS  8
#define LOOKS        64 /* at one file that keeps changing */
#define CLOCK_STRIDE 32 /* names between two looks at the clock */

struct dir {
        struct dir *next;
        const struct objm_export *export;
        char path[];
};

struct worker {
        struct objm_task task;
        struct objm_scan *scan;
        struct dir *dir;   /* being read, NULL between two; changed under the scan's lock */
        _Atomic bool left; /* it is no longer where its path leads */
        int fd;
        bool watched;
        char *buf; /* of getdents64(), while there is work */
        size_t pos, len;
};

struct objm_scan {
        struct objm_catalog *catalog;
        struct objm_watch *watch;
        objm_scan_done_fn done;
        void *userdata;
        pthread_mutex_t lock;
        struct dir *queue;  /* last in, first out: depth first keeps it short */
        size_t outstanding; /* directories queued or being read */
        _Atomic uint64_t files;
        _Atomic bool incomplete, said_unwatched, said_long, said_starved;
        unsigned n_workers;
        struct worker worker[];
};

static void push_locked(struct objm_scan *s, struct dir *d)
{
        d->next = s->queue;
        s->queue = d;
}

/* False when there is no directory to read. */
static bool pop(struct worker *w)
{
        struct objm_scan *s = w->scan;

        pthread_mutex_lock(&s->lock);
        w->dir = s->queue;
        if (w->dir)
                s->queue = w->dir->next;
        atomic_store(&w->left, false);
        pthread_mutex_unlock(&s->lock);
        return w->dir;
}

static int enqueue(struct objm_scan *s, const struct objm_export *e, const char *path)
{
        size_t size = strlen(path) + 1;
        struct dir *d = malloc(sizeof(*d) + size);

        if (!d)
                return -ENOMEM;
        d->export = e;
        memcpy(d->path, path, size);
        pthread_mutex_lock(&s->lock);
        push_locked(s, d);
        s->outstanding++;
        pthread_mutex_unlock(&s->lock);
        return 0;
}

static void kick_workers(struct objm_scan *s, const struct worker *but)
{
        for (unsigned i = 0; i < s->n_workers; i++)
                if (&s->worker[i] != but)
                        objm_task_kick(&s->worker[i].task);
}

int objm_scan_add(struct objm_scan *s, const struct objm_export *e, const char *path)
{
        int r = enqueue(s, e, path);

        if (r == 0)
                kick_workers(s, NULL);
        return r;
}

void objm_scan_leave(struct objm_scan *s, const struct objm_export *e, const char *path)
{
        pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < s->n_workers; i++) {
                struct worker *w = &s->worker[i];

                if (w->dir && w->dir->export == e && objm_name_is_below(w->dir->path, path))
                        atomic_store(&w->left, true);
        }
        pthread_mutex_unlock(&s->lock);
}

static void say_once(struct objm_scan *s, _Atomic bool *said, const struct dir *d, const char *text)
{
        if (!atomic_exchange(said, true))
                objm_catalog_log_name(s->catalog, LOG_WARNING, d->export, d->path, text);
}

/* The URI of @name in @dir; false when requests for it go elsewhere or it is too long for any. */
static bool uri_of(struct worker *w, const char *dir, const char *name, struct objm_uri *u)
{
        if (!objm_uri_join(u, w->dir->export, dir, name)) {
                say_once(w->scan, &w->scan->said_long, w->dir, "holds names too long for a URI; they are passed over");
                return false;
        }
        return objm_catalog_owns(w->scan->catalog, w->dir->export, u);
}

/*
 * Looks until no event was handled between look and entry: else an old look might have overwritten a newer one. What
 * was entered after its directory had left would not be swept.
 */
static void on_file(struct worker *w, const char *name)
{
        struct objm_uri u objm_uninitialized;
        struct objm_catalog *c = w->scan->catalog;
        uint64_t changes = 0;
        struct stat st;

        if (!uri_of(w, w->dir->path, name, &u))
                return;
        for (int i = 0; i < LOOKS && (i == 0 || atomic_load(&c->changes) != changes); i++) {
                changes = atomic_load(&c->changes);
                if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        objm_catalog_forget(c, u.bytes, u.len);
                else if (objm_catalog_confirm(c, &u, &st, w->watched) < 0)
                        atomic_store(&w->scan->incomplete, true);
        }
        if (atomic_load(&c->changes) != changes || atomic_load(&w->left))
                objm_catalog_forget(c, u.bytes, u.len);
        atomic_fetch_add_explicit(&w->scan->files, 1, memory_order_relaxed);
}

static void on_subdirectory(struct worker *w, const char *name)
{
        struct objm_uri u objm_uninitialized;
        char path[PATH_MAX] objm_uninitialized;

        snprintf(path, sizeof(path), "%s%s%s", w->dir->path, w->dir->path[0] ? "/" : "", name);
        if (uri_of(w, path, "", &u) && enqueue(w->scan, w->dir->export, path) < 0)
                atomic_store(&w->scan->incomplete, true);
}

static void on_name(struct worker *w, const struct dirent64 *d)
{
        unsigned char type = d->d_type;
        struct stat st;

        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                return;
        if (type == DT_UNKNOWN && fstatat(w->fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                type = IFTODT(st.st_mode);
        if (type == DT_REG)
                on_file(w, d->d_name);
        else if (type == DT_DIR)
                on_subdirectory(w, d->d_name);
}

static void watch_directory(struct worker *w)
{
        struct objm_scan *s = w->scan;
        int r;

        w->watched = false;
        if (!s->watch)
                return;
        r = objm_watch_add(s->watch, w->dir->export, w->dir->path, w->fd, &w->left);
        w->watched = r == 0;
        if (r == 0 || r == -ESTALE)
                return;
        atomic_store(&s->incomplete, true);
        if (!atomic_exchange(&s->said_unwatched, true))
                objm_catalog_log(s->catalog, LOG_WARNING,
                                 "cannot watch every directory (%s); sizes and versions are asked of the tree",
                                 r == -ENOSPC ? "fs.inotify.max_user_watches is reached" : strerrordesc_np(-r));
}

static bool is_starved(int r)
{
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* 0: the directory is open; positive: passed over; negative: starved, to be tried again. */
static int begin(struct worker *w)
{
        int r = objm_tree_open_dir(&w->dir->export->tree, w->dir->path[0] ? w->dir->path : ".", &w->fd);

        if (is_starved(r))
                return r;
        if (r == OBJM_STORE_NOT_FOUND || r == OBJM_STORE_NOT_REGULAR)
                return 1;
        if (r) {
                objm_catalog_log_name(w->scan->catalog, LOG_NOTICE, w->dir->export, w->dir->path,
                                      r == OBJM_STORE_UNREADABLE ? "directory cannot be read: no permission"
                                                                 : "directory cannot be read");
                return 1;
        }
        w->pos = w->len = 0;
        watch_directory(w);
        return 0;
}

static void finish(struct worker *w)
{
        struct objm_scan *s = w->scan;
        struct dir *d = w->dir;
        bool last, more;

        w->fd = objm_fd_close(w->fd);
        pthread_mutex_lock(&s->lock);
        w->dir = NULL;
        last = --s->outstanding == 0;
        more = s->queue && s->queue->next;
        pthread_mutex_unlock(&s->lock);
        free(d);
        if (more)
                kick_workers(s, w);
        if (last)
                s->done(s->userdata);
}

/* False at the end of the directory. */
static bool fill(struct worker *w)
{
        ssize_t n = getdents64(w->fd, w->buf, READ_SIZE);

        if (n < 0 && errno != ENOENT) {
                atomic_store(&w->scan->incomplete, true);
                objm_catalog_log_name(w->scan->catalog, LOG_WARNING, w->dir->export, w->dir->path,
                                      "directory cannot be read to its end");
        }
        w->pos = 0;
        w->len = n > 0 ? (size_t)n : 0;
        return n > 0;
}

/* True: at the end of the directory, or it has left. False: at the end of the slice. */
static bool list(struct worker *w, uint64_t deadline)
{
        for (unsigned n = 1;; n++) {
                const struct dirent64 *d;

                if (atomic_load(&w->left) || (w->pos == w->len && !fill(w)))
                        return true;
                d = (const struct dirent64 *)(w->buf + w->pos);
                w->pos += d->d_reclen;
                on_name(w, d);
                if (n % CLOCK_STRIDE == 0 && objm_clock_ns() >= deadline)
                        return false;
        }
}

/* False when the worker must wait for memory or descriptors, which others will free. */
static bool prepare(struct worker *w)
{
        int r;

        if (!w->buf && !(w->buf = malloc(READ_SIZE)))
                return false;
        if (w->fd >= 0)
                return true;
        r = begin(w);
        if (r > 0)
                finish(w);
        return r >= 0;
}

static bool slice(struct objm_task *task, struct objm_qsbr_reader *r)
{
        struct worker *w = objm_container_of(task, struct worker, task);
        uint64_t deadline = objm_clock_ns() + OBJM_SLICE_NS;

        do {
                if (!w->dir && !pop(w)) {
                        free(w->buf);
                        w->buf = NULL;
                        return false;
                }
                if (!prepare(w)) {
                        say_once(w->scan, &w->scan->said_starved, w->dir,
                                 "the scan waits for descriptors or memory to be freed");
                        objm_task_pause(task, r, STARVED_MS);
                        return true;
                }
                if (w->fd >= 0 && list(w, deadline))
                        finish(w);
        } while (objm_clock_ns() < deadline);
        return true;
}

int objm_scan_new(struct objm_catalog *catalog, struct objm_watch *watch, struct objm_pool *pool,
                  objm_scan_done_fn done, void *userdata, struct objm_scan **ret)
{
        unsigned n = objm_pool_threads(pool) / 2;
        struct objm_scan *s;

        n = n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : n;
        s = calloc(1, sizeof(*s) + n * sizeof(s->worker[0]));
        if (!s)
                return -ENOMEM;
        s->catalog = catalog;
        s->watch = watch;
        s->done = done;
        s->userdata = userdata;
        pthread_mutex_init(&s->lock, NULL);
        s->n_workers = n;
        for (unsigned i = 0; i < n; i++) {
                objm_task_init(&s->worker[i].task, pool, slice);
                s->worker[i].scan = s;
                s->worker[i].fd = -1;
        }
        *ret = s;
        return 0;
}

bool objm_scan_busy(struct objm_scan *s)
{
        bool busy;

        pthread_mutex_lock(&s->lock);
        busy = s->outstanding > 0;
        pthread_mutex_unlock(&s->lock);
        return busy;
}

uint64_t objm_scan_count(const struct objm_scan *s)
{
        return atomic_load_explicit(&s->files, memory_order_relaxed);
}

bool objm_scan_take_incomplete(struct objm_scan *s)
{
        return atomic_exchange(&s->incomplete, false);
}

void objm_scan_stop(struct objm_scan *s)
{
        for (unsigned i = 0; i < s->n_workers; i++)
                objm_task_stop(&s->worker[i].task);
}

void objm_scan_free(struct objm_scan *s)
{
        struct dir *d;

        if (!s)
                return;
        objm_scan_stop(s);
        for (unsigned i = 0; i < s->n_workers; i++) {
                objm_fd_close(s->worker[i].fd);
                free(s->worker[i].dir);
                free(s->worker[i].buf);
                objm_task_deinit(&s->worker[i].task);
        }
        while ((d = s->queue)) {
                s->queue = d->next;
                free(d);
        }
        pthread_mutex_destroy(&s->lock);
        free(s);
}
