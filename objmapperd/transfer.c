/* SPDX-License-Identifier: MIT */
#include "objmapperd/transfer.h"

#include "base/clock.h"
#include "base/fd.h"
#include "transport/body.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define QUANTUM   (256 * 1024)
#define TURN      16 /* quanta, after which whoever waits for a descriptor has its turn too */
#define PIECE     (64 * 1024)
#define SPARE_FDS 128          /* of which bodies keep off: grants and others that are soon over need them */
#define READAHEAD (128 * 1024) /* below, the kernel's own guess is as good */

struct transfer {
        struct objm_pool_source source;
        struct objm_mail mail;
        struct connection *c;
        struct objm_body body; /* fd -1: the request has not been run yet */
        struct request rq;
        struct reply reply;    /* has_reply: something else came of it than a body */
        bool has_reply;
        int result;
        uint64_t window_start; /* bytes taken by then; the worker's */
        _Atomic uint64_t sent;
        uint8_t uri[];
};

static void give_back(struct objm_mail *m)
{
        struct transfer *t = objm_container_of(m, struct transfer, mail);
        struct connection *c = t->c;

        c->lent = NULL;
        connection_on_return(c, t->result, t->has_reply ? &t->reply : NULL);
        free(t);
}

/* The worker's memory goes by QSBR: online while it is told. */
static void finish(struct transfer *t, struct objm_qsbr_reader *r, int result)
{
        struct server *s = t->c->worker->server;

        objm_pool_forget(s->pool, &t->source);
        objm_body_deinit(&t->body);
        t->result = result;
        objm_qsbr_online(r);
        objm_loop_post(&t->c->worker->loop, &t->mail);
}

/*
 * A body keeps a descriptor for as long as its client is allowed to take, so bodies leave room for as many connections
 * as there may be. The kernel gives out the lowest number that is free: @fd tells how many are taken.
 */
static bool crowded(struct server *s, int fd)
{
        uint64_t each = s->model->placement == OBJM_PLACE_OWN ? 3 : 1;
        uint64_t max = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
        uint64_t now = atomic_load_explicit(&s->n_connections, memory_order_relaxed);
        uint64_t to_come = max > now ? (max - now) * each : 0;
        struct rlimit rl;

        if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur == RLIM_INFINITY)
                return false;
        return (uint64_t)fd + to_come + (rl.rlim_cur / 8 < SPARE_FDS ? rl.rlim_cur / 8 : SPARE_FDS) >= rl.rlim_cur;
}

static void begin_body(struct transfer *t, struct reply *r)
{
        t->body.splice = r->mode == OBJM_MODE_SPLICE;
        t->body.at = r->body_at;
        t->body.left = r->body_len;
        t->body.head_len = (uint8_t)t->c->dialect->encode(t->body.head, sizeof(t->body.head), r);
        t->body.fd = objm_fd_steal(&r->fd);
        if (r->body_len > READAHEAD)
                (void)posix_fadvise(t->body.fd, (off_t)r->body_at, (off_t)r->body_len, POSIX_FADV_SEQUENTIAL);
}

/* In the pool: looks the object up. False: it came to something else than a body. */
static bool open_object(struct transfer *t)
{
        struct server *s = t->c->worker->server;
        struct request_context ctx = {.snapshot = server_snapshot(s), .peer = &t->c->peer};
        struct reply r;

        if (request_run(&ctx, &t->rq, &r) != 0)
                r = request_refuse(&t->rq, OBJM_STATUS_INTERNAL, NULL);
        if (r.body && crowded(s, r.fd)) {
                objm_fd_close(r.fd);
                r = request_refuse(&t->rq, OBJM_STATUS_UNAVAILABLE, "out of descriptors");
        }
        if (r.body) {
                begin_body(t, &r);
                return true;
        }
        t->reply = r;
        t->has_reply = true;
        return false;
}

/* Sends until the socket is full or others wait for the thread. 0: all is sent. */
static int send_pieces(struct transfer *t, struct objm_pool *pool)
{
        uint8_t buf[PIECE];
        unsigned n = 0;
        int r;

        do {
                uint64_t before = t->body.left;

                r = objm_body_send(&t->body, t->c->source.fd, QUANTUM, buf, sizeof(buf));
                atomic_fetch_add_explicit(&t->sent, before - t->body.left, memory_order_relaxed);
        } while (r == OBJM_BODY_MORE && ++n < TURN && objm_pool_queued(pool) == 0);
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
        while (r == OBJM_BODY_MORE) {
                if (objm_pool_submit(pool, &t->source.job, OBJM_LANE_REQUEST) == 0)
                        return;
                r = send_pieces(t, pool); /* no room to wait in */
        }
        if (r == -EAGAIN)
                r = objm_pool_wait(pool, &t->source, EPOLLOUT);
        else if (r == 0)
                r = 1;
        if (r != 0)
                finish(t, reader, r < 0 ? r : 0);
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
        return t;
}

/* The pool may have given the transfer back, as mail, before this returns; it is delivered later, in this thread. */
static int lend(struct connection *c, struct transfer *t)
{
        objm_loop_remove(&c->worker->loop, &c->source);
        c->lent = t;
        if (objm_pool_submit(c->worker->server->pool, &t->source.job, OBJM_LANE_REQUEST) == 0)
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
        memcpy(t->uri, rq->uri, rq->uri_len);
        t->rq.uri = t->uri;
        connection_set_wide(c, true);
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
                reply->fd = objm_fd_steal(&t->body.fd);
                free(t);
        }
        return r;
}

/* Head and body in the worker's buffer; 0 when not all of it is in the page cache. */
static size_t fill(struct connection *c, const struct reply *r)
{
        uint8_t *tx = c->worker->tx;
        size_t head = c->dialect->encode(tx, DIALECT_REPLY_MAX, r);
        struct iovec iov = {.iov_base = tx + head, .iov_len = (size_t)r->body_len};
        ssize_t n = r->body_len ? preadv2(r->fd, &iov, 1, (off_t)r->body_at, RWF_NOWAIT) : 0;

        return n == (ssize_t)r->body_len ? head + (size_t)n : 0;
}

int transfer_send(struct connection *c, struct reply *r)
{
        size_t len = r->body_len <= TRANSFER_INLINE_MAX ? fill(c, r) : 0;
        ssize_t n = 0;
        int e;

        connection_set_wide(c, true);
        if (len) {
                n = send(c->source.fd, c->worker->tx, len, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && errno == EAGAIN)
                        return -EAGAIN;
                if (n == (ssize_t)len) {
                        r->fd = objm_fd_close(r->fd);
                        return 0;
                }
        }
        if (n < 0)
                e = -errno;
        else
                e = n == 0 && crowded(c->worker->server, r->fd) ? -EBUSY : start_body(c, r, (size_t)n);
        if (e == -EBUSY && n == 0)
                return -EBUSY;
        r->fd = objm_fd_close(r->fd);
        if (e < 0)
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
        return c->tcp ? objm_tcp_has_room(c->source.fd) : unread <= CONNECTION_SNDBUF_WIDE / 2;
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
