/* SPDX-License-Identifier: MIT */
#include "storage/segment.h"

#include <assert.h>
#include <stdlib.h>

#define EMPTY     UINT64_C(0)
#define TOMBSTONE UINT64_C(1)
#define PTR_BITS  48

#define FETCH_LOOKS 8 /* slots of a line */

/* User space ends below 2^47 on x86-64 and 2^48 on arm64 unless a program asks for more by address hints. */
static uint64_t pack(uint16_t tag, const struct objm_entry *e)
{
        uint64_t p = (uint64_t)(uintptr_t)e;

        assert(p >> PTR_BITS == 0 && p > TOMBSTONE);
        return (uint64_t)tag << PTR_BITS | p;
}

static struct objm_entry *unpack(uint64_t word)
{
        word &= (UINT64_C(1) << PTR_BITS) - 1;
        return word > TOMBSTONE ? (struct objm_entry *)(uintptr_t)word : NULL;
}

static uint32_t home(uint32_t stored_hash, uint32_t n_slots)
{
        return (uint32_t)(((uint64_t)(stored_hash & ((1u << OBJM_HOME_BITS) - 1)) * n_slots) >> OBJM_HOME_BITS);
}

static uint32_t next(const struct objm_segment *s, uint32_t i)
{
        return i + 1 < s->n_slots ? i + 1 : 0;
}

static uint64_t load(const struct objm_segment *s, uint32_t i)
{
        return atomic_load_explicit(&s->slot[i], memory_order_acquire);
}

/* Release: pairs with load(), so that a reader sees the entry whole. */
static void store(struct objm_segment *s, uint32_t i, uint64_t word)
{
        atomic_store_explicit(&s->slot[i], word, memory_order_release);
}

struct objm_segment *objm_segment_new(uint32_t n_slots, uint32_t depth)
{
        struct objm_segment *s = malloc(sizeof(*s) + n_slots * sizeof(s->slot[0]));

        if (!s)
                return NULL;
        s->n_slots = n_slots;
        s->used = s->live = 0;
        s->depth = depth;
        for (uint32_t i = 0; i < n_slots; i++)
                atomic_init(&s->slot[i], EMPTY);
        return s;
}

void objm_segment_free(struct objm_segment *s)
{
        free(s);
}

void objm_segment_free_entries(struct objm_segment *s)
{
        for (uint32_t i = 0; i < s->n_slots; i++)
                free(objm_segment_at(s, i));
}

struct objm_entry *objm_segment_at(const struct objm_segment *s, uint32_t i)
{
        return unpack(load(s, i));
}

/* Looks at each slot once: a writer may change it meanwhile. The place in *ret_i, when something is found. */
static struct objm_entry *probe(const struct objm_segment *s, uint64_t hash, const void *key, size_t len,
                                uint32_t *ret_i)
{
        uint16_t tag = objm_hash_tag(hash);
        uint32_t i = home(objm_hash_stored(hash), s->n_slots);

        for (uint32_t n = 0; n < s->n_slots; n++, i = next(s, i)) {
                uint64_t word = load(s, i);

                if (word == EMPTY)
                        break;
                if (word >> PTR_BITS != tag || word == TOMBSTONE || !objm_entry_has_key(unpack(word), key, len))
                        continue;
                *ret_i = i;
                return unpack(word);
        }
        return NULL;
}

void objm_segment_fetch_slot(const struct objm_segment *s, uint64_t hash)
{
        __builtin_prefetch(s);
        __builtin_prefetch(&s->slot[home(objm_hash_stored(hash), OBJM_SEGMENT_SLOTS)]);
}

