/* SPDX-License-Identifier: MIT */
/*
 * A global epoch, and for each reader the epoch that it has announced. Retired nodes queue in the order of their
 * epochs; the head may go once the smallest announced epoch has reached its own.
 *
 * Why it holds: retire() raises the epoch after the writer unlinked the node. A reader that announces that epoch (or a
 * later one) has loaded it with acquire, so it sees the unlinking, and its announcement is a release: what it read
 * before is over. Coming online is the one place with a store followed by a load of something else (announce, then
 * look whether the epoch moved); both are seq_cst and pair with the seq_cst increment and scan below, so that either
 * the scan sees the announcement or the reader sees the new epoch.
 */
#include "concurrency/qsbr.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* How often retire() looks whether something can go. */
#define RETIRES_PER_POLL 32

/* How many nodes go at a time: a reader that stayed long must not cost some writer a long pause afterwards. */
#define BATCH 256

struct objm_qsbr {
        _Alignas(OBJM_CACHE_LINE) _Atomic uint64_t epoch; /* starts at 1: 0 means offline */
        _Alignas(OBJM_CACHE_LINE) pthread_mutex_t lock;   /* the lists; inside `reclaim` */
        struct objm_qsbr_reader *readers;
        struct objm_qsbr_node *head, **tail;
        _Atomic size_t pending;  /* retired and not yet freed */
        pthread_mutex_t reclaim; /* held while nodes are freed, so that drain() can wait for a poll() elsewhere */
};

int objm_qsbr_new(struct objm_qsbr **ret)
{
        struct objm_qsbr *q = aligned_alloc(OBJM_CACHE_LINE, sizeof(*q));

        if (!q)
                return -ENOMEM;
        atomic_init(&q->epoch, 1);
        atomic_init(&q->pending, 0);
        pthread_mutex_init(&q->lock, NULL);
        pthread_mutex_init(&q->reclaim, NULL);
        q->readers = NULL;
        q->head = NULL;
        q->tail = &q->head;
        *ret = q;
        return 0;
}

void objm_qsbr_register(struct objm_qsbr *q, struct objm_qsbr_reader *r)
{
        atomic_store_explicit(&r->seen, 0, memory_order_relaxed);
        r->domain = q;
        r->prev = NULL;
        pthread_mutex_lock(&q->lock);
        r->next = q->readers;
        if (r->next)
                r->next->prev = r;
        q->readers = r;
        pthread_mutex_unlock(&q->lock);
}

void objm_qsbr_unregister(struct objm_qsbr_reader *r)
{
        struct objm_qsbr *q = r->domain;

        objm_qsbr_offline(r);
        pthread_mutex_lock(&q->lock);
        if (r->prev)
                r->prev->next = r->next;
        else
                q->readers = r->next;
        if (r->next)
                r->next->prev = r->prev;
        pthread_mutex_unlock(&q->lock);
        r->domain = NULL;
}

void objm_qsbr_online(struct objm_qsbr_reader *r)
{
        uint64_t e;

        do {
                e = atomic_load_explicit(&r->domain->epoch, memory_order_acquire);
                atomic_store_explicit(&r->seen, e, memory_order_seq_cst);
        } while (atomic_load_explicit(&r->domain->epoch, memory_order_seq_cst) != e);
}

void objm_qsbr_offline(struct objm_qsbr_reader *r)
{
        atomic_store_explicit(&r->seen, 0, memory_order_release);
}

void objm_qsbr_quiescent(struct objm_qsbr_reader *r)
{
        uint64_t e = atomic_load_explicit(&r->domain->epoch, memory_order_acquire);

        if (atomic_load_explicit(&r->seen, memory_order_relaxed) != e)
                atomic_store_explicit(&r->seen, e, memory_order_release);
}

/* The epoch that every reader has reached; UINT64_MAX when all are offline. */
static uint64_t reached_locked(struct objm_qsbr *q)
{
        uint64_t min = UINT64_MAX;

        for (struct objm_qsbr_reader *r = q->readers; r; r = r->next) {
                uint64_t seen = atomic_load_explicit(&r->seen, memory_order_seq_cst);

                if (seen && seen < min)
                        min = seen;
        }
        return min;
}

