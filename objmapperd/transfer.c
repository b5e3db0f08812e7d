/* SPDX-License-Identifier: MIT */
#include "objmapperd/transfer.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/exchange.h"
#include "transport/body.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define QUANTUM   (256 * 1024)
#define TURN      16 /* quanta, after which whoever waits for a descriptor has its turn too */
#define PIECE     (64 * 1024)
#define READAHEAD (128 * 1024) /* below, the kernel's own guess is as good */

enum {
        UNFINISHED = 1,
};

struct transfer {
        struct objm_pool_source source;
        struct objm_mail mail;
        struct connection *c;
        struct objm_body body; /* fd -1: the request has not been run yet */
        struct request rq;
        struct reply reply;    /* has_reply: something else came of it than a body */
        bool has_reply;
        bool cold;             /* may wait for the disk when it runs next */
        int result;
        struct metrics_record record; /* of the body */
        uint64_t received_ns, posted_ns;
        uint64_t window_start; /* bytes taken by then; the worker's */
        _Atomic uint64_t sent;
        uint8_t uri[];
};

static void give_back(struct objm_mail *m)
{
        struct transfer *t = objm_container_of(m, struct transfer, mail);
        struct connection *c = t->c;
        struct metrics *metrics = c->worker->metrics;

        metrics_tally(metrics, &metrics->handover, c->worker->now > t->posted_ns ? c->worker->now - t->posted_ns : 0);
        t->reply.received_ns = t->received_ns;
        c->lent = NULL;
        if (!t->has_reply && t->result == 0)
                exchange_count(c, &t->record, 1, t->received_ns, t->posted_ns);
        else if (!t->has_reply)
                objm_tally_add(&metrics->cut_off, 1);
        connection_on_return(c, t->result, t->has_reply ? &t->reply : NULL);
        free(t);
}

static void end_body(struct transfer *t)
{
        if (t->body.fd >= 0)
                server_count_bodies(t->c->worker->server, -1);
        objm_body_deinit(&t->body);
}

/* The worker's memory goes by QSBR: online while it is told. */
static void finish(struct transfer *t, struct objm_qsbr_reader *r, int result)
{
        struct server *s = t->c->worker->server;

        objm_pool_forget(s->pool, &t->source);
        end_body(t);
        t->result = result;
        t->posted_ns = objm_clock_ns();
        objm_qsbr_online(r);
        objm_loop_post(&t->c->worker->loop, &t->mail);
}

/* body->fd is the reply's still. */
static void describe(const struct connection *c, const struct reply *r, struct objm_body *body)
{
        body->fd = r->fd;
        body->splice = r->mode == OBJM_MODE_SPLICE;
        body->nowait = body->probed = false;
        body->at = r->body_at;
        body->left = r->body_len;
        body->head_len = (uint8_t)c->dialect->encode(body->head, sizeof(body->head), r);
        body->head_sent = 0;
}

static void begin_body(struct transfer *t, struct reply *r)
{
        describe(t->c, r, &t->body);
        t->record = metrics_record_of(r);
        t->rq.op = r->op;
        t->rq.mode = r->asked;
        t->rq.id = r->id;
        t->rq.want_metadata = r->want_metadata;
        r->fd = -1;
        server_count_bodies(t->c->worker->server, 1);
        if (r->body_len > READAHEAD)
                (void)posix_fadvise(t->body.fd, (off_t)r->body_at, (off_t)r->body_len, POSIX_FADV_SEQUENTIAL);
}

static void become_reply(struct transfer *t, struct reply r)
{
        t->reply = r;
        t->has_reply = true;
}

/* The file could not be read, or is shorter than it was: as long as nothing has left, that can still be said. */
static int say_if_unreadable(struct transfer *t, int result)
{
        if ((result != -EIO && result != -ENODATA) || t->body.head_sent)
                return result;
        become_reply(t, request_refuse(&t->rq, OBJM_STATUS_STORAGE, "the object cannot be read"));
        return 0;
}

/* In the pool: looks the object up. False: it came to something else than a body. */
static bool open_object(struct transfer *t)
{
        struct server *s = t->c->worker->server;
        struct request_context ctx = {.server = s, .snapshot = server_snapshot(s), .peer = &t->c->peer};
        struct reply r = request_run_waiting(&ctx, &t->rq);

        if (r.body && server_bodies_over(s)) {
                objm_fd_close(r.fd);
                r = request_refuse(&t->rq, OBJM_STATUS_UNAVAILABLE, "out of descriptors");
        }
        if (r.body) {
                begin_body(t, &r);
                return true;
        }
        become_reply(t, r);
        return false;
}

static int send_quantum(struct transfer *t, bool nowait)
{
        uint64_t before = t->body.left;
        uint8_t buf[PIECE];
        int r;

        t->body.nowait = nowait;
        r = objm_body_send(&t->body, t->c->source.fd, QUANTUM, buf, sizeof(buf));
        atomic_fetch_add_explicit(&t->sent, before - t->body.left, memory_order_relaxed);
        return r;
}

