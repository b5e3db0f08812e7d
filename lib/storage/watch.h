/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_WATCH_H
#define OBJM_STORAGE_WATCH_H
/*
 * inotify(7) on the directories of the exports. An event is taken as a hint to look at a name: what the look finds goes
 * into the catalog, so that events which are late, double, or come under a name that a directory no longer has, do no
 * harm. One inode may be watched under several paths (exports may overlap).
 *
 * Not reported by the kernel, hence not noticed: writing through a shared mapping, and changes that another machine
 * makes on a network file system. The latter are not watched at all.
 */
#include "base/attr.h"
#include "storage/catalog.h"
#include <stdbool.h>

struct objm_watch;

/* From the thread that calls read(). Paths are borrowed. */
struct objm_watch_ops {
        /* a directory is to be read */
        void (*appeared)(void *userdata, const struct objm_export *e, const char *path);
        /* a directory moved away; what is watched below it is forgotten after this call */
        void (*left)(void *userdata, const struct objm_export *e, const char *path);
        /* the kernel's queue overflowed, or memory was short: the index may be wrong anywhere */
        void (*lost)(void *userdata);
};

/*
 * @old_fd, borrowed: -1, or a non-blocking inotify descriptor that an objm_watch of a process before this had, and that
 * is used on. What is watched already is not watched twice, and what nobody adds again is given up when it is first
 * heard of. 0, or negative errno of inotify_init1(2): -EMFILE when the user has too many.
 */
int objm_watch_new(struct objm_catalog *catalog, const struct objm_watch_ops *ops, void *userdata, int old_fd,
                   struct objm_watch **ret) objm_must_check;
void objm_watch_free(struct objm_watch *w);

int objm_watch_fd(const struct objm_watch *w);

/* True while the kernel has events that were not read. It queues them before the call that makes a change returns. */
bool objm_watch_unread(const struct objm_watch *w);

/*
 * Any thread. @dirfd is an open descriptor of that directory; @left, if given, is set by ops->left() when it has moved
 * away since. 0, or negative errno: -ENOSPC when the user has too many watches, -EOPNOTSUPP on a network file system,
 * -ENOENT when /proc is not mounted, -ESTALE when it has left, -ENOMEM.
 */
int objm_watch_add(struct objm_watch *w, const struct objm_export *e, const char *path, int dirfd,
                   const _Atomic bool *left) objm_must_check;

/* Handles one buffer of events; true when there may be more. One thread at a time, online. */
bool objm_watch_read(struct objm_watch *w);

/* Directories watched. */
size_t objm_watch_count(struct objm_watch *w);

#endif
