/* SPDX-License-Identifier: MIT */
#include "objmapperd/transfer.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/escort.h"
#include "objmapperd/exchange.h"
#include "objmapperd/transfer_job.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
        UNFINISHED = 1,
};

static void give_back(struct objm_mail *m)
{
        struct transfer *t = objm_container_of(m, struct transfer, mail);
        struct connection *c = t->c;
        struct metrics *metrics = c->worker->metrics;

        metrics_tally(metrics, &metrics->handover, c->worker->now > t->posted_ns ? c->worker->now - t->posted_ns : 0);
        t->reply.received_ns = t->received_ns;
        c->lent = NULL;
        if (t->uncounted)
                exchange_count(c, &t->record, 1, t->received_ns, t->posted_ns);
        else if (t->cut)
                objm_tally_add(&metrics->cut_off, 1);
        c->served += t->bodies - t->uncounted;
        escort_judge(t);
        connection_on_return(c, t);
        free(t);
}

void transfer_describe(const struct connection *c, const struct reply *r, struct objm_body *body)
{
        body->fd = r->fd;
        body->splice = r->mode == OBJM_MODE_SPLICE && r->body_len >= TRANSFER_SPLICE_MIN;
        body->bytes = body->splice ? NULL : r->bytes;
        body->nowait = body->probed = body->patient = false;
        body->at = r->body_at;
        body->left = r->body_len;
        body->head_len = (uint8_t)c->dialect->encode(body->head, sizeof(body->head), r);
        body->head_sent = 0;
}

static struct transfer *transfer_new(struct connection *c, size_t uri_len)
{
        struct transfer *t = malloc(sizeof(*t) + uri_len);

        if (!t)
                return NULL;
        memset(t, 0, sizeof(*t));
        t->source.fd = c->source.fd;
        t->source.job.run = transfer_run;
        t->mail.deliver = give_back;
        t->body.fd = -1;
        t->reply.fd = -1;
        t->c = c;
        t->received_ns = c->received;
        atomic_init(&t->begun_ns, c->worker->now);
        return t;
}

static uint64_t unread(const struct connection *c)
{
        return c->tcp ? objm_tcp_unread(c->source.fd) : objm_unix_unread(c->source.fd);
}

static int give_to_pool(struct objm_pool *pool, struct transfer *t, bool full)
{
        if (full)
                return objm_pool_wait(pool, &t->source, EPOLLOUT);
        return objm_pool_submit(pool, &t->source.job, t->cold ? OBJM_LANE_COLD : OBJM_LANE_REQUEST);
}

/*
 * @full: the socket is, and the pool goes on when it no longer is, for which it always has room. The pool may have
 * given the transfer back, as mail, before this returns; it is delivered later, in this thread.
 */
static int lend(struct connection *c, struct transfer *t, bool full)
{
        objm_loop_remove(&c->worker->loop, &c->source);
        c->lent = t;
        t->waits_since = full ? objm_clock_ns() : 0;
        t->window_start = -(int64_t)unread(c);
        if (give_to_pool(c->worker->server->pool, t, full) == 0)
                return 0;
        c->lent = NULL;
        if (objm_loop_add(&c->worker->loop, &c->source) < 0)
                connection_close(c);
        return -EBUSY;
}

int transfer_start(struct connection *c, const struct request *rq)
{
        struct transfer *t = transfer_new(c, rq->uri_len);
        int r;

        if (!t)
                return -ENOMEM;
        t->rq = *rq;
        t->cold = true;
        memcpy(t->uri, rq->uri, rq->uri_len);
        t->rq.uri = t->uri;
        connection_for_bodies(c);
        r = lend(c, t, false);
        if (r < 0)
                free(t);
        return r;
}

static void undo(struct transfer *t, struct reply *reply)
{
        reply->fd = t->body.fd;
        server_count_bodies(t->c->worker->server, -1);
        free(t);
}

/* Lends the connection with an object that is open and of which @sent bytes, head included, have left. */
static int start_body(struct connection *c, struct reply *reply, size_t sent)
{
        struct transfer *t = transfer_new(c, 0);
        int r;

        if (!t)
                return -ENOMEM;
        transfer_begin(t, reply);
        t->body.head_sent = (uint8_t)(sent < t->body.head_len ? sent : t->body.head_len);
        t->body.at += sent - t->body.head_sent;
        t->body.left -= sent - t->body.head_sent;
        r = lend(c, t, sent > 0);
        if (r < 0)
                undo(t, reply);
        return r;
}

/* Lends the connection to an escort. False: it goes on without. */
static bool start_escorted(struct connection *c, struct reply *reply)
{
        struct transfer *t = server_bodies_over(c->worker->server) ? NULL : transfer_new(c, 0);

        if (!t)
                return false;
        transfer_begin(t, reply);
        t->alone = true;
        if (!escort_takes(t)) {
                undo(t, reply);
                c->streak = 0;
                return false;
        }
        objm_loop_remove(&c->worker->loop, &c->source);
        c->lent = t;
        return true;
}

