/* SPDX-License-Identifier: MIT */
#include "objmapperd/connection.h"

#include "base/fd.h"
#include "objmapperd/exchange.h"
#include "objmapperd/handover.h"
#include "objmapperd/handover_image.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/quarantine.h"
#include "objmapperd/ring.h"
#include "objmapperd/transfer.h"
#include "objmapperd/transfer_job.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Who is there, and whether it may have one more. Its groups, too: lists that they are for may come with a reload. */
static int identify(struct server *s, struct connection *c, int fd)
{
        int r = 0;

        if (c->tcp)
                c->peer = (struct objm_peer){.remote = true, .sock = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
        else
                r = objm_unix_peer(fd, true, &c->peer);
        if (r < 0)
                return r;
        r = allowance_open(s, &c->peer, CONNECTION_SNDBUF, &c->allowance);
        if (r != 0)
                objm_unix_peer_deinit(&c->peer);
        return r;
}

int connection_new(struct server *s, int take_fd, enum config_transport transport, struct connection **ret)
{
        struct connection *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->tcp = transport == CONFIG_TRANSPORT_TCP;
        r = identify(s, c, take_fd);
        if (r != 0) {
                free(c);
                return r;
        }
        c->source.fd = take_fd;
        c->sndbuf = CONNECTION_SNDBUF;
        c->jobs_max = CONNECTION_JOBS_MAX;
        c->batch_limit = 1;
        objm_outq_init(&c->out);
        objm_list_init(&c->link);
        objm_list_init(&c->watch);
        objm_list_init(&c->report.link);
        *ret = c;
        return 0;
}

/* The kernel does not say what is unread: if anything, a descriptor. */
int connection_continue(struct connection *c, const struct handover_entry *e)
{
        int size = CONNECTION_SNDBUF;

        if (e->in_len) {
                c->in = malloc(e->in_len);
                if (!c->in)
                        return -ENOMEM;
                memcpy(c->in, e->in, e->in_len);
        }
        c->in_len = e->in_len;
        c->served = e->served;
        c->inline_limit = e->inline_limit;
        c->jobs_max = e->jobs_max;
        c->batch_limit = e->batch_limit;
        c->may_ring = e->may_ring;
        c->dialect = !e->protocol ? NULL : e->protocol == 1 ? &dialect_v1 : &dialect_v3;
        if (!c->tcp) {
                (void)setsockopt(c->source.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
                c->allowance.unread_fds = objm_unix_unread(c->source.fd) >= OBJM_UNIX_UNREAD_LEAST;
        }
        return 0;
}

void connection_free(struct server *s, struct connection *c)
{
        allowance_close(s, &c->allowance);
        objm_fd_close(c->source.fd);
        ring_free(c->ring);
        objm_outq_deinit(&c->out);
        objm_unix_peer_deinit(&c->peer);
        free(c->in);
        free(c);
}

/* A client that does not read what it asked for may keep a descriptor of ours waiting; all of them together, a few. */
static bool over_budget(struct connection *c)
{
        size_t fds = c->dead ? 0 : c->out.fds;
        bool more = fds > c->queued_fds;

        if (fds == c->queued_fds)
                return false;
        server_count_queued_fds(c->worker->server, (long)fds - (long)c->queued_fds);
        c->queued_fds = (uint16_t)fds;
        if (!more || !server_queued_fds_over(c->worker->server))
                return false;
        log_refused(LOG_REFUSED_SLOW, c->peer.uid, "cut off: leaves a descriptor unread while too many wait");
        return true;
}

/* What the client did not take is not the kernel's to keep; what it was sent it gets. */
static void leave_tcp(struct connection *c)
{
        if (exchange_unsent(c))
                objm_tcp_reset_on_close(c->source.fd);
        else
                objm_tcp_finish(c->source.fd);
}

/* The socket, and what the connection has of its user's limits. @leave: the client goes on with another instance. */
static void let_go(struct connection *c, bool leave)
{
        struct worker *w = c->worker;
        bool left;

        objm_loop_remove(&w->loop, &c->source);
        if (c->sndbuf == CONNECTION_SNDBUF_WIDE)
                server_count_wide(w->server, -1);
        left = leave && handover_take(w->server->handover, c);
        if (!left && c->tcp)
                leave_tcp(c);
        if (!left && quarantine_take(c))
                return;
        c->source.fd = objm_fd_close(c->source.fd);
        allowance_close(w->server, &c->allowance);
        atomic_fetch_sub_explicit(&w->n_connections, 1, memory_order_relaxed);
        server_count_out(w->server);
}

static void end(struct connection *c, bool leave)
{
        struct worker *w = c->worker;

        c->dead = true;
        if (w->hot == c)
                w->hot = NULL;
        if (c->ring)
                ring_close(c->ring);
        let_go(c, leave);
        objm_outq_deinit(&c->out);
        (void)over_budget(c);
        objm_list_unlink(&c->watch);
        objm_list_unlink(&c->link);
        if (!c->jobs)
                objm_list_add_tail(&w->dead, &c->link);
        pthread_mutex_lock(&w->open_lock);
        objm_list_unlink(&c->report.link);
        pthread_mutex_unlock(&w->open_lock);
        objm_tally_add(&w->metrics->closed[connection_transport(c)], 1);
        metrics_tally(w->metrics, &w->metrics->conversation, c->served);
}

void connection_close(struct connection *c)
{
        if (c->dead)
                return;
        if (c->lent) {
                c->doomed = true;
                transfer_abort(c);
        } else {
                end(c, false);
        }
}

static enum worker_wait wait_kind(const struct connection *c)
{
        if (c->lent)
                return WORKER_WAIT_BODY;
        if (c->jobs || c->paused)
                return WORKER_WAIT_JOB;
        if (exchange_unsent(c))
                return WORKER_WAIT_PEER;
        if (c->ring && c->ring->state == RING_WAITING)
                return c->ring->limited ? WORKER_WAIT_JOB : WORKER_WAIT_PEER;
        return c->in_len ? WORKER_WAIT_REST : WORKER_WAIT_REQUEST;
}

/* A list stays in the order of `since`, because that only ever becomes now. */
static void wait_for(struct connection *c, enum worker_wait wait, bool progress)
{
        struct worker *w = c->worker;

        if (wait == atomic_load_explicit(&c->wait, memory_order_relaxed) && (!progress || c->since == w->now))
                return;
        atomic_store_explicit(&c->wait, (uint8_t)wait, memory_order_relaxed);
        c->since = w->now;
        c->unread = 0;
        objm_list_move_tail(&w->waiting[wait], &c->link);
}

/* While draining: nothing more has arrived than what has been answered. */
static bool drained(const struct connection *c)
{
        char c1;

        return c->worker->draining && !c->leaving && !c->in_len && !exchange_blocked(c) &&
               !(c->ring && ring_pending(c->ring)) &&
               recv(c->source.fd, &c1, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

static uint32_t wanted_events(const struct connection *c)
{
        uint32_t events = exchange_unsent(c) ? (uint32_t)EPOLLOUT : 0;

        if (c->refs_wait) /* there is room in the socket, but the kernel takes no descriptor */
                return 0;
        if (c->read_all) /* told of each message that the client reads; level-triggered there is room all the time */
                return EPOLLOUT | EPOLLET;
        return exchange_blocked(c) || c->end_of_input ? events : EPOLLIN | EPOLLRDHUP;
}

/* After every piece of work: closes what has ended, else settles what to wait for. */
void connection_settle(struct connection *c, bool progress)
{
        struct worker *w = c->worker;

        if (c->dead)
                return;
        if ((c->end_of_input && !exchange_blocked(c)) || drained(c))
                c->closing = true;
        if ((c->closing && !exchange_unsent(c) && !c->jobs) || over_budget(c) ||
            (!c->lent && objm_loop_set(&w->loop, &c->source, wanted_events(c)) < 0))
                connection_close(c);
        else if (c->leaving && handover_can_take(c))
                end(c, true);
        else
                wait_for(c, wait_kind(c), progress);
        if (!c->dead && c->ring && c->ring->socket_full && !exchange_unsent(c))
                rings_wake(w, c->ring);
}

static void serve(struct connection *c, ssize_t received, uint64_t seen)
{
        uint32_t served = c->served;

        exchange_serve(c, received, seen);
        connection_settle(c, c->served != served);
}

static void on_events(struct objm_source *source, uint32_t events)
{
        struct connection *c = objm_container_of(source, struct connection, source);
        struct worker *w = c->worker;

        if (c->dead || c->lent)
                return;
        if (events & (EPOLLHUP | EPOLLERR)) {
                connection_close(c);
                return;
        }
        w->n_served++;
        metrics_tally(w->metrics, &w->metrics->wait, w->after > w->now ? w->after - w->now : 0);
        w->hot = c;
        if (events & EPOLLOUT) {
                c->want_write = c->read_all = false;
                exchange_resume(c);
                connection_settle(c, true);
        } else {
                serve(c, exchange_recv(c), w->reported);
        }
}

void connection_start(struct connection *c, struct worker *w)
{
        c->worker = w;
        c->since = w->now;
        c->source.events = EPOLLIN | EPOLLRDHUP;
        c->source.on_events = on_events;
        objm_list_add_tail(&w->waiting[WORKER_WAIT_REQUEST], &c->link);
        atomic_store_explicit(&c->report.opened_ns, w->now, memory_order_relaxed);
        pthread_mutex_lock(&w->open_lock);
        objm_list_add_tail(&w->open, &c->report.link);
        pthread_mutex_unlock(&w->open_lock);
        objm_tally_add(&w->metrics->opened[connection_transport(c)], 1);
        metrics_tally(w->metrics, &w->metrics->arrival, w->now > c->received ? w->now - c->received : 0);
        if (objm_loop_add(&w->loop, &c->source) < 0) {
                connection_close(c);
        } else if (c->in_len) { /* another instance has read it */
                exchange_resume(c);
                connection_settle(c, true);
        }
}

bool connection_poll(struct connection *c, ssize_t *ret_received)
{
        ssize_t n = exchange_blocked(c) || c->end_of_input ? -EAGAIN : exchange_recv(c);

        *ret_received = n;
        return n != -EAGAIN;
}

void connection_polled(struct connection *c, ssize_t received)
{
        c->worker->n_served++;
        serve(c, received, 0);
}

void connection_bury(struct connection *c)
{
        if (!c->jobs)
                objm_list_add_tail(&c->worker->dead, &c->link);
}

void connection_on_reply(struct connection *c, struct reply *reply)
{
        if (c->dead) {
                objm_fd_close(reply->fd);
                connection_bury(c);
                return;
        }
        exchange_reply(c, reply);
        if (!c->dead)
                exchange_resume(c);
        connection_settle(c, true);
}

void connection_on_return(struct connection *c, struct transfer *t)
{
        c->source.events = 0;
        if (t->in_len) {
                free(c->in);
                c->in = t->in;
                c->in_len = t->in_len;
        }
        c->end_of_input = c->end_of_input || t->end_of_input;
        if (t->result < 0 || c->doomed || objm_loop_add(&c->worker->loop, &c->source) < 0) {
                if (t->has_reply)
                        objm_fd_close(t->reply.fd);
                connection_close(c);
                return;
        }
        if (t->has_reply)
                exchange_reply(c, &t->reply);
        if (!c->dead)
                exchange_resume(c);
        connection_settle(c, true);
}

static void set_sndbuf(struct connection *c, uint32_t bytes)
{
        int size = (int)bytes, more_wide = (bytes == CONNECTION_SNDBUF_WIDE) - (c->sndbuf == CONNECTION_SNDBUF_WIDE);

        if (bytes == c->sndbuf || c->tcp)
                return;
        (void)setsockopt(c->source.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        if (more_wide)
                server_count_wide(c->worker->server, more_wide);
        c->sndbuf = bytes;
        allowance_sndbuf_is(c, bytes);
}

void connection_for_fds(struct connection *c)
{
        set_sndbuf(c, CONNECTION_SNDBUF);
}

void connection_for_bodies(struct connection *c)
{
        bool wide = c->sndbuf == CONNECTION_SNDBUF_WIDE || !server_wide_over(c->worker->server);

        if (!c->tcp)
                set_sndbuf(c, allowance_sndbuf(c, wide ? CONNECTION_SNDBUF_WIDE : CONNECTION_SNDBUF_MANY,
                                               CONNECTION_SNDBUF));
}

void connection_watch(struct connection *c)
{
        struct worker *w = c->worker;

        if (objm_list_empty(&c->watch))
                objm_list_add_tail(&w->watched, &c->watch);
}

static bool needs_watch(const struct connection *c)
{
        return c->paused || c->refs_wait || c->allowance.charged_fds;
}

void connection_watched(struct connection *c)
{
        bool resume = (c->paused || c->refs_wait) && !c->lent;

        (void)allowance_look(c);
        if (resume) {
                c->paused = c->refs_wait = false;
                exchange_resume(c);
                connection_settle(c, false);
        }
        if (!c->dead && !needs_watch(c))
                objm_list_unlink(&c->watch);
}

/*
 * A Unix socket says that it takes more when three quarters of it have been read, which may take longer than a client
 * has. Until it is looked at for the first time it may have been a message over what it takes.
 */
static bool reads_on(struct connection *c)
{
        uint64_t was = c->unread ? c->unread : 2 * (uint64_t)c->sndbuf + OBJM_BATCH_BYTES;
        uint64_t unread = objm_unix_unread(c->source.fd);

        c->unread = unread ? (uint32_t)unread : 1;
        return was >= unread + transfer_least(c->worker->snapshot->config->request_ns);
}

/* An idle client is not refused anything. */
static void log_expired(const struct connection *c)
{
        static const char *const why[WORKER_WAIT_MAX] = {
                [WORKER_WAIT_REST] = "did not send the rest of a request in time",
                [WORKER_WAIT_PEER] = "did not read its replies in time",
                [WORKER_WAIT_BODY] = "takes a body too slowly",
        };
        const char *text = why[atomic_load_explicit(&c->wait, memory_order_relaxed)];

        if (text)
                log_refused(LOG_REFUSED_SLOW, c->peer.uid, "cut off: %s", text);
}

void connection_expire(struct connection *c)
{
        struct worker *w = c->worker;

        if (!c->tcp && !c->lent && c->wait == WORKER_WAIT_PEER && exchange_unsent(c) && reads_on(c)) {
                c->since = w->now;
                objm_list_move_tail(&w->waiting[WORKER_WAIT_PEER], &c->link);
                return;
        }
        if (!c->lent || (!c->doomed && transfer_is_slow(c, w->snapshot->config->request_ns))) {
                log_expired(c);
                connection_close(c);
        }
        if (c->lent) {
                c->since = w->now;
                objm_list_move_tail(&w->waiting[WORKER_WAIT_BODY], &c->link);
        }
}

/* Shared memory is between two processes: a ring is drained, and the client makes one with the next instance. */
void connection_leave(struct connection *c)
{
        if (ring_is_open(c->ring)) {
                connection_drain(c);
                return;
        }
        c->leaving = true;
        connection_settle(c, false);
}

void connection_drain(struct connection *c)
{
        if (!exchange_blocked(c) && !c->end_of_input)
                exchange_serve(c, exchange_recv(c), 0);
        if (!c->dead && c->ring)
                rings_wake(c->worker, c->ring);
        connection_settle(c, false);
}
