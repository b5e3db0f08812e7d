/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LOG_H
#define OBJMAPPERD_LOG_H
/*
 * The daemon's log: one line a call, to the journal with its priority when standard error is the journal's socket
 * (JOURNAL_STREAM, see systemd.exec(5)), else to standard error as "objmapperd: text" in one write(2). Bytes that are
 * not printable become \xNN, so that a URI cannot forge a line. Any thread may call everything here. Lines that clients
 * can cause go through log_limit.h or log_refused.h; there is none for each request.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <sys/types.h>
#include <syslog.h>

/* @level: the least urgent priority that is shown (LOG_ERR .. LOG_DEBUG). @to_stderr: never use the journal. */
void log_init(int level, bool to_stderr);
void log_set_level(int level);
bool log_shows(int priority);

void log_line(int priority, const char *format, ...) objm_printf(2, 3);

/* Fits objm_store_log_fn. */
void log_text(void *userdata, int priority, const char *text);

/* Lines that people search the journal for; each has a MESSAGE_ID of its own, listed in objmapperd(8). */
enum log_message {
        LOG_MESSAGE_NONE,
        LOG_MESSAGE_READY,
        LOG_MESSAGE_DRAINING,
        LOG_MESSAGE_RELOADED,
        LOG_MESSAGE_NOT_RELOADED,
        LOG_MESSAGE_REFUSED,
        LOG_MESSAGE_EXPORT, /* an export that cannot be served */
};

/* What a line is about, as fields of its journal entry beside the text. What does not apply stays 0. */
struct log_about {
        enum log_message message;
        bool has_uid;
        uid_t uid;            /* OBJMAPPER_UID: of the client */
        const char *export;   /* OBJMAPPER_EXPORT: its prefix */
        const char *refused;  /* OBJMAPPER_REFUSED: which limit, see log_refused.h */
        unsigned suppressed;  /* OBJMAPPER_SUPPRESSED: lines of the kind left out before this; also said in the text */
};

void log_about(int priority, const struct log_about *about, const char *format, ...) objm_printf(3, 4);
void log_about_text(int priority, const struct log_about *about, const char *text);

#endif