/*
 * Here and below: 0 when head and body have left, UNFINISHED when *ret_sent bytes have and the pool is to go on;
 * -EAGAIN when the socket is full and takes nothing.
 */
static int splice_now(struct connection *c, const struct reply *r, size_t *ret_sent)
{
        struct objm_body b;
        int e;

        transfer_describe(c, r, &b);
        if (!objm_body_cached(&b))
                return UNFINISHED;
        e = objm_body_send(&b, c->source.fd, TRANSFER_SPLICE_MAX, NULL, 0);
        *ret_sent = b.head_sent + (size_t)(b.at - r->body_at);
        return e == OBJM_BODY_MORE || (e == -EAGAIN && *ret_sent) ? UNFINISHED : e;
}

/* Head and body, @cap bytes at most; 0 when not all of it is in the page cache. */
static size_t fill(const struct connection *c, const struct reply *r, uint8_t *buf, size_t cap)
{
        size_t head = c->dialect->encode(buf, cap, r);
        ssize_t n = r->body_len ? exchange_read_body(r, buf + head) : 0;

        return n == (ssize_t)r->body_len ? head + (size_t)n : 0;
}

bool transfer_put(struct connection *c, const struct reply *r)
{
        struct objm_batch *b = &c->worker->batch;
        size_t n = fill(c, r, b->data + b->len, objm_batch_room(b));

        b->len += n;
        return n;
}

static int copy_now(struct connection *c, const struct reply *r, size_t *ret_sent)
{
        size_t len = fill(c, r, c->worker->tx, sizeof(c->worker->tx));
        ssize_t n = len ? send(c->source.fd, c->worker->tx, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

        if (n < 0)
                return -errno;
        *ret_sent = (size_t)n;
        return len && (size_t)n == len ? 0 : UNFINISHED;
}

static int send_now(struct connection *c, const struct reply *r, size_t *ret_sent)
{
        int e = UNFINISHED;

        if (r->mode == OBJM_MODE_SPLICE && r->body_len >= TRANSFER_SPLICE_MIN && r->body_len <= TRANSFER_SPLICE_MAX)
                e = splice_now(c, r, ret_sent);
        if (e == UNFINISHED && !*ret_sent && r->body_len <= TRANSFER_INLINE_MAX)
                e = copy_now(c, r, ret_sent);
        return e;
}

int transfer_send(struct connection *c, struct reply *r, bool alone)
{
        size_t sent = 0;
        int e;

        connection_for_bodies(c);
        if (alone && escort_deserved(c) && start_escorted(c, r))
                return TRANSFER_LENT;
        e = send_now(c, r, &sent);
        if (e == UNFINISHED && r->body_len <= TRANSFER_INLINE_MAX)
                metrics_fall_back(c->worker->metrics, sent ? METRICS_SOCKET_FULL : METRICS_COLD_BODY);
        if (e == UNFINISHED)
                e = !sent && server_bodies_over(c->worker->server) ? -EBUSY : start_body(c, r, sent);
        else if (e == 0)
                r->fd = objm_fd_close(r->fd);
        if (r->fd < 0)
                return e == 0 && !c->lent ? 0 : TRANSFER_LENT;
        if (!sent && (e == -EBUSY || e == -EAGAIN || e == -ENOMEM))
                return e;
        r->fd = objm_fd_close(r->fd);
        if (sent)
                objm_tally_add(&c->worker->metrics->cut_off, 1);
        connection_close(c);
        return TRANSFER_LENT;
}

void transfer_abort(struct connection *c)
{
        if (c->tcp)
                objm_tcp_reset_on_close(c->source.fd);
        shutdown(c->source.fd, SHUT_RDWR);
}

/*
 * What waits unread has not been taken. When the socket takes more it is the pool that is late: busy, or waiting for a
 * disk. (unix(7) sockets are writable up to a quarter of the buffer, which is twice what was asked for.)
 */
static bool takes_more(const struct connection *c, uint64_t waits)
{
        return c->tcp ? objm_tcp_has_room(c->source.fd) : waits <= c->sndbuf / 2;
}

uint64_t transfer_least(uint64_t window_ns)
{
        return window_ns / OBJM_NS_PER_MS * TRANSFER_MIN_RATE / 1000;
}

/* What the pool has begun only now, because it was busy or waited for a disk, is judged when the next window ends. */
bool transfer_is_slow(struct connection *c, uint64_t window_ns)
{
        struct transfer *t = c->lent;
        uint64_t waits = unread(c), now = c->worker->now;
        int64_t taken = (int64_t)atomic_load_explicit(&t->sent, memory_order_relaxed) - (int64_t)waits;
        bool late = atomic_load_explicit(&t->begun_ns, memory_order_relaxed) + window_ns / 2 > now;
        bool slow = taken < t->window_start + (int64_t)transfer_least(window_ns) && !takes_more(c, waits);

        t->window_start = taken;
        return slow && !late;
}
