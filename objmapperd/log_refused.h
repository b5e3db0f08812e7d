/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LOG_REFUSED_H
#define OBJMAPPERD_LOG_REFUSED_H
/*
 * Lines about clients that were refused, or cut off: a rate limit of its own for each kind, so that a flood of one
 * does not hide another. To add a kind: here, in the names of log_refused.c, and in objmapperd(8).
 */
#include "base/attr.h"
#include <stdint.h>
#include <sys/types.h>

enum log_refusal {
        LOG_REFUSED_CONNECTIONS,     /* as many as allowed are open */
        LOG_REFUSED_UID_CONNECTIONS, /* the same for one user */
        LOG_REFUSED_UID_REQUESTS,    /* more requests a second than one user has */
        LOG_REFUSED_UID_DESCRIPTORS, /* more descriptors, or bytes, unread than one user has */
        LOG_REFUSED_RESOURCES,       /* no memory, descriptor or thread for it */
        LOG_REFUSED_DENIED,          /* not for this user: an export, a control operation */
        LOG_REFUSED_PROTOCOL,        /* bytes that are no request */
        LOG_REFUSED_SLOW,            /* does not read what it asked for, or does not finish asking */
        LOG_N_REFUSALS,
};

#define LOG_NO_UID ((uid_t)-1)

/* One line with priority notice. @uid is the client's, LOG_NO_UID over TCP and where it is not known. Any thread. */
void log_refused(enum log_refusal kind, uid_t uid, const char *format, ...) objm_printf(3, 4);

/* How many there have been, also those without a line. */
uint64_t log_refused_count(enum log_refusal kind);

/* The kind's name, as in the field OBJMAPPER_REFUSED: "uid-connections". */
const char *log_refusal_name(enum log_refusal kind);

#endif
