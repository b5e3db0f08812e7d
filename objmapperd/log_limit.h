/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LOG_LIMIT_H
#define OBJMAPPERD_LOG_LIMIT_H
/*
 * A token bucket for lines that clients can cause: LOG_LIMIT_BURST at once, one more each LOG_LIMIT_PERIOD_S seconds.
 * What was left out is said with the next line that is shown. Any thread.
 */
#include "base/attr.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_BURST    10
#define LOG_LIMIT_PERIOD_S 10

struct log_limit {
        pthread_mutex_t lock; /* held for a few instructions; no other lock is taken under it */
        uint64_t since_ns;    /* when the bucket was, or would have been, empty */
        unsigned left_out;
};

#define LOG_LIMIT_INIT {.lock = PTHREAD_MUTEX_INITIALIZER}

/*
 * May a line be shown at time @now_ns (objm_clock_ns())? When true, *ret_left_out is how many were refused since the
 * last one that was shown.
 */
bool log_limit_take(struct log_limit *l, uint64_t now_ns, unsigned *ret_left_out);

/* As log_line(), within the limit; ends in "(N more suppressed)" when lines were left out before it. */
void log_limited(struct log_limit *l, int priority, const char *format, ...) objm_printf(3, 4);

#endif
