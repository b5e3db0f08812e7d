/* SPDX-License-Identifier: MIT */
/*
 * A shard points to a directory of 2^depth pointers to segments; the top bits of the stored hash choose one. A segment
 * of smaller depth stands in several neighbouring places. Readers load directory, segment and slot, each with acquire;
 * writers publish each with release, under the shard's lock, and retire what they replaced.
 */
#include "storage/index.h"

#include "base/hash.h"
#include "storage/segment.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#define N_SHARDS (1u << OBJM_SHARD_BITS)

/*
 * Top bits of the stored hash that a directory may use; the rest places entries inside the segment. Enough for 10^9
 * entries; beyond, segments grow.
 */
#define MAX_DEPTH (32 - OBJM_HOME_BITS)

struct directory {
        struct objm_qsbr_node retired;
        uint32_t depth;
        _Atomic(struct objm_segment *) segment[];
};

struct shard {
        _Alignas(OBJM_CACHE_LINE) _Atomic(struct directory *) dir;
        _Alignas(OBJM_CACHE_LINE) pthread_mutex_t lock; /* on a line of its own: readers load `dir` all the time */
        _Atomic size_t count;
};

struct objm_index {
        struct objm_hash_key key;
        struct objm_qsbr *qsbr;
        struct shard shard[N_SHARDS];
};

/* An unpublished entry waits for its readers in one of these; allocated before it is unpublished. */
struct retired_entry {
        struct objm_qsbr_node node;
        struct objm_entry *entry;
};

static void free_directory(struct objm_qsbr_node *node)
{
        free(objm_container_of(node, struct directory, retired));
}

static void free_segment(struct objm_qsbr_node *node)
{
        objm_segment_free(objm_container_of(node, struct objm_segment, retired));
}

static void free_entry(struct objm_qsbr_node *node)
{
        struct retired_entry *r = objm_container_of(node, struct retired_entry, node);

        free(r->entry);
        free(r);
}

static void retire_entry(struct objm_index *x, struct retired_entry *r, struct objm_entry *e)
{
        r->entry = e;
        objm_qsbr_retire(x->qsbr, &r->node, free_entry);
}

static struct directory *directory_new(uint32_t depth)
{
        struct directory *d = malloc(sizeof(*d) + (sizeof(d->segment[0]) << depth));

        if (d)
                d->depth = depth;
        return d;
}

static uint32_t place(const struct directory *d, uint32_t stored_hash)
{
        return (uint32_t)((uint64_t)stored_hash >> (32 - d->depth));
}

static struct objm_segment *segment_at(const struct directory *d, uint32_t i)
{
        return atomic_load_explicit(&d->segment[i], memory_order_acquire);
}

static struct directory *directory_of(const struct shard *sh)
{
        return atomic_load_explicit(&sh->dir, memory_order_acquire);
}

static int shard_init(struct shard *sh)
{
        struct directory *d = directory_new(0);
        struct objm_segment *s = objm_segment_new(OBJM_SEGMENT_SLOTS, 0);

        if (!d || !s) {
                free(d);
                objm_segment_free(s);
                return -ENOMEM;
        }
        atomic_init(&d->segment[0], s);
        atomic_init(&sh->dir, d);
        return 0;
}

/* A segment stands in 2^(directory's depth - its depth) neighbouring places: free it at the first of them. */
static void shard_deinit(struct shard *sh)
{
        struct directory *d = directory_of(sh);

        pthread_mutex_destroy(&sh->lock);
        if (!d)
                return;
        for (uint32_t i = 0, step; i < 1u << d->depth; i += step) {
                struct objm_segment *s = segment_at(d, i);

                step = 1u << (d->depth - s->depth);
                objm_segment_free_entries(s);
                objm_segment_free(s);
        }
        free(d);
}

int objm_index_new(struct objm_qsbr *qsbr, struct objm_index **ret)
{
        struct objm_index *x = aligned_alloc(OBJM_CACHE_LINE, sizeof(*x));
        int r;

        if (!x)
                return -ENOMEM;
        memset(x, 0, sizeof(*x));
        x->qsbr = qsbr;
        for (unsigned i = 0; i < N_SHARDS; i++)
                pthread_mutex_init(&x->shard[i].lock, NULL);
        r = objm_hash_key_init(&x->key);
        for (unsigned i = 0; r == 0 && i < N_SHARDS; i++)
                r = shard_init(&x->shard[i]);
        if (r < 0) {
                objm_index_free(x);
                return r;
        }
        *ret = x;
        return 0;
}

void objm_index_free(struct objm_index *x)
{
        if (!x)
                return;
        for (unsigned i = 0; i < N_SHARDS; i++)
                shard_deinit(&x->shard[i]);
        free(x);
}

uint64_t objm_index_hash(const struct objm_index *x, const void *key, size_t len)
{
        return objm_hash(&x->key, key, len);
}

