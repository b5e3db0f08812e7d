/* SPDX-License-Identifier: MIT */
#include "objmapperd/log_limit.h"

#include "base/clock.h"
#include "objmapperd/log.h"

#include <stdarg.h>
#include <stdio.h>

#define PERIOD_NS (LOG_LIMIT_PERIOD_S * OBJM_NS_PER_S)

/*
 * A bucket that was empty longer ago than it takes to fill is full, no more; one that was never used is full. Who had
 * to wait for the lock may have looked at the time before the bucket was last emptied.
 */
static bool take_locked(struct log_limit *l, uint64_t now_ns)
{
        const int64_t period = (int64_t)PERIOD_NS, full = LOG_LIMIT_BURST * period;
        int64_t age = (int64_t)(now_ns - l->since_ns);

        if (!l->since_ns || age > full) {
                l->since_ns = now_ns - (uint64_t)full;
                age = full;
        }
        if (age < period)
                return false;
        l->since_ns += PERIOD_NS;
        return true;
}

bool log_limit_take(struct log_limit *l, uint64_t now_ns, unsigned *ret_left_out)
{
        bool take;

        pthread_mutex_lock(&l->lock);
        take = take_locked(l, now_ns);
        if (take)
                *ret_left_out = l->left_out;
        l->left_out = take ? 0 : l->left_out + 1;
        pthread_mutex_unlock(&l->lock);
        return take;
}

void log_limited(struct log_limit *l, int priority, const char *format, ...)
{
        char text[1024];
        unsigned left_out;
        va_list ap;

        if (!log_shows(priority) || !log_limit_take(l, objm_clock_ns(), &left_out))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (left_out > 0)
                log_about(priority, &(struct log_about){.suppressed = left_out}, "%s (%u more suppressed)", text,
                          left_out);
        else
                log_text(NULL, priority, text);
}
