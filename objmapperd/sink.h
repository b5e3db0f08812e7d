/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SINK_H
#define OBJMAPPERD_SINK_H
/*
 * Where a report of metrics goes: OpenMetrics text, or members of a JSON object. Families are begun one after the other
 * and each is followed by its samples.
 *
 * Numbers are whole; those of nanoseconds are reported in seconds. In JSON a histogram is its count, sum, p50, p99 and
 * p999; in text its buckets, whose edges are what a value is at most.
 */
#include "base/tally.h"
#include <stdbool.h>
#include <stdio.h>

enum sink_type {
        SINK_COUNTER, /* only grows: the text calls its sample NAME_total */
        SINK_GAUGE,
        SINK_HISTOGRAM,
};

enum sink_unit {
        SINK_NUMBER,
        SINK_BYTES,
        SINK_NS, /* reported in seconds */
};

struct sink_family {
        const char *name; /* without "objmapper_"; ends in the unit, if there is one */
        const char *help;
        enum sink_type type;
        enum sink_unit unit;
};

/* Up to four, in this order; a NULL name ends them. Values need no escaping. */
struct sink_label {
        const char *name, *value;
};

#define SINK_LABELS_MAX 4

struct sink {
        const struct sink_ops *ops;
        FILE *out;
        const struct sink_family *family;
        bool more, more_samples;
        bool fine; /* text: histograms with every bucket there is, but for empty ones */
};

struct sink_ops {
        void (*begin)(struct sink *s);
        void (*family)(struct sink *s);
        void (*sample)(struct sink *s, const struct sink_label *labels, uint64_t value);
        void (*histogram)(struct sink *s, const struct sink_label *labels, const struct objm_tally *t);
        void (*end)(struct sink *s);
};

/* "# TYPE ..." and so on, up to "# EOF". */
extern const struct sink_ops sink_text;

/* "{FAMILY: [{LABEL: "...", "value": N}, ...], ...}", with the full names of the text. */
extern const struct sink_ops sink_json;

/* Errors are those of the FILE. */
void sink_begin(struct sink *s, const struct sink_ops *ops, FILE *out);
void sink_family(struct sink *s, const struct sink_family *family);
/* @labels may be NULL. */
void sink_sample(struct sink *s, const struct sink_label *labels, uint64_t value);
void sink_histogram(struct sink *s, const struct sink_label *labels, const struct objm_tally *t);
void sink_end(struct sink *s);

#endif
