/* SPDX-License-Identifier: MIT */
#include "objmapperd/stretch.h"

#include "base/clock.h"
#include "objmapperd/exchange.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/metrics_record.h"
#include "transport/unix.h"

#include <errno.h>

#define WORTH_ASKING 8

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

void stretch_left_apart(struct connection *c, struct stretch *s)
{
        c->started = 0;
        s->mark = s->at;
        note_left(c, 1, 0);
}

static void count_batch(struct connection *c, const struct stretch *s)
{
        struct worker *w = c->worker;

        if (!s->replies)
                return;
        w->after = objm_clock_ns();
        exchange_count(c, w->pending, s->replies, c->received, w->after);
}

void stretch_not_sent(struct connection *c, int error)
{
        struct metrics *m = c->worker->metrics;

        if (error == -EAGAIN) {
                c->want_write = true;
                metrics_fall_back(m, METRICS_SOCKET_FULL);
        } else if (error == -ETOOMANYREFS) {
                exchange_no_more_refs(c);
                metrics_fall_back(m, METRICS_FDS_IN_FLIGHT);
        } else {
                connection_close(c);
        }
}

void stretch_flush(struct connection *c, struct stretch *s)
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
                c->closing = c->closing || s->last || !exchange_requests_left(c, 0);
                c->want_write = c->want_write || full(c, s);
                c->started -= s->replies < c->started ? s->replies : c->started;
                s->mark = s->at;
        } else {
                objm_batch_clear(b);
                allowance_fds_dropped(c, n_fds);
                stretch_not_sent(c, r);
                s->at = s->mark;
        }
        s->replies = 0;
        s->bodies = s->last = false;
}

bool stretch_make_room(struct connection *c, struct stretch *s, size_t bytes, bool for_fd)
{
        const struct objm_batch *b = &c->worker->batch;
        size_t here = s->at;

        if (objm_batch_room(b) >= bytes && !(for_fd ? s->bodies : b->n_fds))
                return true;
        stretch_flush(c, s);
        return s->at == here && !exchange_blocked(c);
}

void stretch_put(struct connection *c, struct stretch *s, const struct reply *r)
{
        c->worker->pending[s->replies++] = metrics_record_of(r);
        dialect_put(c->dialect, &c->worker->batch, r);
}

/* While draining there is no ring to be had, which is not for want of anything. */
void stretch_note_busy(struct connection *c)
{
        metrics_fall_back(c->worker->metrics, METRICS_QUEUE_FULL);
        if (!c->worker->draining)
                log_refused(LOG_REFUSED_RESOURCES, c->peer.uid, "request refused: no thread or memory for it");
}
