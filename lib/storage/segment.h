/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_SEGMENT_H
#define OBJM_STORAGE_SEGMENT_H
/*
 * A small open-addressed table of entries: the unit in which the index grows. One writer at a time (the shard's lock)
 * and any number of readers, who take no lock. A slot is one word, tag and pointer, written in one store; a slot that
 * holds an entry becomes a tombstone before it is used again, or empty when nothing can lie behind it. A segment never
 * moves entries: when it is full its successors are built beside it and published in its place.
 */
#include "base/attr.h"
#include "concurrency/qsbr.h"
#include "storage/entry.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct objm_segment {
        struct objm_qsbr_node retired;
        uint32_t n_slots;
        uint32_t used;  /* slots that are not empty: entries and tombstones; writer's */
        uint32_t live;  /* entries; writer's */
        uint32_t depth; /* so many top bits of the stored hash are alike in all entries */
        _Atomic uint64_t slot[];
};

/* Fills 2 KiB, an allocator's size class, with the header. */
#define OBJM_SEGMENT_SLOTS ((2048 - sizeof(struct objm_segment)) / sizeof(uint64_t))

/* An empty one; NULL when out of memory. */
struct objm_segment *objm_segment_new(uint32_t n_slots, uint32_t depth);

/* Frees the segment, not its entries. */
void objm_segment_free(struct objm_segment *s);
void objm_segment_free_entries(struct objm_segment *s);

/* Any thread: the entry of that key, or NULL. */
struct objm_entry *objm_segment_find(const struct objm_segment *s, uint64_t hash, const void *key, size_t len);

/*
 * Any thread: begins to fetch into the caches what find() reads, in two steps; the second waits for the first, which
 * other work in between hides.
 */
void objm_segment_fetch_slot(const struct objm_segment *s, uint64_t hash);
void objm_segment_fetch_entry(const struct objm_segment *s, uint64_t hash);

/* Any thread: what slot @i holds, or NULL. */
struct objm_entry *objm_segment_at(const struct objm_segment *s, uint32_t i);

/* The writer's calls. find_slot() says where @key is, or UINT32_MAX. */
uint32_t objm_segment_find_slot(const struct objm_segment *s, uint64_t hash, const void *key, size_t len);
bool objm_segment_full(const struct objm_segment *s);
void objm_segment_add(struct objm_segment *s, uint16_t tag, struct objm_entry *e); /* not full, key not in it */
void objm_segment_replace(struct objm_segment *s, uint32_t i, struct objm_entry *e);
void objm_segment_erase(struct objm_segment *s, uint32_t i);

/* How many entries have a 1 in the bit of the stored hash that follows the segment's depth. */
uint32_t objm_segment_count_ones(const struct objm_segment *s);

/* A copy without tombstones, with @n_slots; NULL when out of memory. */
struct objm_segment *objm_segment_copy(const struct objm_segment *s, uint32_t n_slots);

/* Two halves by the bit after the depth. False when out of memory. */
bool objm_segment_split(const struct objm_segment *s, struct objm_segment *ret_half[2]);

#endif