const struct objm_entry *objm_index_find_hashed(struct objm_index *x, uint64_t hash, const void *key, size_t len)
{
        struct directory *d = directory_of(&x->shard[objm_hash_shard(hash)]);

        return objm_segment_find(segment_at(d, place(d, objm_hash_stored(hash))), hash, key, len);
}

const struct objm_entry *objm_index_find(struct objm_index *x, const void *key, size_t len)
{
        return objm_index_find_hashed(x, objm_hash(&x->key, key, len), key, len);
}

void objm_index_expect(struct objm_index *x, struct objm_store_name *names, unsigned n)
{
        const struct objm_segment *segments[OBJM_STORE_EXPECT_MAX] objm_uninitialized;

        assert(n <= OBJM_STORE_EXPECT_MAX);
        for (unsigned i = 0; i < n; i++) {
                uint64_t hash = objm_hash(&x->key, names[i].uri, names[i].len);
                struct directory *d = directory_of(&x->shard[objm_hash_shard(hash)]);

                names[i].hash = hash;
                segments[i] = segment_at(d, place(d, objm_hash_stored(hash)));
                objm_segment_fetch_slot(segments[i], hash);
        }
        for (unsigned i = 0; i < n; i++)
                objm_segment_fetch_entry(segments[i], names[i].hash);
}

/* Puts @s in each place of @d that its depth and the bits of @stored_hash above it give it. */
static void install(struct directory *d, struct objm_segment *s, uint32_t stored_hash)
{
        unsigned free_bits = d->depth - s->depth;
        uint32_t first = place(d, stored_hash) >> free_bits << free_bits;

        for (uint32_t i = first; i < first + (1u << free_bits); i++)
                atomic_store_explicit(&d->segment[i], s, memory_order_release);
}

static int double_directory(struct objm_index *x, struct shard *sh)
{
        struct directory *old = directory_of(sh), *d = directory_new(old->depth + 1);

        if (!d)
                return -ENOMEM;
        for (uint32_t i = 0; i < 1u << d->depth; i++)
                atomic_init(&d->segment[i], segment_at(old, i / 2));
        atomic_store_explicit(&sh->dir, d, memory_order_release);
        objm_qsbr_retire(x->qsbr, &old->retired, free_directory);
        return 0;
}

/* A successor of the same depth: cleaned of tombstones, or larger. */
static int rebuild(struct objm_index *x, struct shard *sh, struct objm_segment *s, uint32_t stored_hash,
                   uint32_t n_slots)
{
        struct objm_segment *copy = objm_segment_copy(s, n_slots);

        if (!copy)
                return -ENOMEM;
        install(directory_of(sh), copy, stored_hash);
        objm_qsbr_retire(x->qsbr, &s->retired, free_segment);
        return 0;
}

static int split(struct objm_index *x, struct shard *sh, struct objm_segment *s, uint32_t stored_hash)
{
        uint32_t bit = 1u << (31 - s->depth);
        struct objm_segment *half[2];

        if (s->depth == directory_of(sh)->depth && double_directory(x, sh) < 0)
                return -ENOMEM;
        if (!objm_segment_split(s, half))
                return -ENOMEM;
        install(directory_of(sh), half[0], stored_hash & ~bit);
        install(directory_of(sh), half[1], stored_hash | bit);
        objm_qsbr_retire(x->qsbr, &s->retired, free_segment);
        return 0;
}

/* A split must leave each half at least an eighth of the entries, or it is not worth two segments. */
static bool worth_splitting(const struct objm_segment *s)
{
        uint32_t ones;

        if (s->depth >= MAX_DEPTH)
                return false;
        ones = objm_segment_count_ones(s);
        return ones >= s->live / 8 && s->live - ones >= s->live / 8;
}

static int make_room(struct objm_index *x, struct shard *sh, struct objm_segment *s, uint32_t stored_hash)
{
        if (s->live < s->n_slots / 2)
                return rebuild(x, sh, s, stored_hash, s->n_slots);
        if (worth_splitting(s))
                return split(x, sh, s, stored_hash);
        return rebuild(x, sh, s, stored_hash, s->n_slots * 2);
}

static int insert_locked(struct objm_index *x, struct shard *sh, uint64_t hash, struct objm_entry *e)
{
        struct directory *d = directory_of(sh);
        struct objm_segment *s = segment_at(d, place(d, e->hash));

        while (objm_segment_full(s)) {
                int r = make_room(x, sh, s, e->hash);

                if (r < 0)
                        return r;
                d = directory_of(sh);
                s = segment_at(d, place(d, e->hash));
        }
        objm_segment_add(s, objm_hash_tag(hash), e);
        atomic_fetch_add_explicit(&sh->count, 1, memory_order_relaxed);
        return 0;
}

static int replace_locked(struct objm_index *x, struct objm_segment *s, uint32_t i, struct objm_entry *e)
{
        struct objm_entry *old = objm_segment_at(s, i);
        struct retired_entry *r = malloc(sizeof(*r));

        if (!r)
                return -ENOMEM;
        objm_segment_replace(s, i, e);
        retire_entry(x, r, old);
        return 0;
}

