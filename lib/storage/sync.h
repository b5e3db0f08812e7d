/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_SYNC_H
#define OBJM_STORAGE_SYNC_H
/*
 * Fills the catalog and keeps it in step: a scan of everything at start, then the watch; directories that appear are
 * scanned, those that leave are swept; when events were lost everything is scanned again and what that did not see is
 * swept. The index is in step when all is watched and nothing of this is under way.
 */
#include "base/attr.h"
#include "concurrency/pool.h"
#include "storage/catalog.h"
#include "storage/store.h"

struct objm_sync;

/* Starts at once. A system that grants no watch is logged, not an error. @catalog must outlive it, not @config. */
int objm_sync_new(struct objm_catalog *catalog, const struct objm_store_config *config, struct objm_pool *pool,
                  struct objm_sync **ret) objm_must_check;

/* Waits for its jobs. NULL is fine. */
void objm_sync_free(struct objm_sync *s);

/* True while the index may be taken at its word where objm_catalog_is_reported(). */
bool objm_sync_in_step(const struct objm_sync *s);

/*
 * True when every change that was made to the trees before the call, and is reported, has reached the catalog. One
 * system call.
 */
bool objm_sync_is_current(const struct objm_sync *s);

/* As objm_store_watch_fd(), objm_store_on_watch_ready() and objm_store_unwatch(). */
int objm_sync_watch_fd(const struct objm_sync *s);
void objm_sync_on_watch_ready(struct objm_sync *s, void (*rearm)(void *userdata), void *userdata);

void objm_sync_unwatch(struct objm_sync *s);

/* Sets scanned, watches, scanning and in_step; adds to dropped. */
void objm_sync_count(struct objm_sync *s, struct objm_store_counts *counts);

#endif
