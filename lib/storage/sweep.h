/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_SWEEP_H
#define OBJM_STORAGE_SWEEP_H
/*
 * Walks the whole index in the background and drops what is no longer there: entries below directories that moved
 * away, or entries that a scan of everything did not see. Any number of wishes shares one walk.
 */
#include "base/attr.h"
#include "concurrency/pool.h"
#include "storage/catalog.h"

struct objm_sweep;

/* Called from a pool thread when no wish is left. */
typedef void (*objm_sweep_done_fn)(void *userdata);

int objm_sweep_new(struct objm_catalog *catalog, struct objm_pool *pool, objm_sweep_done_fn done, void *userdata,
                   struct objm_sweep **ret) objm_must_check;

/* Drop all below that directory. 0 or -ENOMEM. */
int objm_sweep_below(struct objm_sweep *s, const struct objm_export *e, const char *path) objm_must_check;

/* Drop all that is not of the current generation. */
void objm_sweep_outdated(struct objm_sweep *s);

bool objm_sweep_busy(struct objm_sweep *s);

/* Entries dropped since the start. */
uint64_t objm_sweep_dropped(const struct objm_sweep *s);

void objm_sweep_stop(struct objm_sweep *s);

/* Stops, then frees. NULL is fine. */
void objm_sweep_free(struct objm_sweep *s);

#endif
