/* SPDX-License-Identifier: MIT */
/*
 * What counting costs: does for every request, batch and turn what a worker does for its metrics, and nothing else.
 * metrics_bench fd|inline|copy|ring BATCH REQUESTS: prints nanoseconds of CPU time for each request.
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

#define KINDS 4
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
};

static struct metrics *m;
static struct connection_report report;
static struct metrics_record pending[WORKER_PENDING];
static struct reply replies[SIZES];
static struct sampling sampling;
static unsigned n_pending;

static void make_replies(unsigned kind)
{
        for (unsigned i = 0; i < SIZES; i++)
                replies[i] = (struct reply){.op = OBJM_V3_OP_GET, .mode = kinds[kind].mode, .asked = kinds[kind].mode,
                                            .body = kinds[kind].body, .body_len = 1000 + 100 * i, .fd = -1,
                                            .info.size = 1000 + 100 * i, .id = i};
}

static void count_ring(uint64_t start, uint64_t end)
{
        if (n_pending)
                metrics_count(m, METRICS_RING, pending, n_pending, start, end);
        n_pending = 0;
}

/* As worker.c, rings.c and ring_turn.c do it. */
static void ring_turn(unsigned batch)
{
        bool timed = sampling_pick(&sampling);
        uint64_t now = timed ? objm_clock_ns() : 0, bytes = 0;
        unsigned from;

        if (timed) {
                count_ring(0, 0);
                metrics_enter(m, METRICS_WORKING, now);
        } else {
                metrics_pass(m);
        }
        objm_tally_add(&m->turns, 1);
        if (n_pending + RING_TURN > RINGS_PENDING)
                count_ring(0, 0);
        from = n_pending;
        for (unsigned i = 0; i < batch; i++)
                pending[n_pending++] = ring_entry_record_object(&replies[i % SIZES], METRICS_INLINE,
                                                        replies[i % SIZES].body_len);
        for (unsigned i = from; i < n_pending; i++)
                bytes += pending[i].bytes;
        objm_tally_add(&report.requests, batch);
        objm_tally_add(&report.bytes, bytes);
        atomic_store_explicit(&report.last_ns, now, memory_order_relaxed);
        sampling_add(&sampling, batch);
        if (!timed) {
                metrics_pass_ready(m);
                return;
        }
        metrics_tally(m, &m->ready, 1);
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
        uint64_t n = argc == 4 ? strtoull(argv[3], NULL, 10) : 0, began, now = objm_clock_ns();

        while (argc == 4 && kind < KINDS && strcmp(argv[1], kinds[kind].name) != 0)
                kind++;
        if (argc != 4 || kind == KINDS || !batch || batch > batch_max(kind) || n < batch) {
                fprintf(stderr, "usage: metrics_bench fd|inline|copy|ring BATCH REQUESTS\n");
                return 2;
        }
        metrics_all_init(&all);
        m = metrics_begin(&all);
        if (!m)
                return 1;
        make_replies(kind);
        sampling_init(&sampling, now);
        began = cpu_ns();
        for (uint64_t i = 0; i < n / batch; i++)
                if (kinds[kind].transport == METRICS_RING)
                        ring_turn(batch);
                else
                        turn(kind, batch, now + i);
        printf("%.3f\n", (double)(cpu_ns() - began) / (double)(n / batch * batch));
        metrics_end(&all, m);
        metrics_all_deinit(&all);
        return 0;
}
