/* SPDX-License-Identifier: MIT */
#include "objmapperd/exchange.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/pagecache.h"
#include "objmapperd/control.h"
#include "objmapperd/escort.h"
#include "objmapperd/hello.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/probe.h"
#include "objmapperd/ring_attach.h"
#include "objmapperd/task.h"
#include "objmapperd/transfer.h"
#include "protocol/v3.h"
#include "transport/unix.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WORTH_ASKING 8

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

/* The work on one stretch of input. Everything before `mark` has left as replies or tasks. */
struct stretch {
        const uint8_t *buf;
        size_t len, at, mark;
        unsigned replies; /* in the batch */
        bool bodies;      /* the same: some of them with an object's bytes */
        bool last;
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

/* How many more may be answered when @pending replies are still to leave. */
static uint32_t requests_left(const struct connection *c, unsigned pending)
{
        uint32_t limit = c->worker->snapshot->requests_per_connection;
        uint32_t used = c->served + c->jobs + !!c->lent + pending;

        return !limit ? UINT32_MAX : used < limit ? limit - used : 0;
}

/*
 * After many replies have left and while more requests wait: will the socket take more? Asking costs one system call,
 * a batch that has to be taken back two for each object; but over TCP there are none in a batch.
 */
static bool full(const struct connection *c, const struct stretch *s)
{
        return !c->tcp && s->replies >= WORTH_ASKING && s->at < s->len &&
               objm_unix_unread(c->source.fd) >= 2 * c->sndbuf;
}

static void note_left(struct connection *c, unsigned replies, size_t n_fds)
{
        if (c->worker->snapshot->rate_limited)
                allowance_use(c, replies);
        if (n_fds)
                allowance_fds_left(c, n_fds);
}

static void no_more_refs(struct connection *c)
{
        c->refuse_fds = true;
        server_refs_are_scarce(c->worker->server);
}

void exchange_count(struct connection *c, const struct metrics_record *r, size_t n, uint64_t start, uint64_t end)
{
        uint64_t bytes = metrics_count(c->worker->metrics, connection_transport(c), r, n, start, end);

        c->served += (uint32_t)n;
        objm_tally_add(&c->report.requests, n);
        objm_tally_add(&c->report.bytes, bytes);
        atomic_store_explicit(&c->report.last_ns, end, memory_order_relaxed);
        c->closing = c->closing || !requests_left(c, 0);
}

void exchange_count_now(struct connection *c, const struct metrics_record *r, uint64_t start)
{
        c->worker->after = objm_clock_ns();
        exchange_count(c, r, 1, start, c->worker->after);
}

/* Requests that are taken back are run again, and have started all the same. */
static void start(struct connection *c, const struct stretch *s, const struct request *rq)
{
        if (s->replies < c->started)
                return;
        c->started = (uint8_t)(s->replies + 1);
        probe_request_start(connection_transport(c), rq);
}

static void count_batch(struct connection *c, const struct stretch *s)
{
        struct worker *w = c->worker;

        if (!s->replies)
                return;
        w->after = objm_clock_ns();
        exchange_count(c, w->pending, s->replies, c->received, w->after);
}

static void not_sent(struct connection *c, int error)
{
        struct metrics *m = c->worker->metrics;

        if (error == -EAGAIN) {
                c->want_write = true;
                metrics_fall_back(m, METRICS_SOCKET_FULL);
        } else if (error == -ETOOMANYREFS) {
                no_more_refs(c);
                metrics_fall_back(m, METRICS_FDS_IN_FLIGHT);
        } else {
                connection_close(c);
        }
}

/*
 * Sends the batch. When nothing of it went, s->at is back where the last replies left from; whether to go on from there
 * is for exchange_blocked() to say, in this case and in the other.
 */
static void flush(struct connection *c, struct stretch *s)
{
        struct objm_batch *b = &c->worker->batch;
        size_t n_fds = b->n_fds;
        int r;

        if (b->n_fds)
                connection_for_fds(c);
        else if (s->bodies)
                connection_for_bodies(c);
        r = s->replies ? c->dialect->send(b, c->source.fd, &c->out) : 0;
        if (r == 0) {
                note_left(c, s->replies, n_fds);
                count_batch(c, s);
                c->refuse_fds = c->refuse_fds && !s->replies;
                if (s->last)
                        log_refused(LOG_REFUSED_PROTOCOL, c->peer.uid, "cut off: what it has sent is no request");
                c->closing = c->closing || s->last || !requests_left(c, 0);
                c->want_write = c->want_write || full(c, s);
                c->started -= s->replies < c->started ? s->replies : c->started;
                s->mark = s->at;
        } else {
                objm_batch_clear(b);
                allowance_fds_dropped(c, n_fds);
                not_sent(c, r);
                s->at = s->mark;
        }
        s->replies = 0;
        s->bodies = s->last = false;
}

/*
 * Descriptors and the bytes of objects do not share a message: the socket's buffer is small for the ones and large for
 * the others. False: what was in the way could not leave.
 */
static bool make_room(struct connection *c, struct stretch *s, size_t bytes, bool for_fd)
{
        const struct objm_batch *b = &c->worker->batch;
        size_t here = s->at;

        if (objm_batch_room(b) >= bytes && !(for_fd ? s->bodies : b->n_fds))
                return true;
        flush(c, s);
        return s->at == here && !exchange_blocked(c);
}

static void put(struct connection *c, struct stretch *s, const struct reply *r)
{
        c->worker->pending[s->replies++] = metrics_record_of(r);
        dialect_put(c->dialect, &c->worker->batch, r);
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

static struct reply refuse_user(struct connection *c, const struct request *rq)
{
        server_count(&c->worker->server->limited.descriptors);
        log_refused(LOG_REFUSED_UID_DESCRIPTORS, c->peer.uid, "as many descriptors are under way as "
                    "limits.descriptors_per_uid allows");
        return request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "too many descriptors of this user in flight");
}

/* A reply with a descriptor goes to the batch, if there may be one more of both. */
static enum step put_fd(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply)
{
        int r = make_room(c, s, DIALECT_REPLY_MAX, true) ? 0 : -EAGAIN;

