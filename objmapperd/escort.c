/* SPDX-License-Identifier: MIT */
#include "objmapperd/escort.h"

#include "base/clock.h"
#include "base/fd.h"
#include "concurrency/crew.h"
#include "objmapperd/probe.h"
#include "objmapperd/transfer.h"
#include "objmapperd/transfer_job.h"
#include "protocol/v3.h"
#include "storage/kept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STALL_MS 10 /* without progress, or without a request: longer than it takes others to have their turn */
#define TURN_NS  (10 * OBJM_NS_PER_MS) /* that a client keeps its escort though others want one */
#define QUANTUM  (1024 * 1024)

/* What earns one: bodies in a row without a pause between them, or waits of the pool that were shorter. */
#define STREAK   16
#define PROMPT   4
#define PAUSE_NS (20 * OBJM_NS_PER_MS)

/* Files that an escort keeps open. */
#define KEPT 16
static const struct objm_kept_limits kept_max = {.size = 1024 * 1024, .memory = 64 * 1024};

/* The longest request and a byte, which would be another's. */
#define INPUT_MAX (OBJM_V3_REQUEST_MAX + 1)

bool escort_deserved(const struct connection *c)
{
        return c->streak >= STREAK && c->worker->now - c->body_at < PAUSE_NS;
}

void escort_credit(struct connection *c)
{
        bool pause = c->worker->now - c->body_at >= PAUSE_NS;

        c->streak = pause ? 1 : (uint8_t)(c->streak + (c->streak < STREAK));
        c->body_at = c->worker->now;
}

void escort_judge(const struct transfer *t)
{
        if (t->slow || (t->escorted.run && t->bodies < 2))
                t->c->streak = 0;
        else
                escort_credit(t->c);
}

/* 0: all is sent. */
static int send_body(struct transfer *t, struct objm_crew *crew, uint64_t turn_ends, struct transfer_buffer *buf)
{
        int r;

        t->body.patient = true;
        do
                r = transfer_step(t, QUANTUM, false, buf);
        while (r == OBJM_BODY_MORE && (objm_clock_ns() < turn_ends || !objm_crew_wanted(crew)));
        t->body.patient = false;
        return r;
}

/* As exchange_count() does for the worker, which has lent the connection's own figures too. */
static void count_body(struct transfer *t, struct metrics *m, uint64_t now)
{
        struct connection *c = t->c;
        uint64_t bytes = metrics_count(m, connection_transport(c), &t->record, 1, t->received_ns, now);

        objm_tally_add(&c->report.requests, 1);
        objm_tally_add(&c->report.bytes, bytes);
        atomic_store_explicit(&c->report.last_ns, now, memory_order_relaxed);
        t->uncounted = false;
}

/* The one request that @buf holds, if it asks for a body that can be sent now. False: for the worker to look at. */
static bool start_next(struct transfer *t, struct objm_kept *kept, const uint8_t *buf, size_t len)
{
        struct connection *c = t->c;
        struct server *s = c->worker->server;
        struct request_context ctx = {.server = s, .snapshot = server_snapshot(s), .peer = &c->peer, .nowait = true,
                                      .kept = kept};
        struct request rq;
        struct reply r;
        size_t used;

        if (ctx.snapshot->requests_per_connection || ctx.snapshot->rate_limited)
                return false;
        if (c->dialect->next(buf, len, &rq, &used) != OBJM_DECODE_OK || used != len || rq.op != OBJM_V3_OP_GET ||
            (rq.mode != OBJM_MODE_COPY && rq.mode != OBJM_MODE_SPLICE) || request_run(&ctx, &rq, &r) == REQUEST_COLD)
                return false;
        if (!r.body) {
                objm_fd_close(r.fd);
                return false;
        }
        probe_request_start(connection_transport(c), &rq);
        r.kept = request_keep(ctx.snapshot, kept, &rq, &r);
        transfer_begin(t, &r);
        return true;
}

/* 0, or a negative errno that ends the connection. */
static int keep_input(struct transfer *t, const uint8_t *buf, size_t len)
{
        t->in = malloc(len);
        if (!t->in)
                return -ENOMEM;
        memcpy(t->in, buf, len);
        t->in_len = (uint32_t)len;
        return 0;
}

