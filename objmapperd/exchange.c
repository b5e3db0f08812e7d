/* SPDX-License-Identifier: MIT */
#include "objmapperd/exchange.h"

#include "base/fd.h"
#include "objmapperd/control.h"
#include "objmapperd/hello.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/probe.h"
#include "objmapperd/ring_attach.h"
#include "objmapperd/stretch.h"
#include "objmapperd/task.h"
#include "objmapperd/transfer.h"
#include "protocol/v3.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static_assert(WORKER_PENDING >= CONNECTION_BATCH_MAX, "every reply of a batch has a record");

enum step {
        STEP_REPLY, /* a reply is in the batch */
        STEP_LAST,  /* the same, and no request can follow it */
        STEP_TASK,  /* the request is for another thread */
        STEP_BODY,  /* the reply is followed by an object's bytes */
        STEP_GREETED,
        STEP_AGAIN, /* there was no room for the reply: the request is run again */
        STEP_FULL,  /* the same, once the client has read everything */
        STEP_PAUSE, /* the client may not ask again yet */
        STEP_MORE,
};

bool exchange_unsent(const struct connection *c)
{
        return c->want_write || c->lent || !objm_outq_empty(&c->out);
}

bool exchange_blocked(const struct connection *c)
{
        unsigned jobs_max = c->dialect && c->dialect->ordered ? 1 : c->jobs_max;

        return c->dead || c->closing || c->paused || c->leaving || exchange_unsent(c) || c->jobs >= jobs_max;
}