        if (r == 0 && c->worker->snapshot->fds_limited)
                r = allowance_take_fd(c, c->worker->batch.n_fds);
        if (r != 0)
                reply->fd = objm_fd_close(reply->fd);
        if (r < 0 || r == ALLOWANCE_WAIT)
                return r < 0 ? STEP_AGAIN : STEP_FULL;
        if (r == ALLOWANCE_REFUSED)
                *reply = refuse_user(c, rq);
        put(c, s, reply);
        return STEP_REPLY;
}

static enum step next_attach(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply)
{
        const char *text = NULL;
        uint8_t status = ring_attach_check(c, rq, &text);

        if (status == OBJM_STATUS_OK)
                return STEP_TASK;
        *reply = request_refuse(rq, status, text);
        put(c, s, reply);
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
        put(c, s, reply);
        return d == OBJM_DECODE_BAD ? STEP_LAST : STEP_REPLY;
}

/* While draining there is no ring to be had, which is not for want of anything. */
static void note_busy(struct connection *c)
{
        metrics_fall_back(c->worker->metrics, METRICS_QUEUE_FULL);
        if (!c->worker->draining)
                log_refused(LOG_REFUSED_RESOURCES, c->peer.uid, "request refused: no thread or memory for it");
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

        flush(c, s);
        if (s->at != here || exchange_blocked(c))
                return;
        if (c->worker->snapshot->fds_limited && !allowance_has_room(c)) {
                c->want_write = c->read_all = true;
                return;
        }
        s->at += used;
        if (hand_over(c, rq) == 0) {
                c->started = 0;
                s->mark = s->at;
                note_left(c, 1, 0);
                return;
        }
        if (c->dead)
                return;
        note_busy(c);
        busy = request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "too much work is waiting");
        put(c, s, &busy);
}

static void close_body(struct reply *reply)
{
        if (!reply->kept)
                reply->fd = objm_fd_close(reply->fd);
}

/* What is kept serves where it is read at once; from here on the descriptor is the reply's. */
static void own_body(struct connection *c, struct reply *reply)
{
        if (reply->kept)
                objm_kept_surrender(&c->worker->kept, reply->fd);
        reply->kept = false;
        reply->bytes = NULL;
}

ssize_t exchange_read_body(const struct reply *r, uint8_t *buf)
{
        if (!r->bytes)
                return objm_pagecache_read(r->fd, buf, (size_t)r->body_len, r->body_at);
        memcpy(buf, r->bytes + r->body_at, (size_t)r->body_len);
        return (ssize_t)r->body_len;
}

