/* SPDX-License-Identifier: MIT */
#include "objmapperd/sink.h"

#include "base/attr.h"
#include "base/clock.h"

#include <inttypes.h>

static bool is_label(const struct sink_label *labels, unsigned i)
{
        return labels && i < SINK_LABELS_MAX && labels[i].name;
}

static void print_value(struct sink *s, uint64_t value)
{
        if (s->family->unit == SINK_NS)
                fprintf(s->out, "%" PRIu64 ".%09" PRIu64, value / OBJM_NS_PER_S, value % OBJM_NS_PER_S);
        else
                fprintf(s->out, "%" PRIu64, value);
}

/* ---- text ---- */

/* Edges of buckets: powers of two, from 2^low to 2^high, each 2^step times the one before. */
static const struct {
        unsigned low, high, step;
} edges[] = {
        [SINK_NUMBER] = {0, 24, 2},
        [SINK_BYTES] = {6, 34, 2},
        [SINK_NS] = {10, 34, 1}, /* 1 us to 17 s */
};

static void text_begin(struct sink *s)
{
}

static void text_family(struct sink *s)
{
        static const char *const types[] = {"counter", "gauge", "histogram"};
        static const char *const units[] = {[SINK_BYTES] = "bytes", [SINK_NS] = "seconds"};
        const struct sink_family *f = s->family;

        fprintf(s->out, "# TYPE objmapper_%s %s\n", f->name, types[f->type]);
        if (f->unit != SINK_NUMBER)
                fprintf(s->out, "# UNIT objmapper_%s %s\n", f->name, units[f->unit]);
        fprintf(s->out, "# HELP objmapper_%s %s\n", f->name, f->help);
}

/* @edge: of a bucket, NULL: none. */
static void text_name(struct sink *s, const char *suffix, const struct sink_label *labels, const char *edge)
{
        char before = '{';

        fprintf(s->out, "objmapper_%s%s", s->family->name, suffix);
        for (unsigned i = 0; is_label(labels, i); i++, before = ',')
                fprintf(s->out, "%c%s=\"%s\"", before, labels[i].name, labels[i].value);
        if (edge)
                fprintf(s->out, "%cle=\"%s\"", before, edge);
        fputs(edge || before == ',' ? "} " : " ", s->out);
}

static void text_sample(struct sink *s, const struct sink_label *labels, uint64_t value)
{
        text_name(s, s->family->type == SINK_COUNTER ? "_total" : "", labels, NULL);
        print_value(s, value);
        fputc('\n', s->out);
}

static void text_bucket(struct sink *s, const struct sink_label *labels, const char *edge, uint64_t count)
{
        text_name(s, "_bucket", labels, edge);
        fprintf(s->out, "%" PRIu64 "\n", count);
}

/* What is below @end. */
static void text_edge(struct sink *s, const struct sink_label *labels, uint64_t end, uint64_t count)
{
        char edge[32];

        if (s->family->unit == SINK_NS)
                snprintf(edge, sizeof(edge), "%.12g", (double)(end - 1) / (double)OBJM_NS_PER_S);
        else
                snprintf(edge, sizeof(edge), "%" PRIu64, end - 1);
        text_bucket(s, labels, edge, count);
}

static uint64_t text_octaves(struct sink *s, const struct sink_label *labels, const struct objm_tally *t)
{
        enum sink_unit unit = s->family->unit;
        uint64_t count = 0, last = 0;

        for (unsigned bit = edges[unit].low; bit <= edges[unit].high; bit += edges[unit].step) {
                uint64_t at = UINT64_C(1) << bit;

                count += objm_tally_between(t, last, at);
                last = at;
                text_edge(s, labels, at, count);
        }
        return count + objm_tally_between(t, last, OBJM_TALLY_MAX) + objm_tally_get(&t->bucket[OBJM_TALLY_BUCKETS - 1]);
}

static uint64_t text_steps(struct sink *s, const struct sink_label *labels, const struct objm_tally *t)
{
        uint64_t count = 0;

        for (unsigned i = 0; i < OBJM_TALLY_BUCKETS; i++) {
                uint64_t n = objm_tally_get(&t->bucket[i]);

                count += n;
                if (n && i < OBJM_TALLY_BUCKETS - 1)
                        text_edge(s, labels, objm_octave_edge(i, OBJM_TALLY_SUB_BITS) + 1, count);
        }
        return count;
}

static void text_histogram(struct sink *s, const struct sink_label *labels, const struct objm_tally *t)
{
        uint64_t count = s->fine ? text_steps(s, labels, t) : text_octaves(s, labels, t);

        text_bucket(s, labels, "+Inf", count);
        text_name(s, "_sum", labels, NULL);
        print_value(s, objm_tally_get(&t->sum));
        fputc('\n', s->out);
        text_name(s, "_count", labels, NULL);
        fprintf(s->out, "%" PRIu64 "\n", count);
}

static void text_end(struct sink *s)
{
        fputs("# EOF\n", s->out);
}

const struct sink_ops sink_text = {
        .begin = text_begin, .family = text_family, .sample = text_sample, .histogram = text_histogram, .end = text_end,
};

/* ---- JSON ---- */

static void json_begin(struct sink *s)
{
        fputc('{', s->out);
}

static void json_family(struct sink *s)
{
        if (s->more)
                fputs("], ", s->out);
        fprintf(s->out, "\"objmapper_%s%s\": [", s->family->name, s->family->type == SINK_COUNTER ? "_total" : "");
}

static void json_labels(struct sink *s, const struct sink_label *labels)
{
        fputs(s->more_samples ? ", {" : "{", s->out);
        for (unsigned i = 0; is_label(labels, i); i++)
                fprintf(s->out, "\"%s\": \"%s\", ", labels[i].name, labels[i].value);
}

static void json_sample(struct sink *s, const struct sink_label *labels, uint64_t value)
{
        json_labels(s, labels);
        fputs("\"value\": ", s->out);
        print_value(s, value);
        fputc('}', s->out);
}

static void json_histogram(struct sink *s, const struct sink_label *labels, const struct objm_tally *t)
{
        static const struct {
                const char *name;
                double q;
        } quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};

        json_labels(s, labels);
        fprintf(s->out, "\"count\": %" PRIu64 ", \"sum\": ", objm_tally_count(t));
        print_value(s, objm_tally_get(&t->sum));
        for (unsigned i = 0; i < objm_array_len(quantiles); i++) {
                fprintf(s->out, ", \"%s\": ", quantiles[i].name);
                print_value(s, objm_tally_quantile(t, quantiles[i].q));
        }
        fputc('}', s->out);
}

static void json_end(struct sink *s)
{
        fputs(s->more ? "]}" : "}", s->out);
}

const struct sink_ops sink_json = {
        .begin = json_begin, .family = json_family, .sample = json_sample, .histogram = json_histogram, .end = json_end,
};

/* ---- for both ---- */

void sink_begin(struct sink *s, const struct sink_ops *ops, FILE *out)
{
        *s = (struct sink){.ops = ops, .out = out};
        ops->begin(s);
}

void sink_family(struct sink *s, const struct sink_family *family)
{
        s->family = family;
        s->ops->family(s);
        s->more = true;
        s->more_samples = false;
}

void sink_sample(struct sink *s, const struct sink_label *labels, uint64_t value)
{
        s->ops->sample(s, labels, value);
        s->more_samples = true;
}

void sink_histogram(struct sink *s, const struct sink_label *labels, const struct objm_tally *t)
{
        s->ops->histogram(s, labels, t);
        s->more_samples = true;
}

void sink_end(struct sink *s)
{
        s->ops->end(s);
}
