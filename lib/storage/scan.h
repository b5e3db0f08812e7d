/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_SCAN_H
#define OBJM_STORAGE_SCAN_H
/*
 * Reads directories, and those below them, into the catalog: on some threads of the pool's background lane, in slices
 * of about a millisecond. A directory is watched before it is read, so that nothing which appears meanwhile is lost.
 * Symlinks and what is no regular file are passed over. What vanishes under the scan is no error.
 */
#include "base/attr.h"
#include "concurrency/pool.h"
#include "storage/catalog.h"
#include "storage/watch.h"

struct objm_scan;

/* Called from a pool thread when there is nothing left to read. */
typedef void (*objm_scan_done_fn)(void *userdata);

/* @watch may be NULL. */
int objm_scan_new(struct objm_catalog *catalog, struct objm_watch *watch, struct objm_pool *pool,
                  objm_scan_done_fn done, void *userdata, struct objm_scan **ret) objm_must_check;

/* Any thread. @path "" is the export's root. 0 or -ENOMEM. */
int objm_scan_add(struct objm_scan *s, const struct objm_export *e, const char *path) objm_must_check;

/*
 * What is being read there is read no further: the directory has moved away. To be called before it is swept: nothing
 * found in it is put into the catalog later than that.
 */
void objm_scan_leave(struct objm_scan *s, const struct objm_export *e, const char *path);

/* True while there is something to read: done() will be called once more. */
bool objm_scan_busy(struct objm_scan *s);

/* Files seen since the start. */
uint64_t objm_scan_count(const struct objm_scan *s);

/* True when something could not be read or watched that ought to be, since the start or the last call. */
bool objm_scan_take_incomplete(struct objm_scan *s);

/* Ends the scan where it stands and waits for its jobs. */
void objm_scan_stop(struct objm_scan *s);

/* Stops, then frees. NULL is fine. */
void objm_scan_free(struct objm_scan *s);

#endif
