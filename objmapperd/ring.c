/* SPDX-License-Identifier: MIT */
#include "objmapperd/ring.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/connection.h"
#include "objmapperd/exchange.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/probe.h"
#include "objmapperd/ring_job.h"
#include "protocol/v3.h"
#include "transport/body.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

/* Doorbells in a row that nothing came of, before the ring is looked at by time alone. */
#define BELLS_MAX 16

/* Replies of a turn that are shown at once. */
#define RING_SHOW 8

enum step {
        STEP_REPLY, /* a reply was put, or the request is with the pool */
        STEP_WAIT,  /* it has been given back: there is no room for what it comes to */
        STEP_FULL,  /* the same, because of the socket */
        STEP_AGAIN, /* it and those before it, back to the mark, have been given back */
};

/* One turn. */
struct turn {
        struct ring *r;
        struct request_context ctx;
        unsigned found;
        struct objm_ring_mark mark; /* before the first descriptor in the batch */
        size_t marked;              /* replies that were to be counted then */
        uint32_t referred;          /* requests that will come again, by the socket */
};

/* ---- life ---- */

static void on_doorbell(struct objm_source *source, uint32_t events)
{
        struct ring *r = objm_container_of(source, struct ring, doorbell);

        if (r->state == RING_CLOSED || r->muted)
                return;
        objm_tally_add(&r->c->worker->metrics->doorbells, 1);
        if (!objm_ring_server_look(&r->end) && r->state != RING_WAITING && ++r->bells >= BELLS_MAX) {
                r->muted = objm_loop_set(&r->c->worker->loop, &r->doorbell, 0) == 0;
                rings_wait(r->c->worker, r);
                return;
        }
        rings_wake(r->c->worker, r);
}

int ring_new(const struct objm_ring_geometry *g, struct ring **ret, int ret_fds[2])
{
        struct ring *r = calloc(1, sizeof(*r));
        int e;

        if (!r)
                return -ENOMEM;
        objm_list_init(&r->link);
        objm_list_init(&r->used);
        objm_list_init(&r->done);
        r->doorbell = (struct objm_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN | EPOLLET,
                                           .on_events = on_doorbell};
        r->state = RING_CLOSED;
        e = r->doorbell.fd < 0 ? -errno : objm_ring_server_init(&r->end, g, ret_fds);
        if (e < 0) {
                ring_free(r);
                return e;
        }
        *ret = r;
        return 0;
}

int ring_start(struct ring *r, struct connection *c)
{
        int e = objm_loop_add(&c->worker->loop, &r->doorbell);

        if (e < 0)
                return e;
        r->c = c;
        c->ring = r;
        rings_add(c->worker, r);
        return 0;
}

void ring_close(struct ring *r)
{
        if (r->state == RING_CLOSED)
                return;
        objm_loop_remove(&r->c->worker->loop, &r->doorbell);
        rings_remove(r->c->worker, r);
        server_uncount_ring(r->c->worker->server);
        ring_job_drop_done(r);
        r->doorbell.fd = objm_fd_close(r->doorbell.fd);
        objm_ring_server_deinit(&r->end);
}

void ring_cut_off(struct ring *r)
{
        log_refused(LOG_REFUSED_PROTOCOL, r->c->peer.uid, "cut off: an index of its ring is out of bounds");
        connection_close(r->c);
}

void ring_free(struct ring *r)
{
        if (!r)
                return;
        objm_fd_close(r->doorbell.fd);
        objm_ring_server_deinit(&r->end);
        free(r);
}

void ring_retire(struct ring *r)
{
        struct connection *c = r->c;

        if (ring_pending(r) || r->jobs || r->muted || !objm_ring_server_end(&r->end)) {
                r->since = c->worker->now;
                objm_list_move_tail(&c->worker->rings.all, &r->used);
                return;
        }
        objm_shm_free_requests(&r->end.shm);
        ring_close(r);
        exchange_doorbell(c);
}

