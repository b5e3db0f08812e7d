/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_ACCOUNT_H
#define OBJMAPPERD_ACCOUNT_H
/*
 * What the connections of one user have together: how many there are, how many descriptors are on their way to it, how
 * much memory the kernel may fill with what it has not read, and how fast it asks. Found when a connection is accepted.
 * It outlives the last one until its tokens have come back, so that connecting anew gains nothing. Remote clients have
 * no user: all of them share one account.
 */
#include "base/attr.h"
#include "base/hash.h"
#include "base/peer.h"
#include "objmapperd/config.h"
#include "objmapperd/rate.h"
#include <pthread.h>
#include <stdatomic.h>

#define ACCOUNT_BUCKETS 256

struct account {
        struct account *next; /* accounts.lock */
        uint32_t connections; /* accounts.lock */
        uid_t uid;
        bool remote;
        /* Of the workers; moved by the request only where a limit is set. */
        _Alignas(OBJM_CACHE_LINE) atomic_ulong descriptors;
        atomic_ulong queued; /* bytes */
        struct rate_shared requests;
};

struct accounts {
        pthread_mutex_t lock; /* rank 2: no other lock is taken while it is held */
        struct objm_hash_key key;
        unsigned next_pruned;
        struct account *buckets[ACCOUNT_BUCKETS];
};

enum {
        ACCOUNT_CONNECTIONS = 1, /* the user has as many connections as it may */
        ACCOUNT_QUEUED = 2,      /* what its connections may leave unread is all given out */
};

/* 0 or negative errno of getrandom(2). */
int accounts_init(struct accounts *as) objm_must_check;

/* Every account has been closed. */
void accounts_deinit(struct accounts *as);

/*
 * For one more connection of @peer, with @bytes for what it leaves unread. 0, one of the conditions above, or -ENOMEM.
 * Any thread, as everything below.
 */
int account_open(struct accounts *as, const struct objm_peer *peer, const struct config *config, uint32_t bytes,
                 struct account **ret) objm_must_check;

/* @a is not the caller's any more; NULL is fine. What it took has been given back but for the connection itself. */
void account_close(struct accounts *as, struct account *a);

/* Takes @n descriptors, or nothing when that makes more than @max (0: any number). */
bool account_take_descriptors(struct account *a, uint32_t n, uint32_t max) objm_must_check;
void account_give_descriptors(struct account *a, uint32_t n);

/* The same for bytes. */
bool account_take_queued(struct account *a, uint32_t bytes, uint32_t max) objm_must_check;
void account_give_queued(struct account *a, uint32_t bytes);

#endif
