/* SPDX-License-Identifier: MIT */
#include "objmapperd/datagram.h"

#include "base/clock.h"
#include "base/fd.h"
#include "concurrency/loop.h"
#include "objmapperd/cookie.h"
#include "objmapperd/datagram_reply.h"
#include "objmapperd/log.h"
#include "objmapperd/log_limit.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/probe.h"
#include "objmapperd/pulse.h"
#include "objmapperd/quota.h"
#include "objmapperd/socket_set.h"
#include "transport/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAUSE_NS 10000000L

struct datagram {
        struct server *server;
        struct objm_loop loop;
        struct objm_qsbr_reader reader;
        struct objm_mail stop_mail;
        struct beat beat;
        pthread_t thread;
        bool stopping, joined;

        struct objm_siphash_key key; /* of the cookies */
        struct quota quota[2];       /* of senders without a good cookie, and with one */
        struct metrics *metrics;
        uint64_t received; /* ns: when `in` was */
        uint64_t answered;
        atomic_uint n_cold;

        struct objm_udp_batch in, out;
        struct metrics_record pending[OBJM_UDP_BATCH]; /* of the replies in `out` */
        struct socket_set sockets;
};

/* Whoever sends a datagram. */
static const struct objm_peer nobody = {.remote = true, .uid = (uid_t)-1, .gid = (gid_t)-1};

static struct log_limit failure_limit = LOG_LIMIT_INIT;

/* ---- what needs the disk ---- */

struct cold {
        struct objm_job job;
        struct datagram *service;
        int sock; /* owned, a duplicate: a reload may close the other one */
        struct datagram_ask ask;
        uint64_t received; /* ns */
        struct objm_udp_datagram reply;
        uint8_t uri[];
};

static void count_cold(const struct cold *c, const struct reply *r, bool sent)
{
        struct metrics *m = metrics_of_pool_thread(&c->service->server->metrics);
        struct metrics_record record = metrics_record_of(r);

        if (!m)
                return;
        metrics_count(m, METRICS_UDP, &record, 1, c->received, objm_clock_ns());
        objm_tally_add(&m->drops[METRICS_DROP_UNSENT], !sent);
}

/* The reader goes offline around reading, which needs nothing that a reload might free. */
static void run_cold(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct cold *c = objm_container_of(job, struct cold, job);
        struct datagram *d = c->service;
        struct request_context ctx = {.server = d->server, .snapshot = server_snapshot(d->server), .peer = &nobody};
        struct reply r = request_run_waiting(&ctx, &c->ask.rq);

        objm_qsbr_offline(reader);
        c->reply.len = datagram_put(&c->ask, &r, false, c->reply.data);
        count_cold(c, &r, objm_udp_send_one(c->sock, &c->reply));
        objm_qsbr_online(reader);
        objm_fd_close(c->sock);
        free(c);
        atomic_fetch_sub_explicit(&d->n_cold, 1, memory_order_relaxed);
}

/* False: too much waits already. */
static bool start_cold(struct datagram *d, int sock, const struct objm_inet *peer, const struct datagram_ask *a)
{
        struct cold *c;

        if (atomic_load_explicit(&d->n_cold, memory_order_relaxed) >= DATAGRAM_COLD_MAX)
                return false;
        c = malloc(sizeof(*c) + a->rq.uri_len);
        if (!c)
                return false;
        c->job = (struct objm_job){.run = run_cold};
        c->service = d;
        c->sock = fcntl(sock, F_DUPFD_CLOEXEC, 0);
        if (c->sock < 0) {
                free(c);
                return false;
        }
        c->ask = *a;
        c->received = d->received;
        c->reply.peer = *peer;
        if (a->rq.uri_len)
                memcpy(c->uri, a->rq.uri, a->rq.uri_len);
        c->ask.rq.uri = c->uri;
        atomic_fetch_add_explicit(&d->n_cold, 1, memory_order_relaxed);
        if (objm_pool_submit(d->server->pool, &c->job, OBJM_LANE_COLD) == 0)
                return true;
        atomic_fetch_sub_explicit(&d->n_cold, 1, memory_order_relaxed);
        objm_fd_close(c->sock);
        free(c);
        return false;
}

/* ---- in this thread ---- */

static bool drop(struct datagram *d, enum metrics_drop why)
{
        objm_tally_add(&d->metrics->drops[why], 1);
        return false;
}

/* The request of a datagram that is worth an answer, and how long that may be. False: drop it. */
static bool admit(struct datagram *d, const struct objm_udp_datagram *in, uint64_t now, struct datagram_ask *ret)
{
        struct objm_udp_request u;
        bool known;

        if (!objm_udp_address_answerable(&in->peer))
                return drop(d, METRICS_DROP_UNANSWERABLE);
        if (objm_udp_request_decode(in->data, in->len, &u) < 0)
                return drop(d, METRICS_DROP_MALFORMED);
        known = u.cookie && cookie_is_good(&d->key, &in->peer, now, u.cookie);
        if (!quota_take(&d->quota[known], &in->peer, now))
                return drop(d, METRICS_DROP_OVER_RATE);
        *ret = datagram_ask_from(&u, cookie_make(&d->key, &in->peer, now), known ? OBJM_UDP_DATAGRAM_MAX : in->len);
        return true;
}

