/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/connection.h"
#include "objmapperd/exchange.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/probe.h"
#include "objmapperd/ring_entry.h"
#include "objmapperd/ring_job.h"
#include "objmapperd/ring_turn.h"

#include <errno.h>

static void note(struct ring *r, struct metrics_record record)
{
        struct rings *x = &r->c->worker->rings;

        x->pending[x->n_pending++] = record;
}

/* Of what rings are for there is no record, unless it takes one: that would cost as much again as to count it. */
static void note_known(struct ring_turn *t, const struct metrics_record *record)
{
        if (t->kept_records) {
                note(t->r, *record);
                return;
        }
        probe_request_end(METRICS_RING, record, 0);
        t->r->c->worker->rings.count.known++;
}

static void note_body(struct ring_turn *t, const struct metrics_record *record)
{
        struct connection *c = t->r->c;

        if (t->kept_records) {
                note(t->r, *record);
                return;
        }
        probe_request_end(METRICS_RING, record, 0);
        c->worker->rings.count.bodies++;
        c->worker->rings.count.bytes += record->bytes;
        metrics_hand_out(c->worker->metrics, record->size);
}

void ring_turn_rewind(struct ring_turn *t, const struct objm_ring_mark *m)
{
        t->r->again += objm_ring_server_mark(&t->r->end).request - m->request;
        objm_ring_server_rewind(&t->r->end, m);
}

/* As ring_put_refusal(), and counted unless the request will come by the socket. */
static void refuse(struct ring_turn *t, const struct request *rq, uint8_t status, bool to_socket)
{
        struct reply reply = request_refuse(rq, status, NULL);

        ring_put_refusal(t->r, rq, status, to_socket);
        if (to_socket)
                ring_note_referred(t->r, rq);
        else
                note(t->r, ring_entry_record(&reply));
        t->referred += to_socket;
}

static void refuse_for_want_of(struct ring_turn *t, const struct request *rq, uint8_t status)
{
        log_refused(LOG_REFUSED_RESOURCES, t->r->c->peer.uid, "request refused: no thread or memory for it");
        refuse(t, rq, status, false);
}

enum ring_step ring_turn_send_fds(struct ring_turn *t)
{
        struct connection *c = t->r->c;
        struct objm_batch *b = &c->worker->batch;
        size_t n = b->n_fds;
        int e;

        if (!n)
                return RING_STEP_REPLY;
        connection_for_fds(c);
        e = dialect_v3.send(b, c->source.fd, &c->out);
        if (e == 0) {
                allowance_fds_left(c, n);
                return RING_STEP_REPLY;
        }
        objm_batch_clear(b);
        ring_turn_rewind(t, &t->mark);
        c->worker->rings.n_pending = t->marked;
        t->referred = t->marked_referred;
        if (e == -EAGAIN) {
                c->want_write = true;
                return RING_STEP_FULL;
        }
        if (e == -ETOOMANYREFS) {
                t->ctx.refuse_fds = true;
                server_refs_are_scarce(c->worker->server);
        } else {
                connection_close(c);
        }
        return RING_STEP_AGAIN;
}

/* Requests with the pool cannot be given back, so descriptors of those before them leave first. */
static enum ring_step start_job(struct ring_turn *t, const struct request *rq)
{
        enum ring_step step = ring_turn_send_fds(t);
        int e;

        if (step != RING_STEP_REPLY)
                return step;
        e = ring_job_start(t->r, rq);
        if (e < 0)
                refuse_for_want_of(t, rq, e == -ENOMEM ? OBJM_STATUS_NO_MEMORY : OBJM_STATUS_UNAVAILABLE);
        return RING_STEP_REPLY;
}

/* What is in the page cache is read right to where the client finds it; it looks there when the entry says so. */
static enum ring_step put_body(struct ring_turn *t, const struct request *rq, struct reply *reply)
{
        struct ring *r = t->r;
        struct objm_ring_reply head = ring_entry_encode(reply);
        struct metrics_record record;
        uint8_t *buf;
        ssize_t n = 0;
        bool all;

        if (!ring_body_fits(r, reply)) {
                exchange_end_body(r->c, rq, reply, false);
                refuse(t, rq, OBJM_STATUS_UNSUPPORTED, true);
                return RING_STEP_REPLY;
        }
        if (reply->body_len) {
                buf = objm_ring_server_body(&r->end, (uint32_t)reply->body_len, &head.body_at);
                if (!buf) {
                        exchange_end_body(r->c, rq, reply, false);
                        return RING_STEP_WAIT;
                }
                n = exchange_read_body(reply, buf);
        }
        all = n == (ssize_t)reply->body_len;
        exchange_end_body(r->c, rq, reply, all);
        if (!all)
                return start_job(t, rq);
        objm_ring_server_put(&r->end, &head);
        record = ring_entry_record_object(reply, METRICS_INLINE, reply->body_len);
        note_body(t, &record);
        return RING_STEP_REPLY;
}

