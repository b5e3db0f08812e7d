/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RINGS_H
#define OBJMAPPERD_RINGS_H
/*
 * The rings of a worker, and whose turn it is.
 */
#include "objmapperd/metrics.h"
#include "objmapperd/ring.h"

/* A ring that waits is looked at after 1 ms, then 2, ... up to 2^(RINGS_LEVELS - 1) ms. */
#define RINGS_LEVELS 6

/* Counted when the time is read next, or when there could be more than that. */
#define RINGS_PENDING 128

struct worker;

struct rings {
        struct objm_list awake;
        struct objm_list waiting[RINGS_LEVELS]; /* each in the order of ring.retry_at */
        struct objm_list all;
        unsigned n_awake;
        struct rings_count {
                unsigned known;  /* look-ups that the index answered */
                unsigned bodies; /* objects whose bytes were put, */
                uint64_t bytes;  /* so many of them */
                unsigned found;  /* names, for objm_store_found() */
        } count; /* of replies that wait to be counted and for which nobody looks at the time */
        size_t n_pending;
        struct metrics_record pending[RINGS_PENDING]; /* of the others */
};

void rings_init(struct rings *x);

/* While spinning: does any that is awake have something? No system call. */
static inline bool rings_look(const struct rings *x)
{
        const struct objm_list *it;

        for (it = x->awake.next; it != &x->awake; it = it->next)
                if (objm_ring_server_look(&objm_container_of(it, struct ring, link)->end))
                        return true;
        return false;
}

/* Gives each that is awake a turn, and one of those that wait. Returns how many had requests. */
unsigned rings_serve(struct worker *w);

static inline bool rings_uncounted(const struct rings *x)
{
        return x->n_pending || x->count.known || x->count.bodies || x->count.found;
}

/* Counts what has been answered until @now (ns); 0: nobody has looked at the time. */
void rings_count(struct worker *w, uint64_t now);

/* Before the worker sleeps. False: it must not, one has something. */
bool rings_sleep(struct worker *w);

/* When to look again, in ns; UINT64_MAX: never. */
uint64_t rings_due(const struct worker *w);

/* Ends those that nobody has used for long. */
void rings_expire(struct worker *w);

/* Changes of a ring's state. wait() looks again later, and each time in a row after twice as long. */
void rings_add(struct worker *w, struct ring *r);
void rings_wake(struct worker *w, struct ring *r);
void rings_wait(struct worker *w, struct ring *r);
void rings_touch(struct worker *w, struct ring *r);
void rings_remove(struct worker *w, struct ring *r);

#endif