void exchange_end_body(struct connection *c, const struct request *rq, struct reply *reply, bool sent)
{
        if (sent)
                reply->kept = request_keep(c->worker->snapshot, &c->worker->kept, rq, reply);
        close_body(reply);
}

/* Appends reply and object to the batch, if that is small and in the page cache. */
static bool gather_body(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply)
{
        if (!transfer_put(c, reply))
                return false;
        exchange_end_body(c, rq, reply, true);
        c->worker->pending[s->replies++] = metrics_record_of(reply);
        s->bodies = true;
        return true;
}

/*
 * A body was asked for, nothing else of the connection waits, neither for its turn nor for another thread, and nothing
 * limits how often it may ask.
 */
static bool alone(const struct connection *c, const struct stretch *s, const struct request *rq, size_t used)
{
        const struct snapshot *snap = c->worker->snapshot;

        return (rq->mode == OBJM_MODE_COPY || rq->mode == OBJM_MODE_SPLICE) && s->at + used == s->len && !c->jobs &&
               !c->ring && !c->attaching && !snap->requests_per_connection && !snap->rate_limited;
}

static void credit(struct connection *c, bool alone)
{
        if (alone)
                escort_credit(c);
        else
                c->streak = 0;
}

/* As start_task(). Takes reply->fd; when the request has to wait it is run again. */
static void send_body(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply,
                      size_t used)
{
        bool one = alone(c, s, rq, used), escorted = one && escort_deserved(c);
        bool small = reply->body_len <= TRANSFER_GATHER_MAX && !escorted;
        bool room = !small || make_room(c, s, DIALECT_REPLY_MAX + (size_t)reply->body_len, false);
        struct metrics_record record = metrics_record_of(reply);
        int r;

        if (room && small && gather_body(c, s, rq, reply)) {
                s->at += used;
                credit(c, one);
                return;
        }
        if (!room || !make_room(c, s, SIZE_MAX, false)) {
                close_body(reply);
                return;
        }
        own_body(c, reply);
        r = transfer_send(c, reply, one);
        if (r < 0)
                objm_fd_close(reply->fd);
        if (r == -EAGAIN || c->dead) {
                not_sent(c, -EAGAIN);
                return;
        }
        s->at += used;
        if (r < 0) {
                note_busy(c);
                *reply = r == -ENOMEM ? request_refuse(rq, OBJM_STATUS_NO_MEMORY, NULL)
                                      : request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "too much work is waiting");
                put(c, s, reply);
                return;
        }
        c->started = 0;
        s->mark = s->at;
        note_left(c, 1, 0);
        if (r == 0) {
                exchange_count_now(c, &record, c->received);
                credit(c, one);
        }
}

/* Where there are bodies there are no descriptors, which are what some clients and version 1 take one at a time. */
static bool batch_full(const struct connection *c, const struct stretch *s)
{
        unsigned limit = s->bodies ? CONNECTION_BATCH_MAX : c->batch_limit;

        return s->replies >= limit || objm_batch_room(&c->worker->batch) < DIALECT_REPLY_MAX ||
               !requests_left(c, s->replies);
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
                send_body(c, s, &rq, &reply, used);
        else if (step < STEP_AGAIN)
                s->at += used;
        if (step == STEP_GREETED) {
                s->mark = s->at;
                return true;
        }
        s->last = step == STEP_LAST;
        end = s->at;
        if (!c->dead && (step >= STEP_FULL || s->last || s->at == s->len || batch_full(c, s)))
                flush(c, s);
        if (step == STEP_FULL)
                c->want_write = c->read_all = true;
        else if (step == STEP_PAUSE)
                pause_asking(c);
        return step != STEP_MORE || s->at != end;
}

static void work_on(struct connection *c, const uint8_t *buf, size_t len)
{
        struct stretch s = {.buf = buf, .len = len};
        bool more = true;

        objm_kept_begin(&c->worker->kept, c->worker->now);
        while (more && s.at < s.len && !exchange_blocked(c))
                more = take_request(c, &s);
        if (c->dead)
                return;
        allowance_settle(c);
        keep(c, s.buf + s.mark, s.len - s.mark);
}

void exchange_serve(struct connection *c, ssize_t received)
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
                work_on(c, c->worker->rx, c->in_len + (size_t)received);
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
        work_on(c, c->worker->rx, c->in_len);
}

