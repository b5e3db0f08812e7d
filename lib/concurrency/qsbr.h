/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_QSBR_H
#define OBJM_CONCURRENCY_QSBR_H
/*
 * Reclamation by quiescent states. Readers take no lock and write no shared cache line while they read: each has a
 * line of its own in which it says, once per turn of its loop, "I hold nothing". What a writer has unlinked is freed
 * when every registered reader has said so since, or is offline.
 *
 * Rules: a reader uses borrowed pointers only between online() and the next quiescent() or offline(). It goes offline
 * before anything that can block for long (epoll_wait, a disk). Writers call retire() after the last pointer to the
 * memory has been unpublished, holding no reader's lock. C11 atomics only, no bare fences: ThreadSanitizer follows it.
 */
#include "base/attr.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct objm_qsbr;

struct objm_qsbr_reader {
        _Alignas(OBJM_CACHE_LINE) _Atomic uint64_t seen; /* the epoch last announced; 0: offline */
        struct objm_qsbr *domain;
        struct objm_qsbr_reader *prev, *next;
};

/* To be embedded at the start of what is retired. */
struct objm_qsbr_node {
        struct objm_qsbr_node *next;
        void (*free)(struct objm_qsbr_node *);
        uint64_t epoch;
};

int objm_qsbr_new(struct objm_qsbr **ret) objm_must_check;

/* Frees all that is still retired. No reader may be registered any more. NULL is fine. */
void objm_qsbr_free(struct objm_qsbr *q);

/* Any thread; @r is used by the registering thread alone afterwards and starts offline. */
void objm_qsbr_register(struct objm_qsbr *q, struct objm_qsbr_reader *r);
void objm_qsbr_unregister(struct objm_qsbr_reader *r);

void objm_qsbr_online(struct objm_qsbr_reader *r);
void objm_qsbr_offline(struct objm_qsbr_reader *r);
void objm_qsbr_quiescent(struct objm_qsbr_reader *r);

/* Hands @node over; @free is called once no reader can hold it, in the thread of some later retire() or poll(). */
void objm_qsbr_retire(struct objm_qsbr *q, struct objm_qsbr_node *node, void (*free)(struct objm_qsbr_node *));

/* As retire(), for plain memory that has no room for a node: @ptr is given to @free. 0 or -ENOMEM (then not taken). */
int objm_qsbr_retire_ptr(struct objm_qsbr *q, void *ptr, void (*free)(void *)) objm_must_check;

/* Frees what may be freed by now; returns how many remain. Cheap when nothing does. Any thread. */
size_t objm_qsbr_poll(struct objm_qsbr *q);

/* Waits until everything retired before the call is freed. The caller must be offline or no reader. */
void objm_qsbr_drain(struct objm_qsbr *q);

#endif