bool ring_pending(const struct ring *r)
{
        return r->state != RING_CLOSED && (objm_ring_server_look(&r->end) || !objm_list_empty(&r->done));
}

/* ---- requests ---- */

static bool is_body_only(const struct objm_ring_request *e)
{
        return e->mode == OBJM_MODE_INLINE;
}

/* What the ring serves; the rest is for the socket, where also descriptors under way are counted. */
static bool is_served(const struct ring *r, const struct objm_ring_request *e)
{
        const struct snapshot *snap = r->c->worker->snapshot;

        if (e->op == OBJM_V3_OP_GET)
                return e->mode == OBJM_MODE_INLINE ||
                       (!snap->fds_limited && (e->mode == OBJM_MODE_FD || e->mode == OBJM_MODE_AUTO));
        return e->op == OBJM_V3_OP_STAT || e->op == OBJM_V3_OP_PING;
}

static uint32_t limit_of(const struct ring *r, const struct objm_ring_request *e, bool plain)
{
        uint32_t limit = plain || !e->get.inline_limit ? OBJM_V3_INLINE_DEFAULT : e->get.inline_limit;

        return limit < r->end.shm.geometry.arena ? limit : r->end.shm.geometry.arena;
}

/* @e is our own copy; the URI, in it or at @buf, is too. */
static void decode(const struct ring *r, const struct objm_ring_request *e, uint8_t *buf, struct request *ret)
{
        bool plain = e->flags & OBJM_RING_RQ_URI_SHORT, range = !plain && e->flags & OBJM_RING_RQ_RANGE;

        *ret = (struct request){
                .op = e->op, .id = e->id, .uri_len = e->uri_len,
                .mode = is_body_only(e) ? OBJM_MODE_COPY : e->mode,
                .conditional = !plain && e->flags & OBJM_RING_RQ_IF_VERSION,
                .if_version = plain ? 0 : e->get.if_version,
                .range_offset = range ? e->get.range_offset : 0,
                .range_length = range ? e->get.range_length : 0,
                .inline_limit = limit_of(r, e, plain),
        };
        if (!is_served(r, e))
                ret->status = OBJM_STATUS_UNSUPPORTED;
        else if (!objm_ring_server_uri(&r->end, e, buf, &ret->uri) || (!e->uri_len && e->op != OBJM_V3_OP_PING))
                ret->status = OBJM_STATUS_INVALID_REQUEST;
}

struct objm_ring_reply ring_reply_head(const struct reply *reply)
{
        return (struct objm_ring_reply){
                .status = reply->status, .op = reply->op, .id = reply->id,
                .mode = reply->body ? OBJM_MODE_INLINE : reply->mode,
                .n_fds = reply->fd >= 0 && !reply->body,
                .flags = reply->not_modified ? OBJM_RING_RS_NOT_MODIFIED : 0,
                .size = reply->info.size, .version = reply->info.version,
                .mtime = reply->info.mtime_ns / (int64_t)OBJM_NS_PER_S,
                .body_len = reply->body ? (uint32_t)reply->body_len : 0,
        };
}

struct metrics_record ring_record_of(const struct reply *reply)
{
        struct metrics_record record = metrics_record_of(reply);

        if (record.mode == METRICS_COPY)
                record.mode = METRICS_INLINE;
        return record;
}

static void note(struct ring *r, const struct reply *reply)
{
        struct rings *x = &r->c->worker->rings;

        x->pending[x->n_pending++] = ring_record_of(reply);
}

void ring_note_referred(struct ring *r, const struct request *rq)
{
        metrics_fall_back(r->c->worker->metrics, METRICS_RING_REFERRED);
        probe_request_refer(rq);
}

/* As ring_put_refusal(), and counted unless the request will come by the socket. */
static void refuse(struct turn *t, const struct request *rq, uint8_t status, bool to_socket)
{
        struct reply reply = request_refuse(rq, status, NULL);

        ring_put_refusal(t->r, rq, status, to_socket);
        if (to_socket)
                ring_note_referred(t->r, rq);
        else
                note(t->r, &reply);
        t->referred += to_socket;
}