/* Unlinks and returns up to BATCH nodes whose time has come. */
static struct objm_qsbr_node *take_ripe_locked(struct objm_qsbr *q)
{
        struct objm_qsbr_node *first = q->head, **end = &q->head;
        uint64_t reached;

        if (!first)
                return NULL;
        reached = reached_locked(q);
        for (unsigned n = 0; n < BATCH && *end && (*end)->epoch <= reached; n++)
                end = &(*end)->next;
        if (end == &q->head)
                return NULL;
        q->head = *end;
        *end = NULL;
        if (!q->head)
                q->tail = &q->head;
        return first;
}

/* The caller holds `reclaim`. False when nothing could go. */
static bool reclaim_batch_locked(struct objm_qsbr *q)
{
        struct objm_qsbr_node *first, *node, *next;

        pthread_mutex_lock(&q->lock);
        first = take_ripe_locked(q);
        pthread_mutex_unlock(&q->lock);
        for (node = first; node; node = next) {
                next = node->next;
                node->free(node);
                atomic_fetch_sub_explicit(&q->pending, 1, memory_order_relaxed);
        }
        return first;
}

size_t objm_qsbr_poll(struct objm_qsbr *q)
{
        if (atomic_load_explicit(&q->pending, memory_order_relaxed) == 0)
                return 0;
        if (pthread_mutex_trylock(&q->reclaim) == 0) {
                while (reclaim_batch_locked(q))
                        continue;
                pthread_mutex_unlock(&q->reclaim);
        }
        return atomic_load_explicit(&q->pending, memory_order_relaxed);
}

void objm_qsbr_retire(struct objm_qsbr *q, struct objm_qsbr_node *node, void (*free)(struct objm_qsbr_node *))
{
        size_t pending;

        node->next = NULL;
        node->free = free;
        pending = atomic_fetch_add_explicit(&q->pending, 1, memory_order_relaxed) + 1;
        pthread_mutex_lock(&q->lock);
        node->epoch = atomic_fetch_add_explicit(&q->epoch, 1, memory_order_seq_cst) + 1;
        *q->tail = node;
        q->tail = &node->next;
        pthread_mutex_unlock(&q->lock);
        if (pending % RETIRES_PER_POLL == 0 && pthread_mutex_trylock(&q->reclaim) == 0) {
                reclaim_batch_locked(q);
                pthread_mutex_unlock(&q->reclaim);
        }
}

struct retired_ptr {
        struct objm_qsbr_node node;
        void *ptr;
        void (*free)(void *);
};

static void free_retired_ptr(struct objm_qsbr_node *node)
{
        struct retired_ptr *r = objm_container_of(node, struct retired_ptr, node);

        r->free(r->ptr);
        free(r);
}

int objm_qsbr_retire_ptr(struct objm_qsbr *q, void *ptr, void (*free)(void *))
{
        struct retired_ptr *r = malloc(sizeof(*r));

        if (!r)
                return -ENOMEM;
        r->ptr = ptr;
        r->free = free;
        objm_qsbr_retire(q, &r->node, free_retired_ptr);
        return 0;
}

/* True when nothing up to @epoch is left. */
static bool drained_to(struct objm_qsbr *q, uint64_t epoch)
{
        bool done;

        pthread_mutex_lock(&q->reclaim);
        while (reclaim_batch_locked(q))
                continue;
        pthread_mutex_lock(&q->lock);
        done = !q->head || q->head->epoch > epoch;
        pthread_mutex_unlock(&q->lock);
        pthread_mutex_unlock(&q->reclaim);
        return done;
}

void objm_qsbr_drain(struct objm_qsbr *q)
{
        uint64_t epoch = atomic_load_explicit(&q->epoch, memory_order_seq_cst);
        struct timespec pause = {.tv_nsec = 50000};

        while (!drained_to(q, epoch))
                nanosleep(&pause, NULL);
}

void objm_qsbr_free(struct objm_qsbr *q)
{
        if (!q)
                return;
        objm_qsbr_drain(q);
        pthread_mutex_destroy(&q->reclaim);
        pthread_mutex_destroy(&q->lock);
        free(q);
}