/* Length of the reply in @out, 0: none is due now. */
static size_t answer(struct datagram *d, int sock, const struct objm_udp_datagram *in, uint8_t *out)
{
        struct request_context ctx = {.server = d->server, .snapshot = server_snapshot(d->server), .peer = &nobody,
                                      .nowait = true};
        struct metrics_record *record = &d->pending[d->out.n];
        struct datagram_ask a;
        struct reply r;
        size_t len = 0;

        if (!admit(d, in, d->received, &a))
                return 0;
        d->answered++;
        probe_request_start(METRICS_UDP, &a.rq);
        if (request_run(&ctx, &a.rq, &r) == 0)
                len = datagram_put(&a, &r, true, out);
        if (len) {
                *record = metrics_record_of(&r);
                return len;
        }
        metrics_fall_back(d->metrics, METRICS_COLD_OPEN);
        if (start_cold(d, sock, &in->peer, &a))
                return 0;
        metrics_fall_back(d->metrics, METRICS_QUEUE_FULL);
        log_refused(LOG_REFUSED_RESOURCES, LOG_NO_UID, "datagram refused: no thread or memory for it");
        r = request_refuse(&a.rq, OBJM_STATUS_UNAVAILABLE, NULL);
        *record = metrics_record_of(&r);
        return datagram_put_refusal(&a, OBJM_STATUS_UNAVAILABLE, out);
}

/* What is readable and cannot be read must not keep the thread busy. */
static void pause_after(int error)
{
        log_limited(&failure_limit, LOG_WARNING, "cannot receive datagrams: %s", strerror(-error));
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static void on_events(struct objm_source *source, uint32_t events)
{
        struct datagram *d = objm_container_of(source, struct set_socket, source)->set->owner;
        int r = objm_udp_recv(source->fd, &d->in);
        size_t sent;

        if (r < 0) {
                pause_after(r);
                return;
        }
        d->received = objm_clock_ns();
        d->out.n = 0;
        for (size_t i = 0; i < d->in.n; i++) {
                struct objm_udp_datagram *out = &d->out.item[d->out.n];

                out->len = answer(d, source->fd, &d->in.item[i], out->data);
                out->peer = d->in.item[i].peer;
                d->out.n += out->len > 0;
        }
        sent = objm_udp_send(source->fd, &d->out);
        metrics_count(d->metrics, METRICS_UDP, d->pending, d->out.n, d->received, objm_clock_ns());
        objm_tally_add(&d->metrics->drops[METRICS_DROP_UNSENT], d->out.n - sent);
}

static void on_stop(struct objm_mail *m)
{
        objm_container_of(m, struct datagram, stop_mail)->stopping = true;
}

static void *thread_main(void *arg)
{
        struct datagram *d = arg;
        struct objm_qsbr *q = d->server->qsbr;

        pthread_setname_np(pthread_self(), "objm-udp");
        objm_qsbr_register(q, &d->reader);
        while (!d->stopping) {
                objm_loop_wait(&d->loop, -1);
                objm_qsbr_online(&d->reader);
                objm_loop_dispatch(&d->loop);
                objm_qsbr_offline(&d->reader);
                objm_qsbr_poll(q);
        }
        objm_qsbr_unregister(&d->reader);
        return NULL;
}

/* ---- from the main thread ---- */

static int prepare(struct datagram *d)
{
        int r = objm_siphash_key_init(&d->key);

        if (r == 0)
                r = quota_init(&d->quota[false], (struct quota_rate)DATAGRAM_NETWORK_RATE,
                               (struct quota_rate)DATAGRAM_TOTAL_RATE);
        if (r == 0)
                r = quota_init(&d->quota[true], (struct quota_rate)DATAGRAM_KNOWN_NETWORK,
                               (struct quota_rate)DATAGRAM_KNOWN_TOTAL);
        return r;
}

int datagram_add(struct datagram *d, const struct listening *socket)
{
        return socket_set_add(&d->sockets, socket);
}

int datagram_go(struct datagram *d)
{
        return socket_set_go(&d->sockets);
}

void datagram_remove(struct datagram *d, const struct listening *socket)
{
        socket_set_remove(&d->sockets, socket, NULL);
}

int datagram_start(struct server *s, struct datagram **ret)
{
        struct datagram *d = aligned_alloc(OBJM_CACHE_LINE, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        memset(d, 0, offsetof(struct datagram, in)); /* not the buffers: pages that are not used cost nothing */
        socket_set_init(&d->sockets, &d->loop, on_events, d);
        d->server = s;
        d->stop_mail.deliver = on_stop;
        d->metrics = metrics_begin(&s->metrics);
        r = d->metrics ? objm_loop_init(&d->loop) : -ENOMEM;
        if (r < 0) {
                free(d);
                return r;
        }
        r = prepare(d);
        if (r == 0)
                r = -pthread_create(&d->thread, NULL, thread_main, d);
        if (r < 0) {
                objm_loop_deinit(&d->loop);
                free(d);
                return r;
        }
        *ret = d;
        return 0;
}

void datagram_ask(struct datagram *d, struct pulse *p)
{
        if (d)
                pulse_ask(p, &d->beat, &d->loop);
}

void datagram_stop(struct datagram *d)
{
        if (!d || d->joined)
                return;
        objm_loop_post(&d->loop, &d->stop_mail);
        pthread_join(d->thread, NULL);
        d->joined = true;
}

static void log_counts(struct datagram *d)
{
        struct metrics sum;

        if (metrics_sum(&d->server->metrics, &sum) < 0)
                return;
        log_line(LOG_INFO, "datagrams: %" PRIu64 " taken; dropped: %" PRIu64 " malformed, %" PRIu64 " not to be "
                 "answered, %" PRIu64 " over the rate, %" PRIu64 " replies", d->answered,
                 sum.drops[METRICS_DROP_MALFORMED], sum.drops[METRICS_DROP_UNANSWERABLE],
                 sum.drops[METRICS_DROP_OVER_RATE], sum.drops[METRICS_DROP_UNSENT]);
        metrics_deinit(&sum);
}

void datagram_free(struct datagram *d)
{
        if (!d)
                return;
        log_counts(d);
        socket_set_deinit(&d->sockets);
        objm_loop_deinit(&d->loop);
        free(d);
}