ssize_t exchange_recv(struct connection *c)
{
        struct worker *w = c->worker;
        ssize_t n;

        if (c->in_len)
                memcpy(w->rx, c->in, c->in_len);
        do
                n = recv(c->source.fd, w->rx + c->in_len, sizeof(w->rx) - c->in_len, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* Keeps @len bytes of input for later, in memory of its own. */
static void keep(struct connection *c, const uint8_t *rest, size_t len)
{
        uint8_t *copy = NULL;

        if (c->dead)
                return;
        if (len) {
                copy = malloc(len);
                if (!copy) {
                        log_refused(LOG_REFUSED_RESOURCES, c->peer.uid, "cut off: no memory for what it has sent");
                        connection_close(c);
                        return;
                }
                memcpy(copy, rest, len);
        }
        free(c->in);
        c->in = copy;
        c->in_len = (uint32_t)len;
}

/* Requests that are taken back are run again, and have started all the same. */
static void start(struct connection *c, const struct stretch *s, const struct request *rq)
{
        if (s->replies < c->started)
                return;
        c->started = (uint8_t)(s->replies + 1);
        probe_request_start(connection_transport(c), rq);
}

/* The smaller of what the client has said at first and says now. */
static uint32_t inline_limit(const struct connection *c, const struct request *rq)
{
        return rq->inline_limit && rq->inline_limit < c->inline_limit ? rq->inline_limit : c->inline_limit;
}

/* False: it has asked for as many as it may. */
static bool may_ask(struct connection *c, const struct stretch *s, size_t used)
{
        size_t likely = used ? (s->len - s->at - used) / used : 0; /* as many more, if they are alike */

        return !c->worker->snapshot->rate_limited || allowance_covers(c, s->replies, likely);
}

/*
 * In version 1 the descriptor follows a reply that has left and cannot be taken back: none is promised while the kernel
 * takes none.
 */
static bool refuse_fds(const struct connection *c)
{
        bool promises = c->dialect && c->dialect->ordered && !c->tcp;

        return c->refuse_fds || (promises && server_refs_scarce(c->worker->server));
}

/* A reply with a descriptor goes to the batch, if there may be one more of both. */
static enum step put_fd(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply)
{
        int r = stretch_make_room(c, s, DIALECT_REPLY_MAX, true) ? 0 : -EAGAIN;

        if (r == 0 && c->worker->snapshot->fds_limited)
                r = allowance_take_fd(c, c->worker->batch.n_fds);
        if (r != 0)
                reply->fd = objm_fd_close(reply->fd);
        if (r < 0 || r == ALLOWANCE_WAIT)
                return r < 0 ? STEP_AGAIN : STEP_FULL;
        if (r == ALLOWANCE_REFUSED)
                *reply = exchange_refuse_user(c, rq);
        stretch_put(c, s, reply);
        return STEP_REPLY;
}

static enum step next_attach(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply)
{
        const char *text = NULL;
        uint8_t status = ring_attach_check(c, rq, &text);

        if (status == OBJM_STATUS_OK)
                return STEP_TASK;
        *reply = request_refuse(rq, status, text);
        stretch_put(c, s, reply);
        return STEP_REPLY;
}

/* Looks at the request at s->at; runs it if that can be done here and now. */
static enum step next(struct connection *c, struct stretch *s, struct request *rq, struct reply *reply, size_t *used)
{
        struct worker *w = c->worker;
        struct request_context ctx = {.server = w->server, .snapshot = w->snapshot, .peer = &c->peer, .nowait = true,
                                      .refuse_fds = refuse_fds(c), .kept = &w->kept};
        enum objm_decode d;
        int r;

        if (!c->dialect)
                return hello_answer(c, s->buf + s->at, s->len - s->at, used) ? STEP_GREETED : STEP_MORE;
        d = c->dialect->next(s->buf + s->at, s->len - s->at, rq, used);
        if (d == OBJM_DECODE_MORE)
                return STEP_MORE;
        if (!may_ask(c, s, *used))
                return STEP_PAUSE;
        start(c, s, rq);
        rq->inline_limit = inline_limit(c, rq);
        if (d == OBJM_DECODE_OK && w->server->model->execution == OBJM_EXECUTE_SPAWN && request_uses_store(rq))
                return STEP_TASK;
        if (rq->op == OBJM_V3_OP_RING_ATTACH && rq->status == OBJM_STATUS_OK)
                return next_attach(c, s, rq, reply);
        r = request_run(&ctx, rq, reply);
        if (r == REQUEST_COLD)
                metrics_fall_back(w->metrics, METRICS_COLD_OPEN);
        if (r != 0)
                return STEP_TASK;
        if (reply->body)
                return STEP_BODY;
        if (reply->fd >= 0)
                return put_fd(c, s, rq, reply);
        stretch_put(c, s, reply);
        return d == OBJM_DECODE_BAD ? STEP_LAST : STEP_REPLY;
}

static int hand_over(struct connection *c, const struct request *rq)
{
        if (request_is_for_main(rq))
                return control_start(c, rq);
        if (rq->op == OBJM_V3_OP_RING_ATTACH)
                return ring_attach_start(c, rq);
        return request_may_have_body(rq, &c->peer) ? transfer_start(c, rq) : task_start(c, rq);
}

/* Replies before it leave first, and all of them: a task cannot be taken back. */
static void start_task(struct connection *c, struct stretch *s, const struct request *rq, size_t used)
{
        size_t here = s->at;
        struct reply busy;

        stretch_flush(c, s);
        if (s->at != here || exchange_blocked(c))
                return;
        if (c->worker->snapshot->fds_limited && !allowance_has_room(c)) {
                c->want_write = c->read_all = true;
                return;
        }
        s->at += used;
        if (hand_over(c, rq) == 0) {
                stretch_left_apart(c, s);
                return;
        }
        if (c->dead)
                return;
        stretch_note_busy(c);
        busy = request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "too much work is waiting");
        stretch_put(c, s, &busy);
}

/* Where there are bodies there are no descriptors, which are what some clients and version 1 take one at a time. */
static bool batch_full(const struct connection *c, const struct stretch *s)
{
        unsigned limit = s->bodies ? CONNECTION_BATCH_MAX : c->batch_limit;

        return s->replies >= limit || objm_batch_room(&c->worker->batch) < DIALECT_REPLY_MAX ||
               !exchange_requests_left(c, s->replies);
}

/* The client is told nothing: it waits, and so does what it sends. */
static void pause_asking(struct connection *c)
{
        if (c->dead)
                return;
        c->paused = true;
        server_count(&c->worker->server->limited.pauses);
        connection_watch(c);
}

/* Works on one request and sends the batch when that is complete. False: what is left is but the beginning of one. */
static bool take_request(struct connection *c, struct stretch *s)
{
        struct request rq;
        struct reply reply;
        size_t used = 0, end;
        enum step step = next(c, s, &rq, &reply, &used);

        if (step == STEP_TASK)
                start_task(c, s, &rq, used);
        else if (step == STEP_BODY)
                stretch_send_body(c, s, &rq, &reply, used);
        else if (step < STEP_AGAIN)
                s->at += used;
        if (step == STEP_GREETED) {
                s->mark = s->at;
                return true;
        }
        s->last = step == STEP_LAST;
        end = s->at;
        if (!c->dead && (step >= STEP_FULL || s->last || s->at == s->len || batch_full(c, s)))
                stretch_flush(c, s);
        if (step == STEP_FULL)
                c->want_write = c->read_all = true;
        else if (step == STEP_PAUSE)
                pause_asking(c);
        return step != STEP_MORE || s->at != end;
}

/* @first: the mark of the first request, 0 where it is that of the others. */
static void work_on(struct connection *c, const uint8_t *buf, size_t len, uint64_t first)
{
        struct objm_kept *kept = &c->worker->kept;
        struct stretch s = {.buf = buf, .len = len};
        uint64_t others = objm_kept_begin(kept, c->worker->now);
        bool more = true;

        if (first)
                objm_kept_need(kept, first);
        while (more && s.at < s.len && !exchange_blocked(c)) {
                more = take_request(c, &s);
                objm_kept_need(kept, others);
        }
        if (c->dead)
                return;
        allowance_settle(c);
        keep(c, s.buf + s.mark, s.len - s.mark);
}

void exchange_serve(struct connection *c, ssize_t received, uint64_t seen)
{
        if (received == -EAGAIN)
                return;
        if (received < 0) {
                connection_close(c);
                return;
        }
        if (received == 0 && c->in_len < sizeof(c->worker->rx))
                c->end_of_input = true;
        else {
                c->received = c->worker->now;
                work_on(c, c->worker->rx, c->in_len + (size_t)received, seen);
        }
}

void exchange_resume(struct connection *c)
{
        int r = c->lent ? 0 : objm_outq_send(&c->out, c->source.fd);

        c->refs_wait = r == -ETOOMANYREFS;
        if (c->refs_wait) {
                server_refs_are_scarce(c->worker->server);
                connection_watch(c);
        } else if (r < 0 && r != -EAGAIN) {
                connection_close(c);
                return;
        }
        if (exchange_blocked(c) || !c->in_len)
                return;
        memcpy(c->worker->rx, c->in, c->in_len);
        work_on(c, c->worker->rx, c->in_len, 0);
}
