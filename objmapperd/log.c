/* SPDX-License-Identifier: MIT */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "log.h"
#include "base/clock.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048
#define PREFIX         "objmapperd: "

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
static size_t escape(char *line, size_t at, const char *text)
{
        static const char hex[] = "0123456789abcdef";

        for (; *text && at + 4 + 2 <= LINE_MAX_BYTES; text++) {
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
        return at;
}

void log_text(void *userdata, int priority, const char *text)
{
        char line[LINE_MAX_BYTES] = PREFIX;
        size_t len;
        int saved = errno;

        if (!log_shows(priority))
                return;
        len = escape(line, strlen(PREFIX), text);
        line[len] = '\0';
        if (atomic_load_explicit(&to_journal, memory_order_relaxed)) {
                sd_journal_print(priority, "%s", line + strlen(PREFIX));
        } else {
                line[len++] = '\n';
                /* Nobody can be told that the log is lost. */
                if (write(STDERR_FILENO, line, len) < 0)
                        errno = saved;
        }
        errno = saved;
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

bool log_limit_take(struct log_limit *l, uint64_t now_ns, unsigned *ret_left_out)
{
        bool take;

        pthread_mutex_lock(&l->lock);
        if (l->window_ns == 0 || now_ns - l->window_ns >= LOG_LIMIT_WINDOW_S * OBJM_NS_PER_S) {
                l->window_ns = now_ns;
                l->shown = 0;
        }
        take = l->shown < LOG_LIMIT_BURST;
        if (take) {
                l->shown++;
                *ret_left_out = l->left_out;
                l->left_out = 0;
        } else {
                l->left_out++;
        }
        pthread_mutex_unlock(&l->lock);
        return take;
}

void log_limited(struct log_limit *l, int priority, const char *format, ...)
{
        char text[LINE_MAX_BYTES];
        unsigned left_out;
        va_list ap;

        if (!log_shows(priority) || !log_limit_take(l, objm_clock_ns(), &left_out))
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (left_out > 0)
                log_line(priority, "%s (%u lines like this left out)", text, left_out);
        else
                log_text(NULL, priority, text);
}
