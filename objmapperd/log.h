/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LOG_H
#define OBJMAPPERD_LOG_H
/*
 * The daemon's log: one line a call, to the journal with its priority when standard error is the journal's socket
 * (JOURNAL_STREAM, see systemd.exec(5)), else to standard error as "objmapperd: text" in one write(2). Bytes that are
 * not printable become \xNN, so that a URI cannot forge a line. Any thread may call everything here.
 */
#include "base/attr.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

/* @level: the least urgent priority that is shown (LOG_ERR .. LOG_DEBUG). @to_stderr: never use the journal. */
void log_init(int level, bool to_stderr);
void log_set_level(int level);
bool log_shows(int priority);

void log_line(int priority, const char *format, ...) objm_printf(2, 3);

/* Fits objm_store_log_fn. */
void log_text(void *userdata, int priority, const char *text);

/* For lines that clients can cause: at most LOG_LIMIT_BURST of a kind in LOG_LIMIT_WINDOW_S seconds. */
#define LOG_LIMIT_BURST    10
#define LOG_LIMIT_WINDOW_S 10

struct log_limit {
        pthread_mutex_t lock; /* held for a few instructions; no other lock is taken under it */
        uint64_t window_ns;   /* when the window began, 0: never */
        unsigned shown, left_out;
};

#define LOG_LIMIT_INIT {.lock = PTHREAD_MUTEX_INITIALIZER}

/*
 * May a line be shown at time @now_ns (objm_clock_ns())? When true, *ret_left_out is how many were refused since the
 * last one that was shown.
 */
bool log_limit_take(struct log_limit *l, uint64_t now_ns, unsigned *ret_left_out);

/* As log_line(), within the limit; says how many lines were left out before it. */
void log_limited(struct log_limit *l, int priority, const char *format, ...) objm_printf(3, 4);

#endif
