/* SPDX-License-Identifier: MIT */
#include "objmap/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FIRST_NS (OBJM_NS_PER_S)
#define EVERY_NS (200 * OBJM_NS_PER_MS)

void progress_start(struct progress *p, int to, uint64_t total)
{
        *p = (struct progress){.total = total, .start_ns = objm_clock_ns()};
        p->on = isatty(STDERR_FILENO) && !isatty(to);
}

/* "12.3 MiB" */
static void format_bytes(char *buf, size_t size, double n)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
        unsigned unit = 0;

        for (; n >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
                n /= 1024;
        snprintf(buf, size, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

static void format_time_left(char *buf, size_t size, double s)
{
        unsigned long n = s < 1e6 ? (unsigned long)s + 1 : 1000000;

        if (n >= 3600)
                snprintf(buf, size, ", %lu:%02lu:%02lu left", n / 3600, n / 60 % 60, n % 60);
        else
                snprintf(buf, size, ", %lu:%02lu left", n / 60, n % 60);
}

/* What is left out first comes last. */
struct line {
        char part[4][40];
};

static void format_line(struct line *l, uint64_t done, uint64_t total, double rate)
{
        char rate_text[24];

        *l = (struct line){0};
        format_bytes(l->part[0], sizeof(l->part[0]), (double)done);
        memcpy(l->part[1], " of ", 5);
        format_bytes(l->part[1] + 4, sizeof(l->part[1]) - 4, (double)total);
        format_bytes(rate_text, sizeof(rate_text), rate);
        snprintf(l->part[2], sizeof(l->part[2]), ", %s/s", rate_text);
        if (rate > 0 && done <= total)
                format_time_left(l->part[3], sizeof(l->part[3]), (double)(total - done) / rate);
}

/* A line that goes on below would stay there: nothing reaches the last column. */
static size_t columns(void)
{
        struct winsize w;

        return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col - 1u : 79;
}

static void draw(const struct line *l)
{
        size_t room = columns();

        fputs("\r", stderr);
        for (size_t i = 0; i < sizeof(l->part) / sizeof(l->part[0]) && strlen(l->part[i]) <= room; i++) {
                fputs(l->part[i], stderr);
                room -= strlen(l->part[i]);
        }
        fputs("\033[K", stderr);
}

void progress_show(struct progress *p, uint64_t done)
{
        struct line line;
        uint64_t now;

        if (!p->on)
                return;
        now = objm_clock_ns();
        if (now - p->start_ns < FIRST_NS || now - p->shown_ns < EVERY_NS)
                return;
        format_line(&line, done, p->total, (double)done / ((double)(now - p->start_ns) / (double)OBJM_NS_PER_S));
        draw(&line);
        p->shown = true;
        p->shown_ns = now;
}

void progress_end(struct progress *p)
{
        if (p->shown)
                fputs("\r\033[K", stderr);
        p->shown = false;
}