/* Mostly it is near where the probe begins. An entry may lie on two lines. */
void objm_segment_fetch_entry(const struct objm_segment *s, uint64_t hash)
{
        uint32_t i = home(objm_hash_stored(hash), s->n_slots);

        for (unsigned n = 0; n < FETCH_LOOKS; n++, i = next(s, i)) {
                uint64_t word = load(s, i);

                if (word == EMPTY)
                        return;
                if (word >> PTR_BITS != objm_hash_tag(hash) || word == TOMBSTONE)
                        continue;
                __builtin_prefetch(unpack(word));
                __builtin_prefetch(unpack(word)->key);
                return;
        }
}

/* The slot is fetched while the header, which says how many there are, is on its way: most have the usual size. */
struct objm_entry *objm_segment_find(const struct objm_segment *s, uint64_t hash, const void *key, size_t len)
{
        uint32_t i;

        __builtin_prefetch(&s->slot[home(objm_hash_stored(hash), OBJM_SEGMENT_SLOTS)]);
        return probe(s, hash, key, len, &i);
}

uint32_t objm_segment_find_slot(const struct objm_segment *s, uint64_t hash, const void *key, size_t len)
{
        uint32_t i = UINT32_MAX;

        probe(s, hash, key, len, &i);
        return i;
}

/* 85 %: above that, probes for what is not there grow long. */
bool objm_segment_full(const struct objm_segment *s)
{
        return s->used >= (uint32_t)((uint64_t)s->n_slots * 85 / 100);
}

void objm_segment_add(struct objm_segment *s, uint16_t tag, struct objm_entry *e)
{
        uint32_t i = home(e->hash, s->n_slots);

        assert(s->used < s->n_slots);
        while (load(s, i) != EMPTY)
                i = next(s, i);
        store(s, i, pack(tag, e));
        s->used++;
        s->live++;
}

void objm_segment_replace(struct objm_segment *s, uint32_t i, struct objm_entry *e)
{
        store(s, i, pack((uint16_t)(load(s, i) >> PTR_BITS), e));
}

/* A run of tombstones that ends at an empty slot has nothing behind it: it becomes empty, from its end. */
void objm_segment_erase(struct objm_segment *s, uint32_t i)
{
        store(s, i, TOMBSTONE);
        s->live--;
        if (load(s, next(s, i)) != EMPTY)
                return;
        while (load(s, i) == TOMBSTONE) {
                store(s, i, EMPTY);
                s->used--;
                i = i ? i - 1 : s->n_slots - 1;
        }
}

static unsigned split_bit(const struct objm_segment *s, const struct objm_entry *e)
{
        return e->hash >> (31 - s->depth) & 1;
}

uint32_t objm_segment_count_ones(const struct objm_segment *s)
{
        uint32_t ones = 0;

        for (uint32_t i = 0; i < s->n_slots; i++) {
                const struct objm_entry *e = objm_segment_at(s, i);

                if (e)
                        ones += split_bit(s, e);
        }
        return ones;
}

struct objm_segment *objm_segment_copy(const struct objm_segment *s, uint32_t n_slots)
{
        struct objm_segment *copy = objm_segment_new(n_slots, s->depth);

        if (!copy)
                return NULL;
        for (uint32_t i = 0; i < s->n_slots; i++) {
                uint64_t word = load(s, i);

                if (unpack(word))
                        objm_segment_add(copy, (uint16_t)(word >> PTR_BITS), unpack(word));
        }
        return copy;
}

bool objm_segment_split(const struct objm_segment *s, struct objm_segment *ret_half[2])
{
        struct objm_segment *half[2] = {objm_segment_new(s->n_slots, s->depth + 1),
                                        objm_segment_new(s->n_slots, s->depth + 1)};

        if (!half[0] || !half[1]) {
                objm_segment_free(half[0]);
                objm_segment_free(half[1]);
                return false;
        }
        for (uint32_t i = 0; i < s->n_slots; i++) {
                uint64_t word = load(s, i);
                struct objm_entry *e = unpack(word);

                if (e)
                        objm_segment_add(half[split_bit(s, e)], (uint16_t)(word >> PTR_BITS), e);
        }
        ret_half[0] = half[0];
        ret_half[1] = half[1];
        return true;
}
