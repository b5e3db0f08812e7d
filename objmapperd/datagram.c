/* SPDX-License-Identifier: MIT */
#include "objmapperd/datagram.h"

#include "base/clock.h"
#include "concurrency/loop.h"
#include "objmapperd/cookie.h"
#include "objmapperd/datagram_reply.h"
#include "objmapperd/log.h"
#include "objmapperd/log_limit.h"
#include "objmapperd/pulse.h"
#include "objmapperd/quota.h"
#include "transport/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAUSE_NS 10000000L

struct datagram_socket {
        struct objm_source source;
        struct datagram *service;
};

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
        uint64_t malformed, unanswerable, over_rate, answered;
        atomic_ullong unsent;        /* replies that the kernel did not take */
        atomic_uint n_cold;

        struct objm_udp_batch in, out;
        size_t n_sockets;
        struct datagram_socket sockets[];
};

/* Whoever sends a datagram. */
static const struct objm_peer nobody = {.remote = true, .uid = (uid_t)-1, .gid = (gid_t)-1};

static struct log_limit failure_limit = LOG_LIMIT_INIT;

/* ---- what needs the disk ---- */

struct cold {
        struct objm_job job;
        struct datagram *service;
        int sock; /* borrowed: closed after the pool has stopped */
        struct datagram_ask ask;
        struct objm_udp_datagram reply;
        uint8_t uri[];
};

/* The reader goes offline around reading, which needs nothing that a reload might free. */
static void run_cold(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct cold *c = objm_container_of(job, struct cold, job);
        struct datagram *d = c->service;
        struct request_context ctx = {.server = d->server, .snapshot = server_snapshot(d->server), .peer = &nobody};
        struct reply r = request_run_waiting(&ctx, &c->ask.rq);

        objm_qsbr_offline(reader);
        c->reply.len = datagram_put(&c->ask, &r, false, c->reply.data);
        if (!objm_udp_send_one(c->sock, &c->reply))
                atomic_fetch_add_explicit(&d->unsent, 1, memory_order_relaxed);
        objm_qsbr_online(reader);
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
        c->sock = sock;
        c->ask = *a;
        c->reply.peer = *peer;
        if (a->rq.uri_len)
                memcpy(c->uri, a->rq.uri, a->rq.uri_len);
        c->ask.rq.uri = c->uri;
        atomic_fetch_add_explicit(&d->n_cold, 1, memory_order_relaxed);
        if (objm_pool_submit(d->server->pool, &c->job, OBJM_LANE_COLD) == 0)
                return true;
        atomic_fetch_sub_explicit(&d->n_cold, 1, memory_order_relaxed);
        free(c);
        return false;
}

/* ---- in this thread ---- */

/* The request of a datagram that is worth an answer, and how long that may be. False: drop it. */
static bool admit(struct datagram *d, const struct objm_udp_datagram *in, uint64_t now, struct datagram_ask *ret)
{
        struct objm_udp_request u;
        bool known;

        if (!objm_udp_address_answerable(&in->peer)) {
                d->unanswerable++;
                return false;
        }
        if (objm_udp_request_decode(in->data, in->len, &u) < 0) {
                d->malformed++;
                return false;
        }
        known = u.cookie && cookie_is_good(&d->key, &in->peer, now, u.cookie);
        if (!quota_take(&d->quota[known], &in->peer, now)) {
                d->over_rate++;
                return false;
        }
        *ret = datagram_ask_from(&u, cookie_make(&d->key, &in->peer, now), known ? OBJM_UDP_DATAGRAM_MAX : in->len);
        return true;
}

/* Length of the reply in @out, 0: none is due now. */
static size_t answer(struct datagram *d, int sock, const struct objm_udp_datagram *in, uint64_t now, uint8_t *out)
{
        struct request_context ctx = {.server = d->server, .snapshot = server_snapshot(d->server), .peer = &nobody,
                                      .nowait = true};
        struct datagram_ask a;
        struct reply r;
        size_t len = 0;

        if (!admit(d, in, now, &a))
                return 0;
        d->answered++;
        if (request_run(&ctx, &a.rq, &r) == 0)
                len = datagram_put(&a, &r, true, out);
        if (len || start_cold(d, sock, &in->peer, &a))
                return len;
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
        struct datagram *d = objm_container_of(source, struct datagram_socket, source)->service;
        uint64_t now = objm_clock_coarse_ns();
        int r = objm_udp_recv(source->fd, &d->in);

        if (r < 0) {
                pause_after(r);
                return;
        }
        d->out.n = 0;
        for (size_t i = 0; i < d->in.n; i++) {
                struct objm_udp_datagram *out = &d->out.item[d->out.n];

                out->len = answer(d, source->fd, &d->in.item[i], now, out->data);
                out->peer = d->in.item[i].peer;
                d->out.n += out->len > 0;
        }
        atomic_fetch_add_explicit(&d->unsent, d->out.n - objm_udp_send(source->fd, &d->out), memory_order_relaxed);
}

static void on_stop(struct objm_mail *m)
{
        objm_container_of(m, struct datagram, stop_mail)->stopping = true;
}

static void *thread_main(void *arg)
{
        struct datagram *d = arg;
        struct objm_qsbr *q = d->server->qsbr;

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

static int prepare(struct datagram *d, const int *fds)
{
        int r = objm_siphash_key_init(&d->key);

        if (r == 0)
                r = quota_init(&d->quota[false], (struct quota_rate)DATAGRAM_NETWORK_RATE,
                               (struct quota_rate)DATAGRAM_TOTAL_RATE);
        if (r == 0)
                r = quota_init(&d->quota[true], (struct quota_rate)DATAGRAM_KNOWN_NETWORK,
                               (struct quota_rate)DATAGRAM_KNOWN_TOTAL);
        for (size_t i = 0; r == 0 && i < d->n_sockets; i++) {
                struct datagram_socket *s = &d->sockets[i];

                *s = (struct datagram_socket){.service = d, .source = {.fd = fds[i], .events = EPOLLIN,
                                                                       .on_events = on_events}};
                r = objm_loop_add(&d->loop, &s->source);
        }
        return r;
}

int datagram_start(struct server *s, const int *fds, size_t n, struct datagram **ret)
{
        size_t size = sizeof(struct datagram) + n * sizeof(struct datagram_socket) + OBJM_CACHE_LINE - 1;
        struct datagram *d = aligned_alloc(OBJM_CACHE_LINE, size & ~(size_t)(OBJM_CACHE_LINE - 1));
        int r;

        if (!d)
                return -ENOMEM;
        memset(d, 0, offsetof(struct datagram, in)); /* not the buffers: pages that are not used cost nothing */
        d->n_sockets = n;
        d->server = s;
        d->stop_mail.deliver = on_stop;
        r = objm_loop_init(&d->loop);
        if (r < 0) {
                free(d);
                return r;
        }
        r = prepare(d, fds);
        if (r == 0)
                r = -pthread_create(&d->thread, NULL, thread_main, d);
        if (r < 0) {
                objm_loop_deinit(&d->loop);
                free(d);
                return r;
        }
        pthread_setname_np(d->thread, "objm-udp");
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

void datagram_free(struct datagram *d)
{
        if (!d)
                return;
        log_line(LOG_INFO, "datagrams: %llu taken; dropped: %llu malformed, %llu not to be answered, %llu over the "
                 "rate, %llu replies", (unsigned long long)d->answered, (unsigned long long)d->malformed,
                 (unsigned long long)d->unanswerable, (unsigned long long)d->over_rate, atomic_load(&d->unsent));
        objm_loop_deinit(&d->loop);
        free(d);
}
