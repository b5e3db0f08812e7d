/* SPDX-License-Identifier: MIT */
#include "objmap/interval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A walk over the buckets of one histogram, which are listed in the order of their edges and count all below, too. */
struct walk {
        const struct samples *samples; /* NULL: nothing */
        char name[96], labels[96];
        size_t at;
        double edge, count; /* of the bucket that was found last */
};

static struct walk begin(const struct samples *s, const char *name, const char *labels)
{
        struct walk w = {.samples = s};

        snprintf(w.name, sizeof(w.name), "%s_bucket", name);
        snprintf(w.labels, sizeof(w.labels), "%s%sle=\"", labels, labels[0] ? "," : "");
        return w;
}

/* The next bucket whose edge is not above @limit. */
static bool next(struct walk *w, double limit)
{
        size_t len = strlen(w->labels);

        for (; w->samples && w->at < w->samples->n; w->at++) {
                const struct sample *s = &w->samples->item[w->at];
                double edge;

                if (!sample_is(s, w->name) || strncmp(s->labels, w->labels, len) != 0)
                        continue;
                edge = strtod(s->labels + len, NULL); /* "+Inf" too */
                if (edge > limit)
                        return false;
                w->at++;
                w->edge = edge;
                w->count = s->value;
                return true;
        }
        return false;
}

static double total(struct walk w)
{
        while (next(&w, INFINITY))
                ;
        return w.count;
}

double interval_quantile(const struct samples *now, const struct samples *before, const char *name, const char *labels,
                         double q)
{
        struct walk n = begin(now, name, labels), b = begin(before, name, labels);
        double all = total(n) - total(b), more = 0;

        if (!(all > 0))
                return NAN;
        while (more < all && more <= q * all && next(&n, INFINITY)) {
                while (next(&b, n.edge))
                        ;
                more = n.count - b.count;
        }
        return n.edge;
}
