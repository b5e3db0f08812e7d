/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_INTERVAL_H
#define OBJMAP_INTERVAL_H
/*
 * What came to a histogram between two reports: the difference of both, bucket by bucket.
 */
#include "objmap/samples.h"

/*
 * Quantile @q (0..1) of the values that @now has more than @before in histogram @name (without "objmapper_") with
 * exactly @labels; the upper edge of its bucket. NAN: there are none. @before NULL: of all that @now has. A bucket that
 * is not listed is as empty as it makes no difference to the one below.
 */
double interval_quantile(const struct samples *now, const struct samples *before, const char *name, const char *labels,
                         double q);

#endif
