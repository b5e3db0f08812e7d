/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_ENTRY_H
#define OBJM_STORAGE_ENTRY_H
/*
 * What the index knows of one object, with its URI. Immutable once published, but for the generation: the number of
 * the scan that saw it last, by which a later scan finds what has gone; 0 when only a request has seen it.
 *
 * The hash of the URI is 64 bits, split so that every use has bits of its own: the top 3 choose the shard, the next 32
 * stand in the entry (of these the top ones choose the segment, the low 12 the place in it), the low 16 are the tag
 * that stands in the slot and tells most strangers apart before the entry is touched.
 */
#include "storage/store.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define OBJM_URI_MAX    4096
#define OBJM_SHARD_BITS 3
#define OBJM_HOME_BITS  12

struct objm_entry {
        struct objm_object_info info;
        uint32_t hash;
        _Atomic uint16_t generation;
        uint16_t key_len;
        char key[]; /* not terminated */
};

_Static_assert(offsetof(struct objm_entry, key) == 32, "an entry costs 32 bytes beside its key");

static inline unsigned objm_hash_shard(uint64_t hash)
{
        return (unsigned)(hash >> (64 - OBJM_SHARD_BITS));
}

static inline uint32_t objm_hash_stored(uint64_t hash)
{
        return (uint32_t)(hash >> (32 - OBJM_SHARD_BITS));
}

static inline uint16_t objm_hash_tag(uint64_t hash)
{
        return (uint16_t)hash;
}

/* NULL when out of memory. Plain free() undoes it. */
static inline struct objm_entry *objm_entry_new(const void *key, size_t len, uint64_t hash,
                                                const struct objm_object_info *info, uint16_t generation)
{
        struct objm_entry *e;

        assert(len <= OBJM_URI_MAX);
        e = malloc(sizeof(*e) + len);
        if (!e)
                return NULL;
        e->info = *info;
        e->hash = objm_hash_stored(hash);
        atomic_init(&e->generation, generation);
        e->key_len = (uint16_t)len;
        memcpy(e->key, key, len);
        return e;
}

static inline bool objm_entry_has_key(const struct objm_entry *e, const void *key, size_t len)
{
        return e->key_len == len && memcmp(e->key, key, len) == 0;
}

#endif