static bool same_info(const struct objm_object_info *a, const struct objm_object_info *b)
{
        return a->version == b->version && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

static int put_locked(struct objm_index *x, struct shard *sh, uint64_t hash, const void *key, size_t len,
                      const struct objm_object_info *info, uint16_t generation)
{
        struct directory *d = directory_of(sh);
        struct objm_segment *s = segment_at(d, place(d, objm_hash_stored(hash)));
        uint32_t i = objm_segment_find_slot(s, hash, key, len);
        struct objm_entry *e = i != UINT32_MAX ? objm_segment_at(s, i) : NULL;
        int r;

        if (e && same_info(&e->info, info)) {
                atomic_store_explicit(&e->generation, generation, memory_order_relaxed);
                return 0;
        }
        e = objm_entry_new(key, len, hash, info, generation);
        if (!e)
                return -ENOMEM;
        r = i != UINT32_MAX ? replace_locked(x, s, i, e) : insert_locked(x, sh, hash, e);
        if (r < 0)
                free(e);
        return r;
}

int objm_index_put(struct objm_index *x, const void *key, size_t len, const struct objm_object_info *info,
                   uint16_t generation)
{
        uint64_t hash = objm_hash(&x->key, key, len);
        struct shard *sh = &x->shard[objm_hash_shard(hash)];
        int r;

        pthread_mutex_lock(&sh->lock);
        r = put_locked(x, sh, hash, key, len, info, generation);
        pthread_mutex_unlock(&sh->lock);
        return r;
}

static int remove_locked(struct objm_index *x, struct shard *sh, uint64_t hash, const void *key, size_t len)
{
        struct directory *d = directory_of(sh);
        struct objm_segment *s = segment_at(d, place(d, objm_hash_stored(hash)));
        uint32_t i = objm_segment_find_slot(s, hash, key, len);
        struct retired_entry *r;
        struct objm_entry *e;

        if (i == UINT32_MAX)
                return OBJM_INDEX_ABSENT;
        r = malloc(sizeof(*r));
        if (!r)
                return -ENOMEM;
        e = objm_segment_at(s, i);
        objm_segment_erase(s, i);
        retire_entry(x, r, e);
        atomic_fetch_sub_explicit(&sh->count, 1, memory_order_relaxed);
        return 0;
}

static uint64_t version_locked(const struct shard *sh, uint64_t hash, const void *key, size_t len)
{
        const struct directory *d = directory_of(sh);
        struct objm_segment *s = segment_at(d, place(d, objm_hash_stored(hash)));
        uint32_t i = objm_segment_find_slot(s, hash, key, len);

        return i != UINT32_MAX ? objm_segment_at(s, i)->info.version : 0;
}

int objm_index_learn(struct objm_index *x, const void *key, size_t len, const struct objm_object_info *info,
                     uint64_t seen)
{
        uint64_t hash = objm_hash(&x->key, key, len);
        struct shard *sh = &x->shard[objm_hash_shard(hash)];
        int r = 0;

        pthread_mutex_lock(&sh->lock);
        if (version_locked(sh, hash, key, len) == seen)
                r = put_locked(x, sh, hash, key, len, info, 0);
        pthread_mutex_unlock(&sh->lock);
        return r;
}

int objm_index_remove(struct objm_index *x, const void *key, size_t len)
{
        uint64_t hash = objm_hash(&x->key, key, len);
        struct shard *sh = &x->shard[objm_hash_shard(hash)];
        int r;

        pthread_mutex_lock(&sh->lock);
        r = remove_locked(x, sh, hash, key, len);
        pthread_mutex_unlock(&sh->lock);
        return r;
}

size_t objm_index_count(struct objm_index *x)
{
        size_t n = 0;

        for (unsigned i = 0; i < N_SHARDS; i++)
                n += atomic_load_explicit(&x->shard[i].count, memory_order_relaxed);
        return n;
}

bool objm_index_walk(struct objm_index *x, struct objm_index_cursor *cursor, objm_index_visit_fn visit, void *userdata)
{
        struct directory *d;
        struct objm_segment *s;

        if (cursor->shard >= N_SHARDS)
                return false;
        d = directory_of(&x->shard[cursor->shard]);
        s = segment_at(d, place(d, (uint32_t)cursor->position));
        for (uint32_t i = 0; i < s->n_slots; i++) {
                const struct objm_entry *e = objm_segment_at(s, i);

                if (e && visit(e, userdata))
                        objm_index_remove(x, e->key, e->key_len);
        }
        cursor->position = (cursor->position | ((UINT64_C(1) << (32 - s->depth)) - 1)) + 1;
        if (cursor->position >> 32) {
                cursor->position = 0;
                cursor->shard++;
        }
        return cursor->shard < N_SHARDS;
}
