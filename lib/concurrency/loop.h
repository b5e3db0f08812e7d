/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_LOOP_H
#define OBJM_CONCURRENCY_LOOP_H
/*
 * An epoll instance and a mailbox, for one thread that serves many descriptors. All calls but post() belong to that
 * thread. Sources are level-triggered; a source may be freed only after the batch of events in which it was removed
 * has been worked through, because a later event of the batch may still name it.
 */
#include "base/attr.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define OBJM_LOOP_BATCH 256

/* Embedded in whatever owns a descriptor; handed back with its events. */
struct objm_source {
        int fd; /* owned by whoever embeds this */
        uint32_t events;
        void (*on_events)(struct objm_source *s, uint32_t events);
};

/* A message to the loop's thread; owned by the loop from post() until deliver() is called there. */
struct objm_mail {
        struct objm_mail *next;
        void (*deliver)(struct objm_mail *m);
};

struct objm_loop {
        int epoll_fd, wake_fd;
        int n_events;
        _Alignas(OBJM_CACHE_LINE) _Atomic(struct objm_mail *) inbox;
        struct epoll_event events[OBJM_LOOP_BATCH];
};

int objm_loop_init(struct objm_loop *l) objm_must_check;
void objm_loop_deinit(struct objm_loop *l);

/* Watches @s->fd for @s->events. 0 or negative errno. */
int objm_loop_add(struct objm_loop *l, struct objm_source *s) objm_must_check;
/* Changes what is watched; free of cost when nothing changes. */
int objm_loop_set(struct objm_loop *l, struct objm_source *s, uint32_t events) objm_must_check;
/* Before the descriptor is closed. */
void objm_loop_remove(struct objm_loop *l, struct objm_source *s);

/* Waits up to @timeout_ms (-1: for ever, 0: just looks). Returns how many events dispatch() will find. */
int objm_loop_wait(struct objm_loop *l, int timeout_ms);
/* Calls on_events() for each event that wait() found, then delivers the mail. */
void objm_loop_dispatch(struct objm_loop *l);

/* There is mail for dispatch(). */
static inline bool objm_loop_has_mail(const struct objm_loop *l)
{
        return atomic_load_explicit(&l->inbox, memory_order_relaxed) != NULL;
}

/* Any thread. Wakes the loop. */
void objm_loop_post(struct objm_loop *l, struct objm_mail *m);

#endif
