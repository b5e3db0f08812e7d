/* SPDX-License-Identifier: MIT */
#include "storage/watch.h"

#include "base/fd.h"
#include "storage/name.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <syslog.h>
#include <unistd.h>

/* IN_MODIFY: truncate(2) by path, and a writer that never closes, tell of themselves in no other way. */
#define EVENTS                                                                                                         \
        (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR |   \
         IN_EXCL_UNLINK)

#define READ_SIZE 16384 /* some hundred events: a slice of work */

struct watched {
        struct watched *next; /* in the bucket; several may have one wd */
        int wd;
        const struct objm_export *export;
        char path[];
};

struct objm_watch {
        struct objm_catalog *catalog;
        const struct objm_watch_ops *ops;
        void *userdata;
        int fd;
        pthread_mutex_t lock; /* the table; held while a watch is added, so that no event comes before its entry */
        struct watched **bucket;
        size_t n_buckets, n; /* a power of two */
        _Alignas(struct inotify_event) char buf[READ_SIZE];
};

/* Whoever else has an old one open can have made it wait, and reading an empty queue would then never end. */
static int open_queue(int old_fd)
{
        int fd;

        if (old_fd < 0)
                return inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        fd = fcntl(old_fd, F_DUPFD_CLOEXEC, 3);
        return fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? objm_fd_close(fd) : fd;
}

