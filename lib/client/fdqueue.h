/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_FDQUEUE_H
#define OBJM_CLIENT_FDQUEUE_H
/*
 * Descriptors that have arrived and wait for the reply they belong to, first in, first out. The queue owns what is in
 * it. At most `limit` may wait, one for each request in flight; behind that there is room for one whole message, so
 * that nothing the kernel delivers is lost before it has been counted.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <stddef.h>

struct objm_fdqueue {
        int *fds;
        size_t limit, head, tail;
};

/* 0 or -ENOMEM. */
int objm_fdqueue_init(struct objm_fdqueue *q, size_t limit) objm_must_check;
/* Closes what is left. */
void objm_fdqueue_deinit(struct objm_fdqueue *q);
void objm_fdqueue_close_all(struct objm_fdqueue *q);

/* Room for OBJM_FDPASS_MAX descriptors. Call only while the queue is not over its limit. */
int *objm_fdqueue_end(struct objm_fdqueue *q);

/* Takes over @n descriptors written at the end. False: more wait than the limit allows. */
bool objm_fdqueue_push(struct objm_fdqueue *q, size_t n);

/* The first descriptor, the caller's from now on, or -1. */
int objm_fdqueue_pop(struct objm_fdqueue *q);

static inline size_t objm_fdqueue_len(const struct objm_fdqueue *q)
{
        return q->tail - q->head;
}

#endif
