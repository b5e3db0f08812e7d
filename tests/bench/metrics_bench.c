/* SPDX-License-Identifier: MIT */
/*
 * What counting costs: does for every request, batch and turn what a worker does for its metrics, and nothing else;
 * what a loop takes that does as good as nothing for each request is not in it.
 * metrics_bench fd|inline|copy|ring|lookup BATCH REQUESTS: prints nanoseconds of CPU time for each request.
 */
#include "base/clock.h"
#include "objmapperd/connection.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/ring_entry.h"
#include "objmapperd/sampling.h"
#include "protocol/v3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KINDS 5
#define SIZES 8

static const struct {
        const char *name;
        enum metrics_transport transport;
        uint8_t mode;
        bool body;
} kinds[KINDS] = {
        {"fd", METRICS_UNIX, OBJM_MODE_FD, false},
        {"inline", METRICS_UNIX, OBJM_MODE_INLINE, true},
        {"copy", METRICS_UNIX, OBJM_MODE_COPY, true},
        {"ring", METRICS_RING, OBJM_MODE_INLINE, true},
        {"lookup", METRICS_RING, 0, false},
};

static struct metrics *m;
static struct connection_report report;
static struct metrics_record pending[WORKER_PENDING];
static struct reply replies[SIZES];
static struct metrics_record records[SIZES];
static struct sampling sampling;
static struct rings_count counted;
static unsigned n_pending;

static void make_replies(unsigned kind)
{
        for (unsigned i = 0; i < SIZES; i++)
                replies[i] = (struct reply){.op = OBJM_V3_OP_GET, .mode = kinds[kind].mode, .asked = kinds[kind].mode,
                                            .body = kinds[kind].body, .body_len = 1000 + 100 * i, .fd = -1,
                                            .info.size = 1000 + 100 * i, .id = i};
        for (unsigned i = 0; i < SIZES; i++)
                if (kinds[kind].body)
                        records[i] = ring_entry_record_object(&replies[i], METRICS_INLINE, replies[i].body_len);
                else
                        records[i] = (struct metrics_record){.size = replies[i].info.size, .mode = METRICS_STAT,
                                                             .fallback = METRICS_N_FALLBACKS};
}

static void count_ring(uint64_t start, uint64_t end)
{
        if (n_pending)
                metrics_count(m, METRICS_RING, pending, n_pending, start, end);
        n_pending = 0;
        if (counted.known)
                metrics_count_ok(m, METRICS_RING, METRICS_STAT, counted.known, 0);
        if (counted.bodies)
                metrics_count_ok(m, METRICS_RING, METRICS_INLINE, counted.bodies, counted.bytes);
        counted = (struct rings_count){0};
}

/* One request; @keep: in a turn of which records are kept. */
static void ring_reply(const struct metrics_record *r, bool body, bool keep)
{
        __asm__ volatile("" : : : "memory"); /* other things are done between two requests */
        if (keep) {
                pending[n_pending++] = *r;
                return;
        }
        if (!body) {
                counted.known++;
                return;
        }
        counted.bodies++;
        counted.bytes += r->bytes;
        metrics_hand_out(m, r->size);
}

/* Of the connection. */
static void ring_report(unsigned batch, unsigned from, uint64_t bytes)
{
        bytes = counted.bytes - bytes;
        for (unsigned i = from; i < n_pending; i++)
                bytes += pending[i].bytes;
        objm_tally_add(&report.requests, batch);
        if (bytes)
                objm_tally_add(&report.bytes, bytes);
        sampling_add(&sampling, batch + 4 * (n_pending - from) + bytes / 1024);
}

/* As worker_turn.c, rings.c, ring_turn.c and ring_request.c do it. */
static void ring_turn(unsigned kind, unsigned batch)
{
        bool timed = sampling_pick(&sampling);
        uint64_t now = timed ? objm_clock_ns() : 0, bytes;
        unsigned from;

        if (timed) {
                count_ring(0, 0);
                metrics_enter(m, METRICS_WORKING, now);
                atomic_store_explicit(&report.last_ns, now, memory_order_relaxed);
        }
        if (n_pending + RING_TURN > RINGS_PENDING)
                count_ring(0, 0);
        from = n_pending;
        bytes = counted.bytes;
        for (unsigned i = 0; i < batch; i++)
                ring_reply(&records[i % SIZES], kinds[kind].body, timed);
        counted.found += batch;
        ring_report(batch, from, bytes);
        if (!timed) {
                metrics_pass(m, 1);
                return;
        }
        metrics_turn(m, 1);
        count_ring(now, objm_clock_ns());
        metrics_enter(m, METRICS_POLLING, now + 1000);
}

/* As worker.c, connection.c and exchange.c do it. */
static void turn(unsigned kind, unsigned batch, uint64_t now)
{
        uint64_t bytes, after;

        metrics_enter(m, METRICS_SLEEPING, now);
        metrics_enter(m, METRICS_WORKING, now + 1000);
        objm_tally_add(&m->turns, 1);
        metrics_tally(m, &m->wait, 0);
        for (unsigned i = 0; i < batch; i++)
                pending[i] = metrics_record_of(&replies[i % SIZES]);
        after = objm_clock_ns();
        bytes = metrics_count(m, kinds[kind].transport, pending, batch, now, after);
        objm_tally_add(&report.requests, batch);
        objm_tally_add(&report.bytes, bytes);
        atomic_store_explicit(&report.last_ns, after, memory_order_relaxed);
        metrics_tally(m, &m->ready, 1);
}

static void empty_turn(unsigned batch)
{
        for (unsigned i = 0; i < batch; i++)
                __asm__ volatile("" : : "r"(records[i % SIZES].size));
}

static unsigned batch_max(unsigned kind)
{
        return kinds[kind].transport == METRICS_RING ? RING_TURN : WORKER_PENDING;
}

static uint64_t cpu_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t)ts.tv_sec * OBJM_NS_PER_S + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
        struct metrics_all all;
        unsigned kind = 0, batch = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
        uint64_t n = argc == 4 ? strtoull(argv[3], NULL, 10) : 0, turns, began, empty, now = objm_clock_ns();

        while (argc == 4 && kind < KINDS && strcmp(argv[1], kinds[kind].name) != 0)
                kind++;
        if (argc != 4 || kind == KINDS || !batch || batch > batch_max(kind) || n < batch) {
                fprintf(stderr, "usage: metrics_bench fd|inline|copy|ring|lookup BATCH REQUESTS\n");
                return 2;
        }
        metrics_all_init(&all);
        m = metrics_begin(&all);
        if (!m)
                return 1;
        make_replies(kind);
        sampling_init(&sampling, now);
        turns = n / batch;
        began = cpu_ns();
        for (uint64_t i = 0; i < turns; i++)
                empty_turn(batch);
        empty = cpu_ns() - began;
        began = cpu_ns();
        for (uint64_t i = 0; i < turns; i++)
                if (kinds[kind].transport == METRICS_RING)
                        ring_turn(kind, batch);
                else
                        turn(kind, batch, now + i);
        printf("%.3f\n", (double)(cpu_ns() - began - empty) / (double)(turns * batch));
        metrics_end(&all, m);
        metrics_all_deinit(&all);
        return 0;
}
