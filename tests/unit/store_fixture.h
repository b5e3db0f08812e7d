/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TESTS_STORE_FIXTURE_H
#define OBJM_TESTS_STORE_FIXTURE_H
/*
 * A temporary tree and a store over it. The test's thread is a reader that is online all the time.
 */
#include "base/clock.h"
#include "storage/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
        struct objm_qsbr_reader r;
        struct objm_qsbr *q;
        struct objm_pool *p;
        struct objm_store *s;
        char dir[64]; /* the tree is dir/tree; beside it is outside */
        char tree[80];
        int fds; /* open when the fixture was made */
        int old_watch_fd; /* for the next store; -1: none */
        _Atomic int logged, armed;
};

static inline int count_fds(void)
{
        DIR *d = opendir("/proc/self/fd");
        int n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static inline void at(const struct fixture *f, const char *name, char path[4300])
{
        snprintf(path, 4300, "%s/%s", f->tree, name);
}

static inline void make_dir(const struct fixture *f, const char *name)
{
        char path[4300];

        at(f, name, path);
        assert_return_code(mkdir(path, 0755), errno);
}

static inline void make_file(const struct fixture *f, const char *name, const char *text)
{
        char path[4300];
        int fd;

        at(f, name, path);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        assert_return_code(fd, errno);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

static inline void make_link(const struct fixture *f, const char *target, const char *name)
{
        char path[4300];

        at(f, name, path);
        assert_return_code(symlink(target, path), errno);
}

static inline void move(const struct fixture *f, const char *from, const char *to)
{
        char a[4300], b[4300];

        at(f, from, a);
        at(f, to, b);
        assert_return_code(rename(a, b), errno);
}

static inline void take_away(const struct fixture *f, const char *name)
{
        char path[4300];

        at(f, name, path);
        assert_return_code(remove(path), errno);
}

static inline int fixture_setup(void **state)
{
        struct fixture *f = aligned_alloc(OBJM_CACHE_LINE, (sizeof(*f) + 63) / 64 * 64);

        memset(f, 0, sizeof(*f));
        f->fds = count_fds();
        f->old_watch_fd = -1;
        strcpy(f->dir, "/tmp/objm-store-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        assert_return_code(chmod(f->dir, 0755), errno);
        snprintf(f->tree, sizeof(f->tree), "%s/tree", f->dir);
        assert_return_code(mkdir(f->tree, 0755), errno);
        make_file(f, "../outside", "outside");
        assert_int_equal(objm_qsbr_new(&f->q), 0);
        assert_int_equal(objm_pool_new(4, 100, "store", f->q, &f->p), 0);
        objm_qsbr_register(f->q, &f->r);
        objm_qsbr_online(&f->r);
        *state = f;
        return 0;
}

/* By descriptors, not by paths: a tree may be deeper than a path can be long. */
static inline void remove_tree(int parent, const char *name)
{
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        while (d && (entry = readdir(d)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        remove_tree(fd, entry->d_name);
        assert_return_code(unlinkat(parent, name, d ? AT_REMOVEDIR : 0), errno);
        if (d)
                closedir(d);
}

/* What the store opened must be closed again. */
static inline int fixture_teardown(void **state)
{
        struct fixture *f = *state;

        objm_qsbr_unregister(&f->r);
        objm_store_free(f->s);
        objm_pool_free(f->p);
        objm_qsbr_free(f->q);
        assert_int_equal(count_fds(), f->fds);
        remove_tree(AT_FDCWD, f->dir);
        free(f);
        return 0;
}

static inline void on_log(void *userdata, int priority, const char *text)
{
        struct fixture *f = userdata;

        if (priority <= 4)
                atomic_fetch_add(&f->logged, 1);
        assert_null(strchr(text, '\n'));
}

static inline void start_exports(struct fixture *f, const struct objm_export_config *exports, size_t n, bool scan,
                                 bool watch)
{
        struct objm_store_config config = {
                .exports = exports, .n_exports = n, .scan = scan, .watch = watch, .old_watch_fd = f->old_watch_fd,
                .log = on_log, .log_userdata = f};

        assert_int_equal(objm_store_new(&config, f->q, f->p, NULL, &f->s), 0);
}

/* One export, "/". */
static inline void start(struct fixture *f, bool scan, bool watch)
{
        struct objm_export_config e = {.prefix = "/", .path = f->tree};

        start_exports(f, &e, 1, scan, watch);
}

/* Opens and closes; the condition. */
static inline int ask(struct fixture *f, const char *uri, struct objm_object_info *ret)
{
        struct objm_object_info info;
        int fd = -1, r = objm_store_open(f->s, NULL, uri, strlen(uri), 0, &fd, &info);

        objm_qsbr_quiescent(&f->r);
        assert_int_equal(r == 0, fd >= 0);
        if (r == 0)
                close(fd);
        if (r == 0 && ret)
                *ret = info;
        return r;
}

static inline int ask_stat(struct fixture *f, const char *uri, struct objm_object_info *ret)
{
        struct objm_object_info info;
        int r = objm_store_stat(f->s, NULL, uri, strlen(uri), 0, &info);

        objm_qsbr_quiescent(&f->r);
        if (r == 0 && ret)
                *ret = info;
        return r;
}

static inline struct objm_store_counts counts(struct fixture *f)
{
        struct objm_store_counts c;

        objm_store_count(f->s, &c);
        return c;
}

static inline void on_rearm(void *userdata)
{
        struct fixture *f = userdata;

        atomic_store(&f->armed, 0);
}

/* What the daemon's main thread does: hands events over, one-shot. Waits up to @ms for them. */
static inline void pump(struct fixture *f, int ms)
{
        struct pollfd p = {.fd = objm_store_watch_fd(f->s), .events = POLLIN};

        objm_qsbr_quiescent(&f->r);
        if (atomic_load(&f->armed) || p.fd < 0)
                sched_yield();
        else if (poll(&p, 1, ms) > 0) {
                atomic_store(&f->armed, 1);
                objm_store_on_watch_ready(f->s, on_rearm, f);
        }
}

/* Until @condition holds, at most for as long as a stuck machine may take. */
#define wait_until(f, condition)                                                                                       \
        do {                                                                                                           \
                uint64_t give_up = objm_clock_ns() + 60 * OBJM_NS_PER_S;                                               \
                while (!(condition)) {                                                                                 \
                        assert_true(objm_clock_ns() < give_up);                                                        \
                        pump(f, 1);                                                                                    \
                }                                                                                                      \
        } while (0)

/* Nothing is under way and no event waits. */
static inline bool settled(struct fixture *f)
{
        struct pollfd p = {.fd = objm_store_watch_fd(f->s), .events = POLLIN};

        return !atomic_load(&f->armed) && poll(&p, p.fd >= 0, 0) == 0 && !counts(f).scanning;
}

#endif
