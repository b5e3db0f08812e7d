/* SPDX-License-Identifier: MIT */
#include "objmapperd/stats.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/clients.h"
#include "objmapperd/families.h"
#include "objmapperd/hello.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *boolean(bool b)
{
        return b ? "true" : "false";
}

static void print_daemon(FILE *out, struct server *s)
{
        const uint8_t *instance = hello_instance();

        fprintf(out, "{\"version\": \"" OBJM_VERSION "\", \"instance\": \"");
        for (size_t i = 0; i < OBJM_V3_INSTANCE; i++)
                fprintf(out, "%02x", instance[i]);
        fprintf(out, "\", \"uptime_s\": %.6f, \"draining\": %s",
                (double)(objm_clock_ns() - s->started_ns) / (double)OBJM_NS_PER_S,
                boolean(atomic_load_explicit(&s->draining, memory_order_relaxed)));
}

static void print_counts(FILE *out, struct server *s)
{
        fprintf(out, ", \"connections\": {\"open\": %u, \"max\": %u}",
                atomic_load_explicit(&s->n_connections, memory_order_relaxed),
                atomic_load_explicit(&s->max_connections, memory_order_relaxed));
        fprintf(out, ", \"bodies\": {\"open\": %ld, \"max\": %ld}",
                atomic_load_explicit(&s->bodies, memory_order_relaxed),
                atomic_load_explicit(&s->max_bodies, memory_order_relaxed));
        fprintf(out, ", \"denied\": %" PRIu64, atomic_load_explicit(&s->denied, memory_order_relaxed));
}

static uint64_t value(const _Atomic uint64_t *counter)
{
        return atomic_load_explicit(counter, memory_order_relaxed);
}

static void print_limits(FILE *out, const struct server_limited *l)
{
        fprintf(out, ", \"limits\": {\"refused_connections\": %" PRIu64 ", \"refused_descriptors\": %" PRIu64
                ", \"pauses\": %" PRIu64 ", \"quarantined\": %" PRIu64 "}",
                value(&l->connections), value(&l->descriptors), value(&l->pauses), value(&l->quarantined));
}

static void print_index(FILE *out, const struct snapshot *snap)
{
        struct objm_store_counts n;

        objm_store_count(snap->store, &n);
        fprintf(out, ", \"index\": {\"objects\": %" PRIu64 ", \"scanned\": %" PRIu64 ", \"hits\": %" PRIu64
                ", \"misses\": %" PRIu64 ", \"dropped\": %" PRIu64 ", \"watches\": %" PRIu64
                ", \"scanning\": %s, \"in_step\": %s}",
                n.objects, n.scanned, n.hits, n.misses, n.dropped, n.watches, boolean(n.scanning),
                boolean(n.in_step));
}

/* ---- metrics ---- */

static void take_numbers(struct server *s, struct stats *st)
{
        long bodies = atomic_load_explicit(&s->bodies, memory_order_relaxed);
        long rings = atomic_load_explicit(&s->rings, memory_order_relaxed);
        uint64_t now = objm_clock_ns();

        st->rings = rings > 0 ? (uint64_t)rings : 0;
        st->uptime_ns = now - s->started_ns;
        st->connections_max = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
        st->bodies = bodies > 0 ? (uint64_t)bodies : 0;
        st->bodies_max = (uint64_t)atomic_load_explicit(&s->max_bodies, memory_order_relaxed);
        st->draining = atomic_load_explicit(&s->draining, memory_order_relaxed);
        st->connections = clients_look(s, now, NULL, 0, &st->connections_hot);
}

/* What is reported one by one. */
struct rows {
        struct client *client;
        size_t n;
};

static int take_rows(struct server *s, struct rows *ret)
{
        size_t n, hot;

        ret->client = calloc(STATS_CLIENTS_MAX, sizeof(*ret->client));
        if (!ret->client)
                return -ENOMEM;
        n = clients_look(s, objm_clock_ns(), ret->client, STATS_CLIENTS_MAX, &hot);
        ret->n = n < STATS_CLIENTS_MAX ? n : STATS_CLIENTS_MAX;
        return 0;
}

