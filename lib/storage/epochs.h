/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_EPOCHS_H
#define OBJM_STORAGE_EPOCHS_H
/*
 * How often something has been reported that may concern a name: one count for what concerns all of them (a directory,
 * events that were lost), and stripes of counts for single names. Who has looked at a name and finds its counts as they
 * were has heard of no change since. A stripe is shared by many names, so a count may move for nothing.
 *
 * Raised before the change counts as handled (objm_sync_in_step()), and read after that was asked.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OBJM_EPOCH_STRIPES 1024 /* a power of two */

struct objm_epochs {
        _Atomic uint32_t all;
        _Atomic uint32_t name[OBJM_EPOCH_STRIPES];
};

/* Of one name, at one time. */
struct objm_epoch {
        uint32_t all, name;
};

static inline struct objm_epoch objm_epochs_of(const struct objm_epochs *e, uint64_t hash)
{
        return (struct objm_epoch){
                .all = atomic_load_explicit(&e->all, memory_order_acquire),
                .name = atomic_load_explicit(&e->name[hash % OBJM_EPOCH_STRIPES], memory_order_acquire),
        };
}

static inline bool objm_epoch_same(struct objm_epoch a, struct objm_epoch b)
{
        return a.all == b.all && a.name == b.name;
}

static inline void objm_epochs_raise(struct objm_epochs *e, uint64_t hash)
{
        atomic_fetch_add_explicit(&e->name[hash % OBJM_EPOCH_STRIPES], 1, memory_order_release);
}

static inline void objm_epochs_raise_all(struct objm_epochs *e)
{
        atomic_fetch_add_explicit(&e->all, 1, memory_order_release);
}

#endif