/* The descriptor goes to the batch, which leaves before the reply shows. */
static enum ring_step put_fd(struct ring_turn *t, struct objm_ring_mark before, struct reply *reply)
{
        struct connection *c = t->r->c;
        struct objm_batch *b = &c->worker->batch;
        struct objm_ring_reply head = ring_entry_encode(reply);

        if (exchange_unsent(c)) {
                reply->fd = objm_fd_close(reply->fd);
                ring_turn_rewind(t, &before);
                return RING_STEP_FULL;
        }
        if (!b->n_fds) {
                t->kept_records = true;
                t->mark = before;
                t->marked = c->worker->rings.n_pending;
                t->marked_referred = t->referred;
        }
        note(t->r, ring_entry_record_object(reply, METRICS_FD, 0));
        dialect_put(&dialect_v3, b, reply);
        objm_ring_server_put(&t->r->end, &head);
        return RING_STEP_REPLY;
}

static enum ring_step run(struct ring_turn *t, struct objm_ring_mark before, const struct request *rq)
{
        struct reply reply objm_uninitialized;
        enum ring_step step = RING_STEP_REPLY;

        if (rq->status != OBJM_STATUS_OK) {
                refuse(t, rq, rq->status, rq->status == OBJM_STATUS_UNSUPPORTED);
                return RING_STEP_REPLY;
        }
        if (request_run(&t->ctx, rq, &reply) == REQUEST_COLD)
                return start_job(t, rq);
        if (reply.fd < 0) {
                struct objm_ring_reply head = ring_entry_encode(&reply);

                objm_ring_server_put(&t->r->end, &head);
                note(t->r, ring_entry_record(&reply));
        } else if (reply.body) {
                step = put_body(t, rq, &reply);
        } else {
                step = put_fd(t, before, &reply);
        }
        return step;
}

/* Requests that were given back are run again, and have started all the same. */
static void start(struct ring *r, const struct request *rq)
{
        if (objm_unlikely(r->again))
                r->again--;
        else
                probe_request_start(METRICS_RING, rq);
}

/*
 * STAT of a name that the index knows is most of what rings are for: what its answer takes, and no more. False: it is
 * something else, or has no answer as short as that.
 */
static bool answer_known(struct ring_turn *t, const struct objm_ring_request *e)
{
        const struct snapshot *snap = t->ctx.snapshot;
        struct request rq = {.op = e->op, .id = e->id, .uri = e->uri, .uri_len = e->uri_len};
        struct objm_object_info info;
        struct metrics_record record;

        if (e->op != OBJM_V3_OP_STAT || e->mode || !t->ctx.expected || !e->uri_len ||
            e->uri_len > snap->config->uri_length ||
            !objm_store_find(snap->store, t->ctx.peer, t->ctx.expected, &info))
                return false;
        record = (struct metrics_record){.size = info.size, .id = e->id, .mode = METRICS_STAT,
                                         .status = OBJM_STATUS_OK, .fallback = METRICS_N_FALLBACKS};
        start(t->r, &rq);
        objm_ring_server_pass(&t->r->end);
        objm_ring_server_put(&t->r->end, &(struct objm_ring_reply){
                .status = OBJM_STATUS_OK, .op = e->op, .id = e->id, .size = info.size, .version = info.version,
                .mtime = info.mtime_ns / (int64_t)OBJM_NS_PER_S});
        note_known(t, &record);
        t->found++;
        return true;
}

enum ring_step ring_turn_take(struct ring_turn *t, const struct objm_ring_request *e)
{
        struct objm_ring_mark before = objm_ring_server_mark(&t->r->end);
        struct request rq objm_uninitialized;
        enum ring_step step;

        if (objm_likely(answer_known(t, e)))
                return RING_STEP_REPLY;
        objm_ring_server_pass(&t->r->end);
        ring_entry_decode(t->r, t->ctx.snapshot, e, t->r->c->worker->rx, &rq);
        start(t->r, &rq);
        step = run(t, before, &rq);
        if (step == RING_STEP_WAIT)
                ring_turn_rewind(t, &before);
        return step;
}
