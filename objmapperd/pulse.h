/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_PULSE_H
#define OBJMAPPERD_PULSE_H
/*
 * Whether all loops still turn: in each round the main thread sends every one of them mail, and the last that delivers
 * it sends mail back. A loop that has not answered is not asked again, and no round begins before it has.
 */
#include "concurrency/loop.h"
#include <stdatomic.h>
#include <stdbool.h>

struct pulse {
        struct objm_loop *home;
        void (*on_answered)(struct pulse *p); /* in the thread of `home` */
        struct objm_mail answered_mail;
        bool asking;         /* a round is under way; home's thread alone */
        atomic_uint missing; /* answers, and one while home is still asking */
};

/* One of the loops. All zero until it is asked for the first time. */
struct beat {
        struct objm_mail mail;
        struct pulse *pulse;
        atomic_bool asked;
};

/* @home outlives every loop that is asked. */
void pulse_init(struct pulse *p, struct objm_loop *home, void (*on_answered)(struct pulse *p));

/* Around the calls of ask() that make a round. begin() is false when an answer of the last round is still missing. */
bool pulse_begin(struct pulse *p) objm_must_check;
void pulse_ask(struct pulse *p, struct beat *b, struct objm_loop *loop);
void pulse_end(struct pulse *p);

/* The loop does not turn any more, and not because something is wrong. Never at the same time as ask(). */
void pulse_forget(struct beat *b);

#endif
