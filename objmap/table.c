/* SPDX-License-Identifier: MIT */
#include "objmap/table.h"

#include "objmap/interval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX 96

static const double quantiles[] = {0.5, 0.99, 0.999};

struct row {
        char transport[16], mode[16];
};

/* "transport="x",mode="y"": how classes are labelled, and how each of their samples begins. */
static void class_labels(const struct row *r, char buf[LABELS_MAX])
{
        snprintf(buf, LABELS_MAX, "transport=\"%s\",mode=\"%s\"", r->transport, r->mode);
}

struct totals {
        double requests, errors, bytes;
};

static struct totals totals_of(const struct samples *s, const char *labels)
{
        struct totals t = {.bytes = samples_get(s, "body_bytes_total", labels)};
        size_t len = strlen(labels);

        for (size_t i = 0; i < s->n; i++) {
                const struct sample *m = &s->item[i];

                if (!sample_is(m, "requests_total") || strncmp(m->labels, labels, len) != 0 || m->labels[len] != ',')
                        continue;
                t.requests += m->value;
                if (!strstr(m->labels, "status=\"ok\""))
                        t.errors += m->value;
        }
        return t;
}

static void print_time(double seconds)
{
        if (isnan(seconds))
                printf(" %10s", "-");
        else if (seconds < 1e-3)
                printf(" %8.1fus", seconds * 1e6);
        else if (seconds < 1)
                printf(" %8.1fms", seconds * 1e3);
        else
                printf(" %9.2fs", seconds);
}

/* Those of an interval the daemon does not know, and those since its start it knows more exactly than by buckets. */
static double quantile(const struct samples *now, const struct samples *before, const char *labels, double q)
{
        char full[LABELS_MAX + 32];

        if (before)
                return interval_quantile(now, before, "request_duration_seconds", labels, q);
        snprintf(full, sizeof(full), "%s,quantile=\"%g\"", labels, q);
        return samples_get(now, "request_quantile_seconds", full);
}

static void print_row(const struct row *r, const struct samples *now, const struct samples *before, double seconds)
{
        char labels[LABELS_MAX];
        struct totals t, was = {.requests = 0};

        class_labels(r, labels);
        t = totals_of(now, labels);
        if (before)
                was = totals_of(before, labels);
        printf("%-9s %-8s %12.0f %10.0f %15.0f", r->transport, r->mode, (t.requests - was.requests) / seconds,
               (t.errors - was.errors) / seconds, (t.bytes - was.bytes) / seconds);
        for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
                print_time(quantile(now, before, labels, quantiles[i]));
        putchar('\n');
}

void table_requests(const struct samples *now, const struct samples *before, double seconds)
{
        const char *per = before ? "/s" : "";

        printf("%-9s %-8s %10s%2s %8s%2s %13s%2s %10s %10s %10s\n", "transport", "mode", "requests", per, "errors", per,
               "bytes", per, "p50", "p99", "p99.9");
        for (size_t i = 0; i < now->n; i++) {
                struct row r;

                if (!sample_is(&now->item[i], "body_bytes_total"))
                        continue;
                sample_label(&now->item[i], "transport", r.transport, sizeof(r.transport));
                sample_label(&now->item[i], "mode", r.mode, sizeof(r.mode));
                print_row(&r, now, before, before ? seconds : 1);
        }
}

static bool is_elsewhere(const struct sample *s)
{
        size_t len = strlen(s->name);

        return sample_is(s, "requests_total") || sample_is(s, "body_bytes_total") ||
               sample_is(s, "request_quantile_seconds") || strncmp(s->name, "objmapper_client_", 17) == 0 ||
               strncmp(s->name, "objmapper_request_duration", 26) == 0 ||
               (len > 7 && strcmp(s->name + len - 7, "_bucket") == 0);
}

static const char *short_name(const struct sample *s)
{
        size_t len = strlen("objmapper_");

        return strncmp(s->name, "objmapper_", len) == 0 ? s->name + len : s->name;
}

void table_rest(const struct samples *now)
{
        for (size_t i = 0; i < now->n; i++) {
                const struct sample *s = &now->item[i];
                char name[160];

                if (is_elsewhere(s))
                        continue;
                snprintf(name, sizeof(name), "%s%s%s%s", short_name(s), s->labels[0] ? "{" : "", s->labels,
                         s->labels[0] ? "}" : "");
                printf("%-60s %20.15g\n", name, s->value);
        }
}

static int by_value(const void *a, const void *b)
{
        const struct sample *x = *(const struct sample *const *)a, *y = *(const struct sample *const *)b;

        return (x->value > y->value) - (x->value < y->value);
}

static void print_client(const struct samples *now, const struct sample *idle)
{
        char transport[16], uid[16], waits[16];

        sample_label(idle, "transport", transport, sizeof(transport));
        sample_label(idle, "uid", uid, sizeof(uid));
        sample_label(idle, "waits", waits, sizeof(waits));
        printf("%-9s %10s %-8s %12.0f %15.0f %12.3f %12.3f\n", transport, uid, waits,
               samples_get(now, "client_requests", idle->labels), samples_get(now, "client_body_bytes", idle->labels),
               samples_get(now, "client_open_seconds", idle->labels), idle->value);
}

void table_clients(const struct samples *now, size_t max)
{
        const struct sample **found = calloc(now->n + 1, sizeof(const struct sample *));
        size_t n = 0;

        if (!found)
                return;
        for (size_t i = 0; i < now->n; i++)
                if (sample_is(&now->item[i], "client_idle_seconds"))
                        found[n++] = &now->item[i];
        qsort(found, n, sizeof(const struct sample *), by_value);
        printf("%-9s %10s %-8s %12s %15s %12s %12s\n", "client", "uid", "waits", "requests", "bytes", "open s",
               "idle s");
        for (size_t i = 0; i < n && i < max; i++)
                print_client(now, found[i]);
        free(found);
}
