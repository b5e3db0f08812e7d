/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_SPIN_H
#define OBJM_BASE_SPIN_H
/*
 * When to poll for a while before going to sleep. Waking a sleeping CPU costs more than serving a request, so polling
 * pays when the next request comes soon; it is pure loss when it does not, and worse than loss when the one who would
 * send it waits for this very CPU. The policy therefore only looks at whether polling has lately paid:
 *
 *      if (objm_spin_begin(&s)) {
 *              do { look } while (!found && objm_spin_more(&s));
 *              objm_spin_end(&s, found);
 *      }
 *
 * Below one success in two it polls at ever fewer occasions, down to one in 1024; but after a success always at the
 * next one, so that it comes back at once when polling pays again. A look during which the kernel gave this thread's
 * CPU to another says that somebody else wants it: then polling stops for some hundred occasions, and for twice as many
 * each time that happens again soon; so does a kernel that switches at many of the occasions. Time that an interrupt or
 * a hypervisor took is no such sign. One thread per struct.
 *
 * Two sides that both sleep wake each other and each gives up polling before the other is awake, for as long as that
 * takes longer than they poll. Who tells by objm_spin_slept() how a sleep after an occasion ended polls for up to
 * OBJM_SPIN_LATE times as long when that would have been enough, and for the usual time again when it would not.
 */
#include <stdbool.h>
#include <stdint.h>

#define OBJM_SPIN_DEFAULT_NS 40000
#define OBJM_SPIN_LATE       8

struct objm_spin {
        uint32_t budget_ns; /* 0: never */
        uint32_t usual_ns;  /* what it is unless waking takes longer */
        uint32_t score;     /* recent successes, 0..1024 */
        uint32_t skip;      /* occasions still to pass by */
        uint32_t backoff;   /* how many to pass by after the next failure */
        uint32_t penalty;   /* how many to pass by after the next preemption */
        uint32_t calm;      /* occasions since the last one */
        uint32_t sampled;   /* occasions since the count of switches was looked at */
        long switches;      /* involuntary ones of this thread, then */
        long switches_seen; /* the same when last looked at; LONG_MAX before */
        bool preempted;
        bool in_vain;       /* the last occasion ended without a find */
        uint64_t start, last; /* ns; after end(), `last` is when that was */
};

/* @budget_ns 0 turns it off; so does a process that may run on one CPU only. */
void objm_spin_init(struct objm_spin *s, uint32_t budget_ns);

/* False: sleep at once. */
bool objm_spin_begin(struct objm_spin *s);

/* True while there is budget. Call once a look. */
bool objm_spin_more(struct objm_spin *s);

void objm_spin_end(struct objm_spin *s, bool found);

/* What was polled for in vain, if it was, has come after a sleep. Without an occasion before it: nothing. */
void objm_spin_slept(struct objm_spin *s);

#endif
