/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_MANAGER_H
#define OBJMAPPERD_MANAGER_H
/*
 * What the service manager is told (sd_notify(3)): readiness, a status text, and, when it asked for that by
 * WATCHDOG_USEC, that every loop of the daemon turns, and the pool with them. Without a manager nothing here costs
 * anything. The main thread's.
 */
#include "objmapperd/pulse.h"
#include "objmapperd/server.h"

struct manager {
        struct server *server;
        struct pulse pulse;
        bool watchdog;
        bool pool_waits;    /* when last looked at: requests waited though not every thread of the pool had a job */
        uint64_t pool_jobs; /* the same: how many it had done */
        uint64_t interval_ns; /* half of what the watchdog allows; 0: nobody listens */
        uint64_t next_ns;
        char status[128]; /* the last that was sent */
};

/* @loop is the main thread's; its mail feeds the watchdog. */
void manager_init(struct manager *m, struct server *s, struct objm_loop *loop);

/* Also after a reload. Not while the daemon drains. */
void manager_ready(struct manager *m);
void manager_reloading(void);
void manager_stopping(void);

/*
 * For a daemon that cannot start: a manager would start it again at once, for ever. Says why in the status and returns
 * after a second, or when a signal tells it to leave. Without a manager returns at once.
 */
void manager_failed(const char *why);

/* For how long the main thread may sleep, -1: for ever; and what it does when it has woken up. */
int manager_sleep_ms(const struct manager *m);
void manager_turn(struct manager *m);

#endif
