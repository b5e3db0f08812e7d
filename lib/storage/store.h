/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_STORE_H
#define OBJM_STORAGE_STORE_H
/*
 * The store: exports (URI prefix -> backend, longest prefix wins), and the index that knows their objects. The set of
 * exports is fixed at creation; a reload makes a new store and retires the old one.
 *
 * A URI is a string of 1..4096 bytes, taken as it is: no percent-decoding, no Unicode normalisation, no case folding.
 * What follows the export's prefix names a file below the export's directory. No byte is 0 and no segment is empty,
 * "." or ".."; such a URI is INVALID. So every object has exactly one URI.
 *
 * The tree is the truth. The index saves the search; a hit that no longer opens is dropped and looked for once more,
 * a miss is looked for in the tree before it is NOT_FOUND. A name that the index does not know is never opened before
 * an O_PATH look says "regular file": opening a device or a FIFO has effects.
 *
 * Thread rules: any thread that is a registered, online reader of the store's QSBR domain may call open() and stat().
 */
#include "base/attr.h"
#include "base/peer.h"
#include "concurrency/pool.h"
#include "concurrency/qsbr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct objm_store;
struct objm_kept; /* kept.h: what one thread keeps open */

struct objm_export_config {
        const char *prefix;   /* "/data/": ends in '/' */
        const char *path;     /* a directory */
        bool follow_symlinks; /* symlinks that stay inside the export are followed */
        const uid_t *allow_uids;
        size_t n_allow_uids; /* both lists empty: everyone who can connect */
        const gid_t *allow_gids;
        size_t n_allow_gids;
};

/* Called from any thread with a finished line of text, without newline. Must be thread-safe. @priority as syslog(3). */
typedef void (*objm_store_log_fn)(void *userdata, int priority, const char *text);

struct objm_store_config {
        const struct objm_export_config *exports;
        size_t n_exports;
        bool scan;  /* fill the index at start, in the pool's background lane */
        bool watch; /* keep it in step by inotify */
        int old_watch_fd; /* borrowed: what watch_fd() gave in a process before this, which has ended; -1: nothing */
        objm_store_log_fn log;
        void *log_userdata;
};

struct objm_object_info {
        uint64_t size;    /* bytes */
        uint64_t version; /* out of inode, size and mtime; never 0 */
        int64_t mtime_ns; /* since 1970 */
};

/* Conditions of open() and stat(). */
enum objm_store_condition {
        OBJM_STORE_OK = 0,
        OBJM_STORE_NOT_FOUND = 1,
        OBJM_STORE_INVALID = 2,     /* not a name that an object can have */
        OBJM_STORE_DENIED = 3,      /* the export's lists do not have the peer */
        OBJM_STORE_NOT_REGULAR = 4, /* a directory, FIFO, device or socket */
        OBJM_STORE_COLD = 5,        /* with OBJM_STORE_NOWAIT: needs the disk; call again from the pool without it */
        OBJM_STORE_BUSY = 6,        /* leased or renamed all the time: try later */
        OBJM_STORE_LINK = 7,        /* a symlink that is not followed, or leads out of the tree */
        OBJM_STORE_UNREADABLE = 8,  /* this process has no permission */
        OBJM_STORE_NO_EXPORT = 9,   /* no prefix that the name begins with */
};

enum {
        OBJM_STORE_NOWAIT = 1 << 0, /* never wait for a disk (RESOLVE_CACHED, Linux 5.12; else every miss is COLD) */
};

struct objm_store_counts {
        uint64_t objects, scanned, hits, misses, dropped, watches;
        bool scanning, in_step; /* in_step: every export is watched whole and no event was lost */
};

/*
 * Opens the exports' directories and, with config->scan, starts scanning in @pool. Copies what it keeps of @config.
 * 0, or negative errno: -EINVAL for a prefix that does not end in '/' or stands twice; what open(2) says of a path
 * (then *ret_bad, if given, is the index of the export).
 */
int objm_store_new(const struct objm_store_config *config, struct objm_qsbr *qsbr, struct objm_pool *pool,
                   size_t *ret_bad, struct objm_store **ret) objm_must_check;

/* Ends scans and watching (waits for their jobs), frees everything. No reader may use it any more. NULL is fine. */
void objm_store_free(struct objm_store *s);

/*
 * A fresh open file description of the object, O_RDONLY | O_NONBLOCK | O_CLOEXEC, offset 0; the caller owns *ret_fd.
 * @info is what fstat(2) said of it. 0, a positive objm_store_condition, or negative errno (I/O, memory, -EMFILE).
 */
int objm_store_open(struct objm_store *s, const struct objm_peer *peer, const void *uri, size_t len, unsigned flags,
                    int *ret_fd, struct objm_object_info *ret_info) objm_must_check;

/* The same without a descriptor; out of the index while that is in step, else from the tree. */
int objm_store_stat(struct objm_store *s, const struct objm_peer *peer, const void *uri, size_t len, unsigned flags,
                    struct objm_object_info *ret_info) objm_must_check;

struct objm_store_name {
        const void *uri;
        size_t len;
        uint64_t hash; /* by expect(): of these bytes */
};

/* At most OBJM_STORE_EXPECT_MAX @names will be asked for at once: hides the time that memory takes. */
#define OBJM_STORE_EXPECT_MAX 32
void objm_store_expect(struct objm_store *s, struct objm_store_name *names, unsigned n);

/*
 * stat() of a name that expect() has had, for as long as the index alone can answer it. False: ask stat(). What is
 * found is counted by found(), once for many, since counts are shared with other threads.
 */
bool objm_store_find(struct objm_store *s, const struct objm_peer *peer, const struct objm_store_name *name,
                     struct objm_object_info *ret_info);
void objm_store_found(struct objm_store *s, unsigned n);

/* What one thread keeps, lent until the next call with the same struct objm_kept. */
struct objm_kept_object {
        int fd;               /* O_RDONLY; read it at explicit offsets, never send it */
        const uint8_t *bytes; /* all of it, of version info.version; NULL: read fd */
        struct objm_object_info info;
};

/*
 * The object, without looking at the tree, when this thread has kept it and every change that was reported before
 * objm_kept_begin() is known. False: says nothing, ask open(), and then keep().
 */
bool objm_store_find_kept(struct objm_store *s, struct objm_kept *k, const struct objm_peer *peer, const void *uri,
                          size_t len, struct objm_kept_object *ret);

/*
 * Right after find_kept() has said no and open() has made @fd, which nobody else has had: true when it is kept, and
 * taken. @uri and @len are the same pointer and length. It is when this is not the first time within a second.
 */
bool objm_store_keep(struct objm_store *s, struct objm_kept *k, const void *uri, size_t len, int fd,
                     const struct objm_object_info *info);

/* Descriptor to poll for POLLIN; then call on_watch_ready(). -1 when nothing is watched. Borrowed. */
int objm_store_watch_fd(const struct objm_store *s);

/*
 * Hands the pending events to the pool (one job at a time works on them). The descriptor stays readable until that
 * job has run: poll it edge-triggered or one-shot; @rearm is called (from a pool thread) when the job is done.
 */
void objm_store_on_watch_ready(struct objm_store *s, void (*rearm)(void *userdata), void *userdata);

/* The watch descriptor cannot be polled: from now on the index is never taken to be in step. */
void objm_store_unwatch(struct objm_store *s);

void objm_store_count(struct objm_store *s, struct objm_store_counts *ret);

#endif
