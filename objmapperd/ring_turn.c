/* SPDX-License-Identifier: MIT */
#include "objmapperd/ring_turn.h"

#include "base/clock.h"
#include "objmapperd/connection.h"
#include "objmapperd/ring_entry.h"
#include "objmapperd/ring_job.h"

#include <assert.h>
#include <errno.h>

/* Replies of a turn that are shown at once. */
#define RING_SHOW 8

/* What takes about as long as a look-up: so many bytes; what is recorded takes a few times as long. */
#define BYTES_WORK  1024
#define RECORD_WORK 4

/*
 * Of @n requests, those that limits on requests a second let through. -EAGAIN: none, and until one is nobody listens to
 * the doorbell, which would have the daemon look more often.
 */
static int permitted(struct ring *r, int n)
{
        struct connection *c = r->c;

        if (!c->worker->snapshot->rate_limited || allowance_covers(c, (unsigned)n - 1, (size_t)n - 1))
                return n;
        if (c->allowance.granted)
                return (int)c->allowance.granted;
        server_count(&c->worker->server->limited.pauses);
        r->muted = r->muted || objm_loop_set(&c->worker->loop, &r->doorbell, 0) == 0;
        r->limited = true;
        return -EAGAIN;
}

/* @n requests were taken from the ring. */
static void charge(const struct ring_turn *t, uint32_t n)
{
        struct connection *c = t->r->c;

        if (!c->worker->snapshot->rate_limited)
                return;
        allowance_use(c, n - t->referred);
        allowance_settle(c);
}

/* How many requests can be worked on now: each needs room for its reply, and so do those that are with the pool. */
static int workable(struct ring *r)
{
        int n = objm_ring_server_readable(&r->end), room;

        r->limited = false;
        if (n <= 0)
                return n;
        room = objm_ring_server_room(&r->end, (uint32_t)r->jobs + RING_TURN);
        if (room < 0)
                return room;
        room -= r->jobs;
        if (room <= 0 || r->jobs >= CONNECTION_JOBS_MAX)
                return -EAGAIN;
        n = n < room ? n : room;
        return permitted(r, n < RING_TURN ? n : RING_TURN);
}

/* @n requests were taken, or @put: replies of jobs were put, whose descriptors may wait for the socket now. */
static void end_turn(struct ring_turn *t, enum ring_step step, unsigned n, bool put)
{
        struct ring *r = t->r;
        struct connection *c = r->c;

        if (n) {
                r->level = r->bells = 0;
                rings_touch(c->worker, r);
                if (r->muted && objm_loop_set(&c->worker->loop, &r->doorbell, EPOLLIN | EPOLLET) == 0)
                        r->muted = false;
        }
        r->socket_full = step == RING_STEP_FULL;
        if (step == RING_STEP_WAIT || step == RING_STEP_FULL)
                rings_wait(c->worker, r);
        connection_settle(c, n > 0 || put);
}

/* The memory that their look-ups need is fetched all at once. */
static void expect(struct ring_turn *t, const union objm_ring_copy *e, unsigned n, struct objm_store_name *names)
{
        static_assert(RING_TURN <= OBJM_STORE_EXPECT_MAX, "one turn is one expectation");
        for (unsigned i = 0; i < n; i++) {
                names[i].uri = e[i].request.uri;
                names[i].len = ring_entry_is_short(&e[i].request) ? e[i].request.uri_len : 0;
        }
        objm_store_expect(t->ctx.snapshot->store, names, n);
}

/* A client that looks at what is there already and one that is served meanwhile keep both CPUs busy. */
static enum ring_step show(struct ring_turn *t)
{
        if (!t->r->c->worker->batch.n_fds)
                ring_publish(t->r);
        return t->r->c->dead ? RING_STEP_AGAIN : RING_STEP_REPLY;
}

