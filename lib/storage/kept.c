/* SPDX-License-Identifier: MIT */
#include "storage/kept.h"

#include "base/fd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void objm_kept_init(struct objm_kept *k, unsigned capacity, struct objm_kept_limits max,
                    struct objm_kept_budget *budget)
{
        assert(capacity >= OBJM_KEPT_WAYS && (capacity & (capacity - 1)) == 0);
        *k = (struct objm_kept){.budget = budget, .n_sets = capacity / OBJM_KEPT_WAYS, .max = max};
}

static unsigned n_slots(const struct objm_kept *k)
{
        return k->slots ? k->n_sets * OBJM_KEPT_WAYS : 0;
}

/* The descriptor is the caller's. */
static int empty(struct objm_kept *k, struct objm_kept_slot *slot)
{
        int fd = slot->fd;

        slot->fd = -1;
        free(slot->key);
        slot->key = NULL;
        free(slot->bytes);
        slot->bytes = NULL;
        slot->since = k->now;
        k->n--;
        atomic_fetch_add_explicit(&k->budget->left, 1, memory_order_relaxed);
        return fd;
}

void objm_kept_drop(struct objm_kept *k, struct objm_kept_slot *slot)
{
        if (slot->key)
                objm_fd_close(empty(k, slot));
}

void objm_kept_clear(struct objm_kept *k)
{
        for (unsigned i = 0; i < n_slots(k); i++)
                objm_kept_drop(k, &k->slots[i]);
        k->wish.uri = NULL;
}

void objm_kept_deinit(struct objm_kept *k)
{
        objm_kept_clear(k);
        free(k->slots);
        k->slots = NULL;
}

/* Others may need them for longer than this: nothing is kept for a while. */
static bool heed_squeeze(struct objm_kept *k)
{
        unsigned squeezes = atomic_load_explicit(&k->budget->squeezes, memory_order_relaxed);

        if (squeezes == k->squeezes)
                return false;
        k->squeezes = squeezes;
        k->rest_until = k->now + OBJM_KEPT_NS;
        objm_kept_clear(k);
        return true;
}

void objm_kept_expire(struct objm_kept *k, uint64_t now)
{
        k->now = now;
        if (!k->n)
                return;
        if (heed_squeeze(k) || now < k->due)
                return;
        for (unsigned i = 0; i < n_slots(k); i++)
                if (objm_kept_is_old(k, &k->slots[i]))
                        objm_kept_drop(k, &k->slots[i]);
        k->due = now + OBJM_KEPT_NS / 2;
}

void objm_kept_squeeze(struct objm_kept_budget *b)
{
        atomic_fetch_add_explicit(&b->squeezes, 1, memory_order_relaxed);
}

void objm_kept_surrender(struct objm_kept *k, int fd)
{
        for (unsigned i = 0; i < n_slots(k); i++)
                if (k->slots[i].key && k->slots[i].fd == fd) {
                        (void)empty(k, &k->slots[i]);
                        return;
                }
}

static unsigned set_at(const struct objm_kept *k, uint64_t hash)
{
        return (unsigned)(hash / OBJM_EPOCH_STRIPES & (k->n_sets - 1)) * OBJM_KEPT_WAYS;
}

static struct objm_kept_slot *set_of(const struct objm_kept *k, uint64_t hash)
{
        return &k->slots[set_at(k, hash)];
}

static void fill(struct objm_kept *k, struct objm_kept_slot *slot, const struct objm_kept_slot *with)
{
        *slot = *with;
        k->hashes[slot - k->slots] = with->hash;
}

struct objm_kept_slot *objm_kept_look(struct objm_kept *k, uint64_t hash, const void *key, size_t len)
{
        unsigned first = set_at(k, hash);

        if (!k->n)
                return NULL;
        for (unsigned i = first; i < first + OBJM_KEPT_WAYS; i++) {
                struct objm_kept_slot *slot = &k->slots[i];

                if (k->hashes[i] == hash && slot->key && slot->key_len == len && !memcmp(slot->key, key, len))
                        return slot;
        }
        return NULL;
}

