/* SPDX-License-Identifier: MIT */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#define LINE_MAX_BYTES  2048
#define FIELD_MAX_BYTES 1024
#define PREFIX          "objmapperd: "

/* Set in log_init() and by a reload while other threads log; each stands alone, so relaxed is enough. */
static _Atomic int shown_level = LOG_INFO;
static _Atomic bool to_journal;

/* systemd names the socket it gave us as "DEVICE:INODE"; a redirected standard error no longer matches. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        char own[64];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        return strcmp(own, stream) == 0;
}

void log_init(int level, bool to_stderr)
{
        log_set_level(level);
        atomic_store_explicit(&to_journal, !to_stderr && stderr_is_journal(), memory_order_relaxed);
}

void log_set_level(int level)
{
        atomic_store_explicit(&shown_level, level, memory_order_relaxed);
}

bool log_shows(int priority)
{
        return priority <= atomic_load_explicit(&shown_level, memory_order_relaxed);
}

/* Copies @text behind @at, escaped; leaves room for a newline and a NUL. Returns the new end. */
static size_t escape(char *line, size_t at, size_t cap, const char *text)
{
        static const char hex[] = "0123456789abcdef";

        for (; *text && at + 4 + 2 <= cap; text++) {
                unsigned char c = (unsigned char)*text;

                if (c >= 0x20 && c != 0x7f) {
                        line[at++] = *text;
                        continue;
                }
                line[at++] = '\\';
                line[at++] = 'x';
                line[at++] = hex[c >> 4];
                line[at++] = hex[c & 15];
        }
        line[at] = '\0';
        return at;
}

/* ---- to the journal ---- */

/* Made by `systemd-id128 new`; never changed, because people search for them. */
static const char *const message_ids[] = {
        [LOG_MESSAGE_READY] = "61abc48061464f2cb1d064ce2e1d3cec",
        [LOG_MESSAGE_DRAINING] = "92e6b60b11a9478f8cd0cdadf9e56afe",
        [LOG_MESSAGE_RELOADED] = "e3191419552d4afc8cb762cf25ee570b",
        [LOG_MESSAGE_NOT_RELOADED] = "15c53549161b42f8bd9cf9f3e8827084",
        [LOG_MESSAGE_REFUSED] = "6fcaee1590f74984b5acff013a9bf8f3",
        [LOG_MESSAGE_EXPORT] = "606e805ad6e6406ca53fad09558d76b7",
};

struct entry {
        struct iovec field[8];
        int n;
        size_t len;
        char text[2 * LINE_MAX_BYTES]; /* what is before the message is far shorter than a line */
};

/* "NAME=value". What does not fit is cut. */
static void add(struct entry *e, const char *name, const char *value)
{
        bool message = strcmp(name, "MESSAGE") == 0;
        char *at = e->text + e->len;
        size_t cap = message ? LINE_MAX_BYTES : FIELD_MAX_BYTES, len;

        len = (size_t)snprintf(at, cap, "%s=", name);
        len = escape(at, len, cap, value);
        e->field[e->n++] = (struct iovec){.iov_base = at, .iov_len = len};
        e->len += len + 1;
}

static void add_number(struct entry *e, const char *name, unsigned value)
{
        char digits[16];

        snprintf(digits, sizeof(digits), "%u", value);
        add(e, name, digits);
}

static void send_entry(int priority, const struct log_about *about, const char *text)
{
        struct entry e = {.n = 0};

        add_number(&e, "PRIORITY", (unsigned)priority);
        if (about->message)
                add(&e, "MESSAGE_ID", message_ids[about->message]);
        if (about->has_uid)
                add_number(&e, "OBJMAPPER_UID", about->uid);
        if (about->refused)
                add(&e, "OBJMAPPER_REFUSED", about->refused);
        if (about->suppressed)
                add_number(&e, "OBJMAPPER_SUPPRESSED", about->suppressed);
        if (about->export)
                add(&e, "OBJMAPPER_EXPORT", about->export);
        add(&e, "MESSAGE", text);
        sd_journal_sendv(e.field, e.n);
}

/* ---- to standard error ---- */

static void write_line(const char *text)
{
        char line[LINE_MAX_BYTES] = PREFIX;
        size_t len = escape(line, strlen(PREFIX), sizeof(line), text);

        line[len++] = '\n';
        (void)!write(STDERR_FILENO, line, len); /* nobody can be told that the log is lost */
}

/* ---- for all ---- */

void log_about_text(int priority, const struct log_about *about, const char *text)
{
        int saved = errno;

        if (!log_shows(priority))
                return;
        if (atomic_load_explicit(&to_journal, memory_order_relaxed))
                send_entry(priority, about, text);
        else
                write_line(text);
        errno = saved;
}

void log_about(int priority, const struct log_about *about, const char *format, ...)
{
        char text[LINE_MAX_BYTES];
        va_list ap;

        if (!log_shows(priority))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        log_about_text(priority, about, text);
}

void log_text(void *userdata, int priority, const char *text)
{
        log_about_text(priority, &(struct log_about){.has_uid = false}, text);
}

void log_line(int priority, const char *format, ...)
{
        char text[LINE_MAX_BYTES];
        va_list ap;

        if (!log_shows(priority))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        log_text(NULL, priority, text);
}