static int send_or_queue(struct connection *c)
{
        struct objm_batch *b = &c->worker->batch;
        int r = -EAGAIN;

        if (!exchange_unsent(c)) {
                if (b->n_fds)
                        connection_for_fds(c);
                r = c->dialect->send(b, c->source.fd, &c->out);
        }
        return r == -EAGAIN ? c->dialect->queue(b, &c->out) : r;
}

/* That the client takes one more was made sure of when the request was handed to the pool. */
static void charge_fd(struct connection *c, const struct request *rq, struct reply *reply)
{
        if (reply->fd < 0 || allowance_take_fd(c, 0) != ALLOWANCE_REFUSED)
                return;
        objm_fd_close(reply->fd);
        *reply = refuse_user(c, rq);
}

void exchange_reply(struct connection *c, struct reply *reply)
{
        struct objm_batch *b = &c->worker->batch;
        const struct request rq = {.op = reply->op, .mode = reply->asked, .id = reply->id,
                                   .want_metadata = reply->want_metadata};
        uint64_t start = reply->received_ns ? reply->received_ns : c->received;
        struct metrics_record record;
        struct reply refusal;
        size_t n_fds;
        int r;

        if (c->worker->snapshot->fds_limited)
                charge_fd(c, &rq, reply);
        record = metrics_record_of(reply);
        n_fds = reply->fd >= 0;
        dialect_put(c->dialect, b, reply);
        r = send_or_queue(c);
        if (r == -ETOOMANYREFS) {
                no_more_refs(c);
                allowance_fds_dropped(c, n_fds);
                n_fds = 0;
                objm_batch_clear(b);
                metrics_fall_back(c->worker->metrics, METRICS_FDS_IN_FLIGHT);
                refusal = request_refuse(&rq, OBJM_STATUS_UNAVAILABLE, "too many descriptors in flight");
                record = metrics_record_of(&refusal);
                dialect_put(c->dialect, b, &refusal);
                r = send_or_queue(c);
        }
        objm_batch_clear(b);
        if (r < 0) {
                connection_close(c);
                return;
        }
        if (n_fds)
                allowance_fds_left(c, n_fds);
        exchange_count_now(c, &record, start);
}

/* As many messages as descriptors: the queue keeps one with each. */
static int queue_fds(struct connection *c, const uint8_t *msg, size_t len, const int *fds, size_t n)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++) {
                size_t from = len * i / n, to = len * (i + 1) / n;
                int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

                r = fd < 0 ? -errno : objm_outq_push(&c->out, msg + from, to - from, fd);
                if (r < 0)
                        objm_fd_close(fd);
        }
        return r;
}

int exchange_send_fds(struct connection *c, const uint8_t *msg, size_t len, const int *fds, size_t n)
{
        ssize_t sent = -EAGAIN;

        if (!exchange_unsent(c)) {
                connection_for_fds(c);
                sent = objm_fdpass_send(c->source.fd, msg, len, fds, n);
        }
        if (sent == -EAGAIN) {
                allowance_fds_left(c, n);
                return queue_fds(c, msg, len, fds, n);
        }
        if (sent < 0)
                return (int)sent;
        allowance_fds_left(c, n);
        return (size_t)sent < len ? objm_outq_push(&c->out, msg + sent, len - (size_t)sent, -1) : 0;
}

bool exchange_send_fd(struct connection *c, struct reply *reply)
{
        struct objm_batch *b = &c->worker->batch;
        int r;

        dialect_put(c->dialect, b, reply);
        reply->fd = -1;
        r = send_or_queue(c);
        objm_batch_clear(b);
        if (r == 0)
                allowance_fds_left(c, 1);
        else if (r != -ETOOMANYREFS)
                connection_close(c);
        return r == 0;
}

void exchange_doorbell(struct connection *c)
{
        const struct objm_v3_response rs = {.op = OBJM_V3_OP_RING_DOORBELL};
        uint8_t msg[OBJM_V3_RESPONSE_HEADER];
        size_t len = objm_v3_response_encode(msg, sizeof(msg), &rs);
        ssize_t n = 0;

        if (!c->lent &&
            (exchange_unsent(c) || (n = send(c->source.fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0))
                return;
        if ((size_t)n < len && objm_outq_push(&c->out, msg + n, len - (size_t)n, -1) < 0)
                connection_close(c);
}