static int write_metrics(struct server *s, const struct snapshot *snap, const struct sink_ops *ops,
                         const struct rows *rows, FILE *out)
{
        struct sink sink;
        struct stats st;
        int r = metrics_sum(&s->metrics, &st.sum);

        if (r < 0)
                return r;
        objm_pool_count(s->pool, &st.pool);
        objm_store_count(snap->store, &st.index);
        take_numbers(s, &st);
        sink_begin(&sink, ops, out);
        sink.fine = rows->client; /* for whoever compares two reports */
        families_write(&st, &sink);
        if (ops == &sink_text && rows->client)
                families_write_clients(rows->client, rows->n, &sink);
        sink_end(&sink);
        metrics_deinit(&st.sum);
        return 0;
}

/* ---- connections ---- */

static void print_client(FILE *out, const struct client *c)
{
        fprintf(out, "{\"transport\": \"%s\", ", metrics_transport_names[c->tcp ? METRICS_TCP : METRICS_UNIX]);
        if (!c->tcp)
                fprintf(out, "\"uid\": %u, ", c->uid);
        fprintf(out, "\"requests\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"open_s\": %.6f, \"idle_s\": %.6f, "
                "\"waits\": \"%s\"}", c->requests, c->bytes, (double)c->open_ns / (double)OBJM_NS_PER_S,
                (double)c->idle_ns / (double)OBJM_NS_PER_S, client_waits_name(c->waits));
}

static void print_clients(FILE *out, const struct rows *rows)
{
        fputs(", \"clients\": [", out);
        for (size_t i = 0; i < rows->n; i++) {
                fputs(i ? ", " : "", out);
                print_client(out, &rows->client[i]);
        }
        fputc(']', out);
}

/* ---- the whole ---- */

static int print_json(struct server *s, const struct snapshot *snap, const struct rows *rows, FILE *out)
{
        int r;

        print_daemon(out, s);
        print_counts(out, s);
        print_limits(out, &s->limited);
        print_index(out, snap);
        fputs(", \"metrics\": ", out);
        r = write_metrics(s, snap, &sink_json, rows, out);
        if (rows->client)
                print_clients(out, rows);
        fputs("}\n", out);
        return r;
}

static int print(struct server *s, const struct snapshot *snap, enum objm_v3_stats form, FILE *out)
{
        bool text = form == OBJM_V3_STATS_TEXT || form == OBJM_V3_STATS_TEXT_CLIENTS;
        struct rows rows = {.client = NULL};
        int r = 0;

        if (form == OBJM_V3_STATS_CLIENTS || form == OBJM_V3_STATS_TEXT_CLIENTS)
                r = take_rows(s, &rows);
        if (r == 0)
                r = text ? write_metrics(s, snap, &sink_text, &rows, out) : print_json(s, snap, &rows, out);
        free(rows.client);
        return ferror(out) ? -ENOMEM : r;
}

int stats_print(struct server *s, const struct snapshot *snap, enum objm_v3_stats form, char **ret, size_t *ret_len)
{
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        int r;

        if (!out)
                return -ENOMEM;
        r = print(s, snap, form, out);
        if (fclose(out) != 0 || r < 0) {
                free(text);
                return -ENOMEM;
        }
        *ret = text;
        *ret_len = len;
        return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
        while (len) {
                ssize_t n = write(fd, data, len);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        data += n;
                        len -= (size_t)n;
                }
        }
        return 0;
}

int stats_open(struct server *s, const struct snapshot *snap, enum objm_v3_stats form, int *ret_fd, uint64_t *ret_len)
{
        char *text objm_cleanup(objm_freep) = NULL;
        int fd objm_cleanup(objm_fd_closep) = -1;
        size_t len;
        int r = stats_print(s, snap, form, &text, &len);

        if (r < 0)
                return r;
        fd = memfd_create("stats", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, len);
        if (r < 0)
                return r;
        *ret_fd = objm_fd_steal(&fd);
        *ret_len = len;
        return 0;
}