static void refuse_for_want_of(struct turn *t, const struct request *rq, uint8_t status)
{
        log_refused(LOG_REFUSED_RESOURCES, t->r->c->peer.uid, "request refused: no thread or memory for it");
        refuse(t, rq, status, false);
}

void ring_put_refusal(struct ring *r, const struct request *rq, uint8_t status, bool to_socket)
{
        struct objm_ring_reply e = {.status = status, .op = rq->op, .id = rq->id,
                                    .flags = to_socket ? OBJM_RING_RS_SOCKET : 0};

        objm_ring_server_put(&r->end, &e);
}

/* Sends the descriptors. STEP_REPLY, or STEP_FULL and STEP_AGAIN when all since the first of them was given back. */
static enum step send_fds(struct turn *t)
{
        struct connection *c = t->r->c;
        struct objm_batch *b = &c->worker->batch;
        size_t n = b->n_fds;
        int e;

        if (!n)
                return STEP_REPLY;
        connection_for_fds(c);
        e = dialect_v3.send(b, c->source.fd, &c->out);
        if (e == 0) {
                allowance_fds_left(c, n);
                return STEP_REPLY;
        }
        objm_batch_clear(b);
        objm_ring_server_rewind(&t->r->end, &t->mark);
        c->worker->rings.n_pending = t->marked;
        if (e == -EAGAIN) {
                c->want_write = true;
                return STEP_FULL;
        }
        if (e == -ETOOMANYREFS) {
                t->ctx.refuse_fds = true;
                server_refs_are_scarce(c->worker->server);
        } else {
                connection_close(c);
        }
        return STEP_AGAIN;
}

/* Requests with the pool cannot be given back, so descriptors of those before them leave first. */
static enum step start_job(struct turn *t, const struct request *rq)
{
        enum step step = send_fds(t);
        int e;

        if (step != STEP_REPLY)
                return step;
        e = ring_job_start(t->r, rq);
        if (e < 0)
                refuse_for_want_of(t, rq, e == -ENOMEM ? OBJM_STATUS_NO_MEMORY : OBJM_STATUS_UNAVAILABLE);
        return STEP_REPLY;
}

/* A body that is larger than the ring's arena can go over the socket only. */
bool ring_body_fits(const struct ring *r, const struct reply *reply)
{
        return reply->body_len <= r->end.shm.geometry.arena;
}

/* What is in the page cache is read right to where the client finds it; it looks there when the entry says so. */
static enum step put_body(struct turn *t, const struct request *rq, struct reply *reply)
{
        struct ring *r = t->r;
        struct objm_ring_reply head = ring_reply_head(reply);
        uint8_t *buf;
        ssize_t n = 0;
        bool all;

        if (!ring_body_fits(r, reply)) {
                exchange_end_body(r->c, rq, reply, false);
                refuse(t, rq, OBJM_STATUS_UNSUPPORTED, true);
                return STEP_REPLY;
        }
        if (reply->body_len) {
                buf = objm_ring_server_body(&r->end, (uint32_t)reply->body_len, &head.body_at);
                if (!buf) {
                        exchange_end_body(r->c, rq, reply, false);
                        return STEP_WAIT;
                }
                n = exchange_read_body(reply, buf);
        }
        all = n == (ssize_t)reply->body_len;
        exchange_end_body(r->c, rq, reply, all);
        if (!all)
                return start_job(t, rq);
        objm_ring_server_put(&r->end, &head);
        note(r, reply);
        return STEP_REPLY;
}

/* The descriptor goes to the batch, which leaves before the reply shows. */
static enum step put_fd(struct turn *t, struct objm_ring_mark before, struct reply *reply)
{
        struct connection *c = t->r->c;
        struct objm_batch *b = &c->worker->batch;
        struct objm_ring_reply head = ring_reply_head(reply);