int objm_watch_new(struct objm_catalog *catalog, const struct objm_watch_ops *ops, void *userdata, int old_fd,
                   struct objm_watch **ret)
{
        struct objm_watch *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        pthread_mutex_init(&w->lock, NULL);
        w->catalog = catalog;
        w->ops = ops;
        w->userdata = userdata;
        w->n_buckets = 64;
        w->bucket = calloc(w->n_buckets, sizeof(*w->bucket));
        w->fd = open_queue(old_fd);
        if (!w->bucket || w->fd < 0) {
                r = w->bucket ? -errno : -ENOMEM;
                objm_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

void objm_watch_free(struct objm_watch *w)
{
        struct watched *it, *next;

        if (!w)
                return;
        objm_fd_close(w->fd);
        for (size_t i = 0; w->bucket && i < w->n_buckets; i++)
                for (it = w->bucket[i]; it; it = next) {
                        next = it->next;
                        free(it);
                }
        free(w->bucket);
        pthread_mutex_destroy(&w->lock);
        free(w);
}

int objm_watch_fd(const struct objm_watch *w)
{
        return w->fd;
}

bool objm_watch_unread(const struct objm_watch *w)
{
        int bytes;

        return ioctl(w->fd, FIONREAD, &bytes) < 0 || bytes != 0;
}

size_t objm_watch_count(struct objm_watch *w)
{
        size_t n;

        pthread_mutex_lock(&w->lock);
        n = w->n;
        pthread_mutex_unlock(&w->lock);
        return n;
}

/* The kernel numbers watches one after another, so the low bits spread them well. */
static struct watched **bucket_of(const struct objm_watch *w, int wd)
{
        return &w->bucket[(unsigned)wd & (w->n_buckets - 1)];
}

/* Out of memory the chains just grow longer. */
static void grow_locked(struct objm_watch *w)
{
        size_t old_n = w->n_buckets;
        struct watched **old = w->bucket, **larger = calloc(old_n * 2, sizeof(*larger)), *it, *next;

        if (!larger)
                return;
        w->bucket = larger;
        w->n_buckets = old_n * 2;
        for (size_t i = 0; i < old_n; i++)
                for (it = old[i]; it; it = next) {
                        next = it->next;
                        it->next = *bucket_of(w, it->wd);
                        *bucket_of(w, it->wd) = it;
                }
        free(old);
}

static bool knows_locked(const struct objm_watch *w, int wd, const struct objm_export *e, const char *path)
{
        for (const struct watched *it = *bucket_of(w, wd); it; it = it->next)
                if (it->wd == wd && it->export == e && strcmp(it->path, path) == 0)
                        return true;
        return false;
}

static bool has_wd_locked(const struct objm_watch *w, int wd)
{
        for (const struct watched *it = *bucket_of(w, wd); it; it = it->next)
                if (it->wd == wd)
                        return true;
        return false;
}

static void insert_locked(struct objm_watch *w, struct watched *it)
{
        if (w->n >= w->n_buckets)
                grow_locked(w);
        it->next = *bucket_of(w, it->wd);
        *bucket_of(w, it->wd) = it;
        w->n++;
}

static bool is_remote(int fd)
{
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return true;
        switch ((unsigned)fs.f_type) {
        case NFS_SUPER_MAGIC:
        case SMB_SUPER_MAGIC:
        case CIFS_SUPER_MAGIC:
        case SMB2_SUPER_MAGIC:
        case AFS_SUPER_MAGIC:
        case AFS_FS_MAGIC:
        case CODA_SUPER_MAGIC:
        case CEPH_SUPER_MAGIC:
        case V9FS_MAGIC:
        case FUSE_SUPER_MAGIC:
                return true;
        default:
                return false;
        }
}

/* By the descriptor, not by a path, which somebody might meanwhile have led elsewhere with a symlink. */
static int add_locked(struct objm_watch *w, const struct objm_export *e, const char *path, int dirfd)
{
        size_t size = strlen(path) + 1;
        struct watched *it = malloc(sizeof(*it) + size);
        char link[32];

        if (!it)
                return -ENOMEM;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
        it->wd = inotify_add_watch(w->fd, link, EVENTS);
        if (it->wd < 0 || knows_locked(w, it->wd, e, path)) {
                int r = it->wd < 0 ? -errno : 0;

                free(it);
                return r;
        }
        it->export = e;
        memcpy(it->path, path, size);
        insert_locked(w, it);
        return 0;
}

/* Under the lock, @left is either seen, or set only now: then forget_below() is still to come. */
int objm_watch_add(struct objm_watch *w, const struct objm_export *e, const char *path, int dirfd,
                   const _Atomic bool *left)
{
        int r;

        if (is_remote(dirfd))
                return -EOPNOTSUPP;
        pthread_mutex_lock(&w->lock);
        r = left && atomic_load(left) ? -ESTALE : add_locked(w, e, path, dirfd);
        pthread_mutex_unlock(&w->lock);
        return r;
}

/* What moved away is watched under its old path no more; under a new one only if a scan finds it there. */
static void forget_below(struct objm_watch *w, const struct objm_export *e, const char *path)
{
        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < w->n_buckets; i++)
                for (struct watched **at = &w->bucket[i], *it; (it = *at);) {
                        if (it->export != e || !objm_name_is_below(it->path, path)) {
                                at = &it->next;
                                continue;
                        }
                        *at = it->next;
                        w->n--;
                        if (!has_wd_locked(w, it->wd))
                                inotify_rm_watch(w->fd, it->wd);
                        free(it);
                }
        pthread_mutex_unlock(&w->lock);
}

static void forget_wd(struct objm_watch *w, int wd)
{
        pthread_mutex_lock(&w->lock);
        for (struct watched **at = bucket_of(w, wd), *it; (it = *at);) {
                if (it->wd != wd) {
                        at = &it->next;
                        continue;
                }
                *at = it->next;
                w->n--;
                free(it);
        }
        pthread_mutex_unlock(&w->lock);
}

/*
 * True when @name in @dir is a regular file. The directory may be another than the event came from: one that was
 * removed and made again is not watched before the event of its making is handled. Watched before the look, it is.
 */
static bool look(struct objm_watch *w, const struct objm_export *e, const char *dir, const char *name,
                 struct stat *ret_st, bool *ret_watched)
{
        int fd objm_cleanup(objm_fd_closep) = -1;

