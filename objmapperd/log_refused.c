/* SPDX-License-Identifier: MIT */
#include "objmapperd/log_refused.h"

#include "base/clock.h"
#include "objmapperd/log.h"
#include "objmapperd/log_limit.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static struct {
        const char *name;
        struct log_limit limit;
        _Atomic uint64_t count;
} kinds[LOG_N_REFUSALS] = {
        [LOG_REFUSED_CONNECTIONS] = {"connections", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_UID_CONNECTIONS] = {"uid-connections", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_UID_REQUESTS] = {"uid-requests", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_UID_DESCRIPTORS] = {"uid-descriptors", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_RESOURCES] = {"resources", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_DENIED] = {"denied", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_PROTOCOL] = {"protocol", LOG_LIMIT_INIT, 0},
        [LOG_REFUSED_SLOW] = {"slow", LOG_LIMIT_INIT, 0},
};

const char *log_refusal_name(enum log_refusal kind)
{
        return kinds[kind].name;
}

uint64_t log_refused_count(enum log_refusal kind)
{
        return atomic_load_explicit(&kinds[kind].count, memory_order_relaxed);
}

/* "uid 1000: text (5 more suppressed)" */
void log_refused(enum log_refusal kind, uid_t uid, const char *format, ...)
{
        struct log_about about = {.message = LOG_MESSAGE_REFUSED, .refused = kinds[kind].name};
        char text[1024], who[32] = "", more[48] = "";
        va_list ap;

        atomic_fetch_add_explicit(&kinds[kind].count, 1, memory_order_relaxed);
        if (!log_shows(LOG_NOTICE) || !log_limit_take(&kinds[kind].limit, objm_clock_ns(), &about.suppressed))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        about.has_uid = uid != LOG_NO_UID;
        about.uid = uid;
        if (about.has_uid)
                snprintf(who, sizeof(who), "uid %u: ", uid);
        if (about.suppressed)
                snprintf(more, sizeof(more), " (%u more suppressed)", about.suppressed);
        log_about(LOG_NOTICE, &about, "%s%s%s", who, text, more);
}