/* What is lost with a slot: nothing, what is known of a wish, a file that was not asked for lately, one that was. */
static unsigned worth(const struct objm_kept *k, const struct objm_kept_slot *slot)
{
        if (slot->key)
                return slot->used ? 3 : 2;
        return slot->live && !objm_kept_is_old(k, slot);
}

static struct objm_kept_slot *least(const struct objm_kept *k, struct objm_kept_slot *set)
{
        struct objm_kept_slot *best = set;

        for (unsigned i = 1; i < OBJM_KEPT_WAYS; i++) {
                unsigned a = worth(k, &set[i]), b = worth(k, best);

                if (a < b || (a == b && set[i].since < best->since))
                        best = &set[i];
        }
        return best;
}

static struct objm_kept_slot *wish_of(const struct objm_kept *k, uint64_t hash)
{
        struct objm_kept_slot *set = set_of(k, hash);

        for (unsigned i = 0; i < OBJM_KEPT_WAYS; i++)
                if (set[i].live && !set[i].key && set[i].hash == hash)
                        return &set[i];
        return NULL;
}

/* What has been used since somebody last wanted its place keeps it once more. */
static bool make_place(struct objm_kept *k, struct objm_kept_slot *set, struct objm_kept_slot *slot)
{
        bool spare = !slot->key || !slot->used;

        if (slot->key)
                for (unsigned i = 0; i < OBJM_KEPT_WAYS; i++)
                        set[i].used = false;
        if (spare)
                objm_kept_drop(k, slot);
        return spare;
}

static void note(struct objm_kept *k, uint64_t hash)
{
        const struct objm_kept_slot wished = {.hash = hash, .since = k->now, .fd = -1, .live = true};
        struct objm_kept_slot *set = set_of(k, hash), *slot = least(k, set);

        if (make_place(k, set, slot))
                fill(k, slot, &wished);
}

static bool allocate(struct objm_kept *k)
{
        size_t n = (size_t)k->n_sets * OBJM_KEPT_WAYS;

        if (!k->slots)
                k->slots = calloc(n, sizeof(*k->slots) + sizeof(*k->hashes));
        if (k->slots)
                k->hashes = (uint64_t *)(k->slots + n);
        return k->slots;
}

bool objm_kept_want(struct objm_kept *k, uint64_t hash)
{
        struct objm_kept_slot *wish;
        bool lately;

        if (k->now < k->rest_until || !allocate(k))
                return false;
        wish = wish_of(k, hash);
        if (!wish) {
                note(k, hash);
                return false;
        }
        lately = !objm_kept_is_old(k, wish);
        wish->since = k->now;
        return lately && atomic_load_explicit(&k->budget->left, memory_order_relaxed) > 0;
}

static bool take_budget(struct objm_kept *k)
{
        if (atomic_fetch_sub_explicit(&k->budget->left, 1, memory_order_relaxed) > 0)
                return true;
        atomic_fetch_add_explicit(&k->budget->left, 1, memory_order_relaxed);
        return false;
}

bool objm_kept_put(struct objm_kept *k, int take_fd, const struct timespec *ctime, const struct objm_object_info *info)
{
        struct objm_kept_slot *slot = k->wish.uri ? wish_of(k, k->wish.hash) : NULL;
        char *key = slot ? malloc(k->wish.len) : NULL;
        struct objm_kept_slot kept;

        if (!key || !take_budget(k)) {
                free(key);
                return false;
        }
        memcpy(key, k->wish.uri, k->wish.len);
        kept = (struct objm_kept_slot){
                .hash = k->wish.hash, .since = k->now, .key = key, .key_len = (uint32_t)k->wish.len, .fd = take_fd,
                .epoch = k->wish.epoch, .ctime = *ctime, .info = *info, .live = true, .used = true,
        };
        fill(k, slot, &kept);
        if (k->n++ == 0)
                k->due = k->now + OBJM_KEPT_NS;
        return true;
}
