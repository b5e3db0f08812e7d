/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_INDEX_H
#define OBJM_STORAGE_INDEX_H
/*
 * URI -> entry: extendible hashing over copy-on-write segments. Lookups take no lock and write nothing; the entry that
 * they return is borrowed until the caller's next quiescent state. Changes take the lock of one of eight shards, never
 * across anything that blocks. The table grows by one segment, or by doubling one shard's directory of pointers, so
 * no single change costs more than some microseconds, at any size. Keys whose hashes the split cannot tell apart
 * make their segment larger: slower, never wrong.
 *
 * The hash is keyed with a secret of the index; whole keys are compared always.
 */
#include "base/attr.h"
#include "concurrency/qsbr.h"
#include "storage/entry.h"

struct objm_index;

/* Condition of remove(). */
enum { OBJM_INDEX_ABSENT = 1 };

int objm_index_new(struct objm_qsbr *qsbr, struct objm_index **ret) objm_must_check;

/* No reader may use it any more. NULL is fine. */
void objm_index_free(struct objm_index *x);

/* By which the index finds a key. */
uint64_t objm_index_hash(const struct objm_index *x, const void *key, size_t len);

/* The caller is online. NULL when there is no such key. */
const struct objm_entry *objm_index_find(struct objm_index *x, const void *key, size_t len);

/* The same for who knows the hash. */
const struct objm_entry *objm_index_find_hashed(struct objm_index *x, uint64_t hash, const void *key, size_t len);

/* As objm_store_expect(). The caller is online. */
void objm_index_expect(struct objm_index *x, struct objm_store_name *names, unsigned n);

/*
 * Inserts, or replaces when the info differs, and marks the entry with @generation. @len is at most OBJM_URI_MAX.
 * 0 or -ENOMEM (then nothing has changed). The caller may be online or not.
 */
int objm_index_put(struct objm_index *x, const void *key, size_t len, const struct objm_object_info *info,
                   uint16_t generation) objm_must_check;

/*
 * The same with generation 0, unless the entry is no longer the one with version @seen (0: none) that the caller found:
 * then who has changed it knows better.
 */
int objm_index_learn(struct objm_index *x, const void *key, size_t len, const struct objm_object_info *info,
                     uint64_t seen) objm_must_check;

/* 0, OBJM_INDEX_ABSENT, or -ENOMEM (then it is still there). */
int objm_index_remove(struct objm_index *x, const void *key, size_t len);

size_t objm_index_count(struct objm_index *x);

/* Where a walk stands; all zero at the start. Entries that stay throughout a walk are seen by it at least once. */
struct objm_index_cursor {
        unsigned shard;
        uint64_t position; /* in the space of stored hashes */
};

/* Returns true when @e is to be removed. */
typedef bool (*objm_index_visit_fn)(const struct objm_entry *e, void *userdata);

/*
 * Visits one segment and moves @cursor on. True while there is more. The caller is online during the call and may go
 * offline between calls. What cannot be removed for want of memory stays.
 */
bool objm_index_walk(struct objm_index *x, struct objm_index_cursor *cursor, objm_index_visit_fn visit, void *userdata);

#endif
