/* SPDX-License-Identifier: MIT */
#include "objmapperd/account.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int accounts_init(struct accounts *as)
{
        int r;

        memset(as, 0, sizeof(*as));
        r = objm_hash_key_init(&as->key);
        if (r == 0)
                pthread_mutex_init(&as->lock, NULL);
        return r;
}

/* Frees those of a bucket that nobody has open and whose tokens have all come back by @now_ns. */
static void prune_locked(struct account **at, uint64_t now_ns)
{
        struct account *a;

        while ((a = *at)) {
                if (a->connections || !rate_shared_is_full(&a->requests, now_ns)) {
                        at = &a->next;
                        continue;
                }
                *at = a->next;
                free(a);
        }
}

void accounts_deinit(struct accounts *as)
{
        for (size_t i = 0; i < ACCOUNT_BUCKETS; i++) {
                prune_locked(&as->buckets[i], UINT64_MAX);
                assert(!as->buckets[i]);
        }
        pthread_mutex_destroy(&as->lock);
}

static bool is_of(const struct account *a, const struct objm_peer *peer)
{
        return a->remote == peer->remote && (peer->remote || a->uid == peer->uid);
}

/* Users choose their number at most from a range that somebody gave them, but nothing says that it is small. */
static struct account **place(struct accounts *as, bool remote, uid_t uid)
{
        uint64_t h = remote ? 0 : objm_hash(&as->key, &uid, sizeof(uid));

        return &as->buckets[h % ACCOUNT_BUCKETS];
}

static struct account *find_locked(struct accounts *as, const struct objm_peer *peer)
{
        struct account *a = *place(as, peer->remote, peer->uid);

        while (a && !is_of(a, peer))
                a = a->next;
        return a;
}

static struct account *add_locked(struct accounts *as, const struct objm_peer *peer)
{
        struct account **bucket = place(as, peer->remote, peer->uid);
        struct account *a = aligned_alloc(OBJM_CACHE_LINE, sizeof(*a));

        if (!a)
                return NULL;
        memset(a, 0, sizeof(*a));
        a->uid = peer->uid;
        a->remote = peer->remote;
        a->next = *bucket;
        *bucket = a;
        return a;
}

static int open_locked(struct accounts *as, const struct objm_peer *peer, const struct config *config, uint32_t bytes,
                       struct account **ret)
{
        struct account *a = find_locked(as, peer);

        if (a && config->connections_per_uid && a->connections >= config->connections_per_uid)
                return ACCOUNT_CONNECTIONS;
        if (!a)
                a = add_locked(as, peer);
        if (!a)
                return -ENOMEM;
        /* A user without connections gets one: else a small bound would be none at all. */
        if (!account_take_queued(a, bytes, a->connections ? config->queued_bytes_per_uid : 0))
                return ACCOUNT_QUEUED;
        a->connections++;
        *ret = a;
        return 0;
}

int account_open(struct accounts *as, const struct objm_peer *peer, const struct config *config, uint32_t bytes,
                 struct account **ret)
{
        int r;

        pthread_mutex_lock(&as->lock);
        r = open_locked(as, peer, config, bytes, ret);
        prune_locked(&as->buckets[as->next_pruned++ % ACCOUNT_BUCKETS], objm_clock_coarse_ns());
        pthread_mutex_unlock(&as->lock);
        return r;
}

void account_close(struct accounts *as, struct account *a)
{
        if (!a)
                return;
        pthread_mutex_lock(&as->lock);
        a->connections--;
        pthread_mutex_unlock(&as->lock);
}

static bool take(atomic_ulong *sum, uint32_t n, uint32_t max)
{
        unsigned long before = atomic_fetch_add_explicit(sum, n, memory_order_relaxed);

        if (!max || before + n <= max)
                return true;
        atomic_fetch_sub_explicit(sum, n, memory_order_relaxed);
        return false;
}

bool account_take_descriptors(struct account *a, uint32_t n, uint32_t max)
{
        return take(&a->descriptors, n, max);
}

void account_give_descriptors(struct account *a, uint32_t n)
{
        atomic_fetch_sub_explicit(&a->descriptors, n, memory_order_relaxed);
}

bool account_take_queued(struct account *a, uint32_t bytes, uint32_t max)
{
        return take(&a->queued, bytes, max);
}

void account_give_queued(struct account *a, uint32_t bytes)
{
        atomic_fetch_sub_explicit(&a->queued, bytes, memory_order_relaxed);
}
