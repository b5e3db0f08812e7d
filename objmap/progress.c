/* SPDX-License-Identifier: MIT */
#include "objmap/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

#define FIRST_NS (OBJM_NS_PER_S)
#define EVERY_NS (200 * OBJM_NS_PER_MS)

void progress_start(struct progress *p, int to, uint64_t total)
{
        *p = (struct progress){.total = total, .start_ns = objm_clock_ns()};
        p->on = isatty(STDERR_FILENO) && !isatty(to);
}

/* "12.3 MiB" */
static void print_bytes(double n)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
        unsigned unit = 0;

        for (; n >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
                n /= 1024;
        fprintf(stderr, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

static void print_time_left(double s)
{
        unsigned long n = s < 1e6 ? (unsigned long)s + 1 : 1000000;

        if (n >= 3600)
                fprintf(stderr, ", %lu:%02lu:%02lu left", n / 3600, n / 60 % 60, n % 60);
        else
                fprintf(stderr, ", %lu:%02lu left", n / 60, n % 60);
}

void progress_show(struct progress *p, uint64_t done)
{
        uint64_t now;
        double rate;

        if (!p->on)
                return;
        now = objm_clock_ns();
        if (now - p->start_ns < FIRST_NS || now - p->shown_ns < EVERY_NS)
                return;
        rate = (double)done / ((double)(now - p->start_ns) / (double)OBJM_NS_PER_S);
        fputs("\r", stderr);
        print_bytes((double)done);
        fputs(" of ", stderr);
        print_bytes((double)p->total);
        fputs(", ", stderr);
        print_bytes(rate);
        fputs("/s", stderr);
        if (rate > 0 && done <= p->total)
                print_time_left((double)(p->total - done) / rate);
        fputs("\033[K", stderr);
        p->shown = true;
        p->shown_ns = now;
}

void progress_end(struct progress *p)
{
        if (p->shown)
                fputs("\r\033[K", stderr);
        p->shown = false;
}