        if (exchange_unsent(c)) {
                reply->fd = objm_fd_close(reply->fd);
                objm_ring_server_rewind(&t->r->end, &before);
                return STEP_FULL;
        }
        if (!b->n_fds) {
                t->mark = before;
                t->marked = c->worker->rings.n_pending;
        }
        note(t->r, reply);
        dialect_put(&dialect_v3, b, reply);
        objm_ring_server_put(&t->r->end, &head);
        return STEP_REPLY;
}

static enum step run(struct turn *t, struct objm_ring_mark before, const struct request *rq)
{
        struct reply reply objm_uninitialized;
        enum step step = STEP_REPLY;

        if (rq->status != OBJM_STATUS_OK) {
                refuse(t, rq, rq->status, rq->status == OBJM_STATUS_UNSUPPORTED);
                return STEP_REPLY;
        }
        if (request_run(&t->ctx, rq, &reply) == REQUEST_COLD)
                return start_job(t, rq);
        if (reply.fd < 0) {
                struct objm_ring_reply head = ring_reply_head(&reply);

                objm_ring_server_put(&t->r->end, &head);
                note(t->r, &reply);
        } else if (reply.body) {
                step = put_body(t, rq, &reply);
        } else {
                step = put_fd(t, before, &reply);
        }
        return step;
}

/* Requests that are given back are run again, and have started all the same. */
static void start(struct ring *r, uint32_t index, const struct request *rq)
{
        if ((int32_t)(index - r->started) < 0)
                return;
        r->started = index + 1;
        probe_request_start(METRICS_RING, rq);
}

static enum step take_one(struct turn *t, const struct objm_ring_request *e)
{
        struct objm_ring_mark before = objm_ring_server_mark(&t->r->end);
        struct request rq objm_uninitialized;
        enum step step;

        objm_ring_server_pass(&t->r->end);
        decode(t->r, e, t->r->c->worker->rx, &rq);
        start(t->r, before.request, &rq);
        step = run(t, before, &rq);
        if (step == STEP_WAIT)
                objm_ring_server_rewind(&t->r->end, &before);
        return step;
}

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
        return -EAGAIN;
}

/* @n requests were taken from the ring. */
static void charge(const struct turn *t, uint32_t n)
{
        struct connection *c = t->r->c;

        if (!c->worker->snapshot->rate_limited)
                return;
        allowance_use(c, n > t->referred ? n - t->referred : 0);
        allowance_settle(c);
}

