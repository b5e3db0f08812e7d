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
 * next one, so that it comes back at once when polling pays again.
 *
 * Somebody else may want this CPU. What the kernel gave to others while this thread polled is added up, less a quarter
 * of the time that passes; above OBJM_SPIN_DEBT_NS polling stops until it is below again. So a kernel thread that takes
 * a slice of the scheduler's (3 to 4 ms) now and then costs no more than that, and one that has work all the time gets
 * most of the CPU. A kernel that switches at many of the occasions stops it for some milliseconds, and for twice as
 * long each time that happens again soon. Time that an interrupt or a hypervisor took is no such sign. One thread per
 * struct.
 *
 * Two sides that both sleep wake each other and each gives up polling before the other is awake, for as long as that
 * takes longer than they poll. Who tells by objm_spin_slept() how a sleep after an occasion ended polls for up to
 * OBJM_SPIN_LATE times as long when that would have been enough, and for the usual time again when it would not.
 */
#include <stdbool.h>
#include <stdint.h>

#define OBJM_SPIN_DEFAULT_NS 40000
#define OBJM_SPIN_LATE       8
#define OBJM_SPIN_DEBT_NS    8000000
#define OBJM_SPIN_LOOKS      8 /* between two looks at the time */

struct objm_spin {
        uint32_t budget_ns; /* 0: never */
        uint32_t usual_ns;  /* what it is unless waking takes longer */
        uint32_t score;     /* recent successes, 0..1024 */
        uint32_t skip;      /* occasions still to pass by */
        uint32_t backoff;   /* how many to pass by after the next failure */
        uint32_t calm;      /* occasions since the kernel was last seen to switch at many */
        uint64_t pause_ns;  /* for how long it stops when it next is */
        uint64_t resumes_at; /* ns: when the last such pause is over */
        uint64_t debt;      /* ns that others had while this thread polled, as of debt_at */
        uint64_t debt_at;   /* ns */
        uint32_t sampled;   /* occasions since the count of switches was looked at */
        long switches;      /* involuntary ones of this thread, then */
        long switches_seen; /* the same when last looked at; LONG_MAX before */
        uint32_t looks;     /* ever, by more_often() */
        bool preempted;
        bool in_vain;       /* the last occasion ended without a find */
        uint64_t start, last; /* ns; after end(), `last` is when that was. start 0: not known yet */
};

/* @budget_ns 0 turns it off; so does a process that may run on one CPU only. */
void objm_spin_init(struct objm_spin *s, uint32_t budget_ns);

/* False: sleep at once. */
bool objm_spin_begin(struct objm_spin *s);

/*
 * The same without a look at the time, right after an occasion that has found something, when what was found is done.
 * Then the occasion starts with the first more() that reads the time, and what others had of the CPU since it was last
 * read shows only if it was long.
 */
bool objm_spin_begin_untimed(struct objm_spin *s);

/* True while there is budget. Call once a look. */
bool objm_spin_more(struct objm_spin *s);

/* The same where a look is a load from memory: reading the time would take longer than that, so it is read seldom. */
static inline bool objm_spin_more_often(struct objm_spin *s)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
        return ++s->looks % OBJM_SPIN_LOOKS || objm_spin_more(s);
}

void objm_spin_end(struct objm_spin *s, bool found);

/* The same after looks by more_often(): `last` is when the time was last read. */
void objm_spin_end_often(struct objm_spin *s, bool found);

/* What was polled for in vain, if it was, has come after a sleep. Without an occasion before it: nothing. */
void objm_spin_slept(struct objm_spin *s);

#endif
