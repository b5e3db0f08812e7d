/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_WATCH_H
#define OBJMAPPERD_WATCH_H
/*
 * Lets the main thread's loop notice that a store's trees have changed, and has the pool work on it.
 */
#include "concurrency/loop.h"
#include "storage/store.h"
#include <stdatomic.h>

struct watch {
        struct objm_source source; /* one-shot: armed again when the pool is through */
        struct objm_mail rearm;
        atomic_bool rearm_posted; /* a store that is watched again right away may have two jobs that end */
        struct objm_loop *loop;
        struct objm_store *store; /* NULL: nothing is watched */
};

void watch_init(struct watch *w, struct objm_loop *loop);

/*
 * Watches @store instead of the one before; NULL stops. Before a store is freed. When it cannot be watched that is
 * logged, and the store told.
 */
void watch_set(struct watch *w, struct objm_store *store);

#endif