/* How many requests can be worked on now: each needs room for its reply, and so do those that are with the pool. */
static int workable(struct ring *r)
{
        int n = objm_ring_server_readable(&r->end), room;

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

/* Shows the client what there is and wakes it if it sleeps. */
void ring_publish(struct ring *r)
{
        switch (objm_ring_server_publish(&r->end)) {
        case OBJM_RING_ASLEEP:
                objm_tally_add(&r->c->worker->metrics->wakes, 1);
                objm_ring_server_wake(&r->end);
                break;
        case OBJM_RING_POLLING:
                objm_tally_add(&r->c->worker->metrics->wakes, 1);
                exchange_doorbell(r->c);
                break;
        default:
                break;
        }
}

static void end_turn(struct turn *t, enum step step, unsigned n)
{
        struct ring *r = t->r;
        struct connection *c = r->c;

        if (n) {
                r->level = r->bells = 0;
                rings_touch(c->worker, r);
                if (r->muted && objm_loop_set(&c->worker->loop, &r->doorbell, EPOLLIN | EPOLLET) == 0)
                        r->muted = false;
        }
        r->socket_full = step == STEP_FULL;
        if (step == STEP_WAIT || step == STEP_FULL)
                rings_wait(c->worker, r);
        connection_settle(c, n > 0);
}

static bool is_short(const struct objm_ring_request *e)
{
        return e->flags & OBJM_RING_RQ_URI_SHORT && e->uri_len <= sizeof(e->uri);
}

/* The memory that their look-ups need is fetched all at once. */
static void expect(struct turn *t, const union objm_ring_copy *e, unsigned n, struct objm_store_name *names)
{
        static_assert(RING_TURN <= OBJM_STORE_EXPECT_MAX, "one turn is one expectation");
        for (unsigned i = 0; i < n; i++) {
                names[i].uri = e[i].request.uri;
                names[i].len = is_short(&e[i].request) ? e[i].request.uri_len : 0;
        }
        objm_store_expect(t->ctx.snapshot->store, names, n);
}

/* A client that looks at what is there already and one that is served meanwhile keep both CPUs busy. */
static enum step show(struct turn *t)
{
        if (!t->r->c->worker->batch.n_fds)
                ring_publish(t->r);
        return t->r->c->dead ? STEP_AGAIN : STEP_REPLY;
}

static enum step work(struct turn *t, int n, unsigned *ret_done)
{
        struct connection *c = t->r->c;
        union objm_ring_copy e[RING_TURN] objm_uninitialized;
        struct objm_store_name names[RING_TURN] objm_uninitialized;
        enum step step = STEP_REPLY;

        objm_kept_begin(&c->worker->kept, c->worker->now);
        for (int i = 0; i < n; i++)
                objm_ring_server_copy(&t->r->end, (uint32_t)i, &e[i]);
        expect(t, e, (unsigned)n, names);
        for (*ret_done = 0; (int)*ret_done < n && step == STEP_REPLY; *ret_done += step == STEP_REPLY) {
                t->ctx.expected = is_short(&e[*ret_done].request) ? &names[*ret_done] : NULL;
                step = take_one(t, &e[*ret_done].request);
                if (step == STEP_REPLY && c->worker->batch.n_fds >= c->batch_limit)
                        step = send_fds(t);
                if (step == STEP_REPLY && *ret_done % RING_SHOW == RING_SHOW - 1)
                        step = show(t);
        }
        if (c->worker->batch.n_fds) {
                enum step sent = send_fds(t);

                step = sent == STEP_REPLY ? step : sent;
        }
        objm_store_found(t->ctx.snapshot->store, t->found);
        return step;
}

/* Of the replies behind the first @from that wait to be counted. */
static void report(struct connection *c, size_t from)
{
        const struct rings *x = &c->worker->rings;
        uint64_t bytes = 0;

        if (from == x->n_pending)
                return;
        for (size_t i = from; i < x->n_pending; i++)
                bytes += x->pending[i].bytes;
        objm_tally_add(&c->report.requests, x->n_pending - from);
        objm_tally_add(&c->report.bytes, bytes);
        atomic_store_explicit(&c->report.last_ns, c->worker->now, memory_order_relaxed);
}

unsigned ring_serve(struct ring *r)
{
        struct connection *c = r->c;
        struct turn t = {.r = r, .ctx = {.server = c->worker->server, .snapshot = c->worker->snapshot, .peer = &c->peer,
                                         .nowait = true, .kept = &c->worker->kept}};
        enum step step = STEP_WAIT;
        unsigned done = 0;
        uint32_t from;
        size_t pending;
        int n;

        t.ctx.found = &t.found;
        ring_job_put_done(r);
        from = objm_ring_server_mark(&r->end).request;
        n = workable(r);
        if (n < 0 && n != -EAGAIN) {
                ring_cut_off(r);
                return 0;
        }
        if (c->worker->rings.n_pending + RING_TURN > RINGS_PENDING)
                rings_count(c->worker, objm_clock_ns());
        pending = c->worker->rings.n_pending;
        if (n > 0 || (n == 0 && objm_list_empty(&r->done)))
                step = work(&t, n, &done);
        if (c->dead)
                return done;
        charge(&t, objm_ring_server_mark(&r->end).request - from);
        ring_publish(r);
        if (c->dead)
                return done;
        report(c, pending);
        if (done || step != STEP_REPLY)
                end_turn(&t, step, done);
        return done;
}
