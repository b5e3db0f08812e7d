/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_SPAWN_H
#define OBJM_CONCURRENCY_SPAWN_H
/*
 * Threads that come and go, for the models that need one per connection or per request. Every thread is joined: one
 * that has ended is joined by the next spawn(), the rest by stop().
 */
#include "base/attr.h"

struct objm_spawner;

int objm_spawner_new(unsigned max_threads, const char *name, struct objm_spawner **ret) objm_must_check;

/* Runs @fn(@arg) in a thread of its own. 0; -EAGAIN at max_threads or when the system has none; -ENOMEM. Any thread. */
int objm_spawner_spawn(struct objm_spawner *s, void (*fn)(void *arg), void *arg) objm_must_check;

/* Threads that have been started and not yet joined. */
unsigned objm_spawner_count(struct objm_spawner *s);

/* Waits for every thread to end, joins them all, frees. Nothing may be spawned any more. NULL is fine. */
void objm_spawner_free(struct objm_spawner *s);

#endif
