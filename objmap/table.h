/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_TABLE_H
#define OBJMAP_TABLE_H
/*
 * What `stats` and `top` print, on standard output.
 */
#include "objmap/samples.h"

/*
 * A line for each transport and mode: requests, errors and bytes, and the quantiles of the time that they took. Of what
 * has been since @before, @seconds earlier, and then a second; NULL: since the start.
 */
void table_requests(const struct samples *now, const struct samples *before, double seconds);

/* Every other number but buckets, a line each. */
void table_rest(const struct samples *now);

/* The connections whose last reply is the latest, up to @max. */
void table_clients(const struct samples *now, size_t max);

#endif