        if (objm_tree_open_dir(&e->tree, dir[0] ? dir : ".", &fd) != 0)
                return false;
        *ret_watched = objm_watch_add(w, e, dir, fd, NULL) == 0;
        return fstatat(fd, name, ret_st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret_st->st_mode);
}

static void on_file(struct objm_watch *w, const struct objm_export *e, const char *dir, const char *name)
{
        struct objm_uri uri objm_uninitialized;
        struct stat st;
        bool watched;

        if (!objm_uri_join(&uri, e, dir, name) || !objm_catalog_owns(w->catalog, e, &uri))
                return;
        objm_epochs_raise(&w->catalog->epochs, objm_index_hash(w->catalog->index, uri.bytes, uri.len));
        if (!look(w, e, dir, name, &st, &watched))
                objm_catalog_forget(w->catalog, uri.bytes, uri.len);
        else if (objm_catalog_confirm(w->catalog, &uri, &st, watched) < 0)
                w->ops->lost(w->userdata);
}

/* Where one moved away, another may be that came earlier and was forgotten with it: so two that change places. */
static void on_directory(struct objm_watch *w, uint32_t mask, const struct objm_export *e, const char *dir,
                         const char *name)
{
        char path[PATH_MAX] objm_uninitialized;

        if (snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] ? "/" : "", name) >= PATH_MAX)
                return;
        if (mask & IN_MOVED_FROM) {
                w->ops->left(w->userdata, e, path);
                forget_below(w, e, path);
        }
        if (mask & (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM))
                w->ops->appeared(w->userdata, e, path);
}

/* The @skip-th path under which @wd is watched. */
static bool path_of(struct objm_watch *w, int wd, size_t skip, const struct objm_export **ret_export,
                    char ret_path[PATH_MAX])
{
        bool found = false;

        pthread_mutex_lock(&w->lock);
        for (const struct watched *it = *bucket_of(w, wd); it && !found; it = it->next) {
                if (it->wd != wd || skip-- > 0)
                        continue;
                *ret_export = it->export;
                found = snprintf(ret_path, PATH_MAX, "%s", it->path) < PATH_MAX;
        }
        pthread_mutex_unlock(&w->lock);
        return found;
}

/* A process before this has watched it. Whoever adds it now holds the lock until it is in the table. */
static void give_up_unknown(struct objm_watch *w, int wd)
{
        pthread_mutex_lock(&w->lock);
        if (!has_wd_locked(w, wd))
                inotify_rm_watch(w->fd, wd);
        pthread_mutex_unlock(&w->lock);
}

static void on_event(struct objm_watch *w, const struct inotify_event *ev)
{
        char dir[PATH_MAX] objm_uninitialized;
        const struct objm_export *e;
        size_t i = 0;

        atomic_fetch_add(&w->catalog->changes, 1);
        if (ev->mask & IN_ISDIR || ev->len == 0) /* what is below a directory, or nobody knows what */
                objm_epochs_raise_all(&w->catalog->epochs);
        if (ev->mask & (IN_Q_OVERFLOW | IN_UNMOUNT)) { /* what was below the mount tells nothing more */
                w->ops->lost(w->userdata);
                return;
        }
        if (ev->mask & IN_IGNORED) {
                forget_wd(w, ev->wd);
                return;
        }
        if (ev->len == 0)
                return;
        for (; path_of(w, ev->wd, i, &e, dir); i++) {
                if (ev->mask & IN_ISDIR)
                        on_directory(w, ev->mask, e, dir, ev->name);
                else
                        on_file(w, e, dir, ev->name);
        }
        if (!i)
                give_up_unknown(w, ev->wd);
}

bool objm_watch_read(struct objm_watch *w)
{
        ssize_t n = read(w->fd, w->buf, sizeof(w->buf));

        for (ssize_t at = 0; at < n;) {
                const struct inotify_event *ev = (const struct inotify_event *)(w->buf + at);

                on_event(w, ev);
                at += (ssize_t)(sizeof(*ev) + ev->len);
        }
        return n > 0 || (n < 0 && errno == EINTR);
}
