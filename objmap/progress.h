/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_PROGRESS_H
#define OBJMAP_PROGRESS_H
/*
 * A line on the terminal for transfers that take longer than a second: bytes, rate, time left. Nothing at all when the
 * standard error is no terminal, or the bytes themselves go to one.
 */
#include <stdbool.h>
#include <stdint.h>

struct progress {
        bool on, shown;
        uint64_t total;
        uint64_t start_ns, shown_ns;
};

/* @to: where the bytes go. */
void progress_start(struct progress *p, int to, uint64_t total);
void progress_show(struct progress *p, uint64_t done);
/* Takes the line away. */
void progress_end(struct progress *p);

#endif