/* True: there is a next body. False: the connection is to go back, or with a negative *ret_result to end. */
static bool find_next(struct transfer *t, struct objm_kept *kept, struct objm_qsbr_reader *reader, int *ret_result)
{
        uint8_t buf[INPUT_MAX] objm_uninitialized;
        ssize_t n = recv(t->c->source.fd, buf, sizeof(buf), 0);
        bool found;

        if (n <= 0) {
                t->end_of_input = n == 0;
                *ret_result = n == 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
                return false;
        }
        t->received_ns = objm_clock_ns();
        objm_kept_expire(kept, t->received_ns);
        objm_kept_begin(kept, t->received_ns);
        objm_qsbr_online(reader);
        found = start_next(t, kept, buf, (size_t)n);
        objm_qsbr_offline(reader);
        *ret_result = found ? 0 : keep_input(t, buf, (size_t)n);
        return found;
}

static bool may_go_on(const struct transfer *t, struct objm_crew *crew, uint64_t now, uint64_t turn_ends)
{
        struct server *s = t->c->worker->server;

        return t->alone && !atomic_load_explicit(&s->draining, memory_order_relaxed) &&
               (now < turn_ends || !objm_crew_wanted(crew));
}

/*
 * Bodies, one after the other, counted in @m if there is any. 0: the connection goes back to the worker; else what kept
 * one from being sent.
 */
static int send_bodies(struct transfer *t, struct objm_kept *kept, struct objm_qsbr_reader *reader, struct metrics *m,
                       int *ret_result)
{
        struct objm_crew *crew = t->c->worker->server->escorts;
        uint64_t now = objm_clock_ns(), turn_ends = now + TURN_NS;
        struct transfer_buffer buf objm_uninitialized;
        int r;

        do {
                r = send_body(t, crew, turn_ends, &buf);
                if (r != 0)
                        return r;
                transfer_end_body(t);
                now = objm_clock_ns();
                if (m)
                        count_body(t, m, now);
        } while (m && may_go_on(t, crew, now, turn_ends) && find_next(t, kept, reader, ret_result));
        return 0;
}

/* Nothing is kept any more: a body that others go on with has its descriptor for itself. */
static void part(struct transfer *t, struct objm_kept *kept)
{
        if (t->lent_fd)
                objm_kept_surrender(kept, t->body.fd);
        t->lent_fd = false;
        t->body.bytes = NULL;
        objm_kept_deinit(kept);
}

/* As send_bodies(). The socket waits for its peer only here. */
static int keep_company(struct transfer *t, struct objm_qsbr_reader *reader, int *ret_result)
{
        struct metrics_all *all = &t->c->worker->server->metrics;
        struct metrics *m = metrics_begin(all);
        int fd = t->c->source.fd, r = objm_body_set_patience(fd, STALL_MS), e;
        struct objm_kept kept;

        objm_kept_init(&kept, KEPT, kept_max, &t->c->worker->server->kept);
        if (r == 0)
                r = send_bodies(t, &kept, reader, m, ret_result);
        part(t, &kept);
        if (m)
                metrics_end(all, m);
        e = objm_body_set_patience(fd, 0);
        return e < 0 ? e : r;
}

static void accompany(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct transfer *t = objm_container_of(job, struct transfer, escorted);
        int result = 0, r;

        objm_qsbr_offline(reader);
        r = keep_company(t, reader, &result);
        t->slow = r != 0;
        if (r == 0)
                transfer_finish(t, reader, result);
        else if (r == -EAGAIN)
                transfer_wait(t, reader);
        else if (r < 0)
                transfer_fail(t, reader, r);
        else
                transfer_pass(t, reader, r == OBJM_BODY_COLD);
}

bool escort_takes(struct transfer *t)
{
        t->escorted.run = accompany;
        t->prompt = 0;
        return objm_crew_run(t->c->worker->server->escorts, &t->escorted) == 0;
}

bool escort_takes_over(struct transfer *t)
{
        uint64_t waited = t->waits_since ? objm_clock_ns() - t->waits_since : 0;

        if (!t->waits_since)
                return false;
        t->waits_since = 0;
        t->prompt = waited < PAUSE_NS ? t->prompt + 1 : 0;
        t->slow = t->slow || !t->prompt;
        return t->prompt >= PROMPT && escort_takes(t);
}
