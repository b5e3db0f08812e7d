/* SPDX-License-Identifier: MIT */
#include "objmapperd/stats.h"

#include "base/clock.h"
#include "base/fd.h"
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
        fprintf(out, "\", \"uptime_s\": %.3f, \"draining\": %s",
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

int stats_json(struct server *s, const struct snapshot *snap, char **ret, size_t *ret_len)
{
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        bool failed;

        if (!out)
                return -ENOMEM;
        print_daemon(out, s);
        print_counts(out, s);
        print_limits(out, &s->limited);
        print_index(out, snap);
        fputs("}\n", out);
        failed = ferror(out);
        if (fclose(out) != 0 || failed) {
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

int stats_open(struct server *s, const struct snapshot *snap, int *ret_fd, uint64_t *ret_len)
{
        char *text objm_cleanup(objm_freep) = NULL;
        int fd objm_cleanup(objm_fd_closep) = -1;
        size_t len;
        int r = stats_json(s, snap, &text, &len);

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