static enum ring_step work(struct ring_turn *t, int n, unsigned *ret_done)
{
        struct connection *c = t->r->c;
        union objm_ring_copy e[RING_TURN] objm_uninitialized;
        struct objm_store_name names[RING_TURN] objm_uninitialized;
        enum ring_step step = RING_STEP_REPLY;

        objm_kept_begin(&c->worker->kept, c->worker->now);
        for (int i = 0; i < n; i++)
                objm_ring_server_copy(&t->r->end, (uint32_t)i, &e[i]);
        expect(t, e, (unsigned)n, names);
        for (*ret_done = 0; (int)*ret_done < n && step == RING_STEP_REPLY; *ret_done += step == RING_STEP_REPLY) {
                t->ctx.expected = ring_entry_is_short(&e[*ret_done].request) ? &names[*ret_done] : NULL;
                step = ring_turn_take(t, &e[*ret_done].request);
                if (step == RING_STEP_REPLY && c->worker->batch.n_fds >= c->batch_limit)
                        step = ring_turn_send_fds(t);
                if (step == RING_STEP_REPLY && *ret_done % RING_SHOW == RING_SHOW - 1)
                        step = show(t);
        }
        if (c->worker->batch.n_fds) {
                enum ring_step sent = ring_turn_send_fds(t);

                step = sent == RING_STEP_REPLY ? step : sent;
        }
        c->worker->rings.count.found += t->found;
        return step;
}

/* Of the records behind the first @from. */
static uint64_t recorded_bytes(const struct rings *x, size_t from)
{
        uint64_t bytes = 0;

        for (size_t i = from; i < x->n_pending; i++)
                bytes += x->pending[i].bytes;
        return bytes;
}

/* @n requests were answered. Before, there were @from records, and @bytes in the count of what has none. */
static void report(struct connection *c, uint32_t n, size_t from, uint64_t bytes)
{
        const struct rings *x = &c->worker->rings;

        bytes = x->count.bytes - bytes;
        if (objm_unlikely(from != x->n_pending))
                bytes += recorded_bytes(x, from);
        objm_tally_add(&c->report.requests, n);
        if (bytes)
                objm_tally_add(&c->report.bytes, bytes);
        sampling_add(&c->worker->sampling, n + RECORD_WORK * (x->n_pending - from) + bytes / BYTES_WORK);
}

unsigned ring_serve(struct ring *r)
{
        struct connection *c = r->c;
        struct ring_turn t = {.r = r, .ctx = {.server = c->worker->server, .snapshot = c->worker->snapshot,
                                              .peer = &c->peer, .nowait = true, .kept = &c->worker->kept},
                              .kept_records = c->worker->sampled};
        enum ring_step step = RING_STEP_WAIT;
        uint16_t jobs = r->jobs;
        unsigned done = 0;
        uint32_t from, taken;
        size_t pending;
        uint64_t bytes;
        bool put;
        int n;

        t.ctx.found = &t.found;
        ring_job_put_done(r);
        put = r->jobs != jobs;
        if (c->dead)
                return 0;
        from = objm_ring_server_mark(&r->end).request;
        n = workable(r);
        if (n < 0 && n != -EAGAIN) {
                ring_cut_off(r);
                return 0;
        }
        if (c->worker->rings.n_pending + RING_TURN > RINGS_PENDING)
                rings_count(c->worker, c->worker->sampled ? objm_clock_ns() : 0);
        pending = c->worker->rings.n_pending;
        bytes = c->worker->rings.count.bytes;
        if (n > 0 || (n == 0 && objm_list_empty(&r->done)))
                step = work(&t, n, &done);
        if (c->dead)
                return done;
        taken = objm_ring_server_mark(&r->end).request - from;
        charge(&t, taken);
        ring_publish(r);
        if (c->dead)
                return done;
        report(c, taken - t.referred, pending, bytes);
        if (done || put || step != RING_STEP_REPLY)
                end_turn(&t, step, done, put);
        return done;
}