/*
 * Sends until the socket is full, others wait for the thread or the disk would have to be waited for; a quantum may do
 * that in the cold lane. 0: all is sent.
 */
static int send_pieces(struct transfer *t, struct objm_pool *pool)
{
        int r = t->cold ? send_quantum(t, false) : OBJM_BODY_MORE;

        for (unsigned n = 0; r == OBJM_BODY_MORE && n < TURN && (n == 0 || objm_pool_queued(pool) == 0); n++)
                r = send_quantum(t, true);
        return r;
}

/* From submit() and wait() on, the transfer may be another thread's. */
static void run(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct transfer *t = objm_container_of(job, struct transfer, source.job);
        struct objm_pool *pool = t->c->worker->server->pool;
        int r;

        if (t->body.fd < 0 && !open_object(t)) {
                finish(t, reader, 0);
                return;
        }
        objm_qsbr_offline(reader);
        r = send_pieces(t, pool);
        while (r == OBJM_BODY_MORE || r == OBJM_BODY_COLD) {
                t->cold = r == OBJM_BODY_COLD;
                if (objm_pool_submit(pool, &t->source.job, t->cold ? OBJM_LANE_COLD : OBJM_LANE_REQUEST) == 0)
                        return;
                r = send_pieces(t, pool); /* no room to wait in */
        }
        t->cold = false;
        if (r == -EAGAIN)
                r = objm_pool_wait(pool, &t->source, EPOLLOUT);
        else if (r == 0)
                r = 1;
        if (r != 0)
                finish(t, reader, r < 0 ? say_if_unreadable(t, r) : 0);
}

static struct transfer *transfer_new(struct connection *c, size_t uri_len)
{
        struct transfer *t = malloc(sizeof(*t) + uri_len);

        if (!t)
                return NULL;
        memset(t, 0, sizeof(*t));
        t->source.fd = c->source.fd;
        t->source.job.run = run;
        t->mail.deliver = give_back;
        t->body.fd = -1;
        t->reply.fd = -1;
        t->c = c;
        t->received_ns = c->received;
        return t;
}

/* The pool may have given the transfer back, as mail, before this returns; it is delivered later, in this thread. */
static int lend(struct connection *c, struct transfer *t)
{
        enum objm_pool_lane lane = t->cold ? OBJM_LANE_COLD : OBJM_LANE_REQUEST;

        objm_loop_remove(&c->worker->loop, &c->source);
        c->lent = t;
        if (objm_pool_submit(c->worker->server->pool, &t->source.job, lane) == 0)
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
        r = lend(c, t);
        if (r < 0)
                free(t);
        return r;
}

/* Lends the connection with an object that is open and of which @sent bytes, head included, have left. */
static int start_body(struct connection *c, struct reply *reply, size_t sent)
{
        struct transfer *t = transfer_new(c, 0);
        int r;

        if (!t)
                return -ENOMEM;
        begin_body(t, reply);
        t->body.head_sent = (uint8_t)(sent < t->body.head_len ? sent : t->body.head_len);
        t->body.at += sent - t->body.head_sent;
        t->body.left -= sent - t->body.head_sent;
        r = lend(c, t);
        if (r < 0) {
                reply->fd = t->body.fd;
                server_count_bodies(c->worker->server, -1);
                free(t);
        }
        return r;
}

/*
 * Here and below: 0 when head and body have left, UNFINISHED when *ret_sent bytes have and the pool is to go on;
 * -EAGAIN when the socket is full and takes nothing.
 */
static int splice_now(struct connection *c, const struct reply *r, size_t *ret_sent)
{
        struct objm_body b;
        int e;

        describe(c, r, &b);
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
        struct iovec iov = {.iov_base = buf + head, .iov_len = (size_t)r->body_len};
        int flags = r->in_memory ? 0 : RWF_NOWAIT; /* memory has no such flag */
        ssize_t n = r->body_len ? preadv2(r->fd, &iov, 1, (off_t)r->body_at, flags) : 0;

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

int transfer_send(struct connection *c, struct reply *r)
{
        size_t sent = 0;
        int e;

        connection_for_bodies(c);
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
static bool takes_more(const struct connection *c, uint64_t unread)
{
        return c->tcp ? objm_tcp_has_room(c->source.fd) : unread <= c->sndbuf / 2;
}

bool transfer_is_slow(struct connection *c, uint64_t window_ns)
{
        uint64_t sent = atomic_load_explicit(&c->lent->sent, memory_order_relaxed);
        uint64_t unread = c->tcp ? objm_tcp_unread(c->source.fd) : objm_unix_unread(c->source.fd);
        uint64_t taken = sent > unread ? sent - unread : 0;
        uint64_t wanted = window_ns / OBJM_NS_PER_MS * TRANSFER_MIN_RATE / 1000;
        bool slow = taken < c->lent->window_start + wanted && !takes_more(c, unread);

        c->lent->window_start = taken;
        return slow;
}
