/* SPDX-License-Identifier: MIT */
#include "objmap/bench_worker.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define BATCH     64
#define CLOSE_MAX 1024
#define DOWN_MS   2     /* how often connections that reconnect are looked at */
#define STALL_NS  (5 * OBJM_NS_PER_S)

/* ---- requests ---- */

static struct objmapper_read_options read_options(const struct worker *w)
{
        static const int modes[] = {[BENCH_COPY] = OBJMAPPER_MODE_COPY, [BENCH_SPLICE] = OBJMAPPER_MODE_SPLICE,
                                    [BENCH_AUTO] = OBJMAPPER_MODE_AUTO};

        return (struct objmapper_read_options){.size = sizeof(struct objmapper_read_options),
                                               .mode = modes[w->o->mode]};
}

static int submit_read(struct worker *w, struct objmapper *om, const char *uri, size_t len, uint64_t now)
{
        const struct objmapper_read_options options = read_options(w);
        size_t i = bench_reads_take(&w->reads, now);
        int r = i == w->reads.n ? -ENOMEM : 0;

        if (r == 0)
                r = objmapper_submit_read(om, uri, len, w->reads.read[i].buf, BENCH_READ_MAX, &options, i);
        if (r < 0 && i < w->reads.n)
                bench_reads_put(&w->reads, i);
        return r;
}

static int submit(struct worker *w, struct objmapper *om, uint64_t now)
{
        const struct uris *u = &w->o->uris;
        size_t i = w->next_uri;

        if (w->o->mode == BENCH_PING)
                return objmapper_submit_ping(om, now);
        w->next_uri = i + 1 < u->n ? i + 1 : 0;
        if (bench_reads(w->o))
                return submit_read(w, om, uris_text(u, i), u->uri[i].len, now);
        if (w->o->mode == BENCH_STAT)
                return objmapper_submit_stat(om, uris_text(u, i), u->uri[i].len, now);
        return objmapper_submit_get(om, uris_text(u, i), u->uri[i].len, now);
}

static void fill(struct worker *w, struct objmapper *om, uint64_t now)
{
        size_t room = w->o->depth - objmapper_in_flight(om);

        if (now >= w->stop_ns)
                w->quota = 0;
        for (; room && w->quota; room--, w->quota--)
                if (submit(w, om, now) < 0)
                        return;
        objmapper_flush(om);
}

static void close_received(struct worker *w)
{
        objm_fd_close_many(w->closing, w->n_closing);
        w->n_closing = 0;
}

static void note(struct worker *w, int result, int fd, uint64_t ns)
{
        struct bench_result *r = &w->result;

        r->requests++;
        objm_hist_record(&r->latency, ns);
        if (result < 0 && !r->errors++)
                r->first_error = result;
        if (fd < 0)
                return;
        w->closing[w->n_closing++] = fd;
        if (w->n_closing == CLOSE_MAX)
                close_received(w);
}

static void note_read(struct worker *w, const struct objmapper_completion *c, uint64_t now)
{
        int result = c->object.size > BENCH_READ_MAX && c->result >= 0 ? -EMSGSIZE : c->result;

        w->result.bytes += result > 0 ? (uint64_t)result : 0;
        note(w, result, -1, now - bench_reads_put(&w->reads, c->user_data));
}

/* Each completion's user_data is when it was submitted, or a read's number. */
static void take(struct worker *w, const struct objmapper_completion *c, int n, uint64_t now)
{
        for (int i = 0; i < n; i++) {
                if (bench_reads(w->o))
                        note_read(w, &c[i], now);
                else
                        note(w, c[i].result, c[i].object.fd, now - c[i].user_data);
        }
        if (n > 0)
                w->progress_ns = now;
}

static bool finished(struct worker *w, size_t in_flight, uint64_t now)
{
        if (now - w->progress_ns > STALL_NS)
                w->failed = -ETIMEDOUT;
        return w->failed || now >= w->stop_ns || (!w->quota && !in_flight);
}

/* ---- bytes: a connection for each thread, one request at a time ---- */

static int drop(void *userdata, const struct objmapper_object *object, uint64_t offset, const void *data, size_t n)
{
        struct worker *w = userdata;

        w->result.bytes += n;
        return 0;
}

static int read_next(struct worker *w, struct objmapper *om)
{
        const struct objmapper_read_options options = read_options(w);
        size_t i = w->next_uri;

        w->next_uri = i + 1 < w->o->uris.n ? i + 1 : 0;
        return objmapper_read_cb(om, uris_text(&w->o->uris, i), drop, w, &options, NULL);
}

static void run_reading(struct worker *w)
{
        uint64_t start = objm_clock_ns(), now;
        int r;

        for (; w->quota && start < w->stop_ns; w->quota--, start = now) {
                r = read_next(w, w->connection[0].om);
                now = objm_clock_ns();
                note(w, r, -1, now - start);
        }
}

/* ---- one connection: the library waits, and spins where it pays ---- */

static void run_one(struct worker *w)
{
        struct objmapper *om = w->connection[0].om;
        struct objmapper_completion c[BATCH];
        uint64_t now = objm_clock_ns();
        int n;

        while (!finished(w, objmapper_in_flight(om), now)) {
                fill(w, om, now);
                n = objmapper_wait(om, c, BATCH, 100);
                now = objm_clock_ns();
                take(w, c, n, now);
                close_received(w);
        }
}

/* ---- many connections: epoll ---- */

static uint32_t epoll_events(short events)
{
        return EPOLLIN | (events & POLLOUT ? EPOLLOUT : 0);
}

/* Follows a connection whose descriptor or wishes have changed. */
static void follow(struct worker *w, struct connection *c)
{
        struct epoll_event ev = {.data.ptr = c};
        int fd = objmapper_fd(c->om);
        unsigned generation = objmapper_generation(c->om);
        short events = objmapper_events(c->om);
        int op = generation == c->generation ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

        if (objm_likely(fd >= 0 && op == EPOLL_CTL_MOD && events == c->events))
                return;
        w->n_down += (fd < 0) - c->down;
        c->down = fd < 0;
        if (fd < 0)
                return;
        ev.events = epoll_events(events);
        if (epoll_ctl(w->epoll, op, fd, &ev) < 0)
                w->failed = -errno;
        c->generation = generation;
        c->events = events;
}

static void serve(struct worker *w, struct connection *c, uint64_t now)
{
        struct objmapper_completion done[BATCH];
        int n;

        if (c->down || c->events & POLLOUT)
                objmapper_flush(c->om);
        do {
                n = objmapper_reap(c->om, done, BATCH);
                take(w, done, n, now);
        } while (n == BATCH);
        fill(w, c->om, now);
        follow(w, c);
}

static void serve_down(struct worker *w, uint64_t now)
{
        for (unsigned i = 0; i < w->n_connections && w->n_down; i++)
                if (w->connection[i].down)
                        serve(w, &w->connection[i], now);
}

static size_t in_flight(const struct worker *w)
{
        size_t n = 0;

        if (w->quota)
                return 1; /* there will be some: no need to count */
        for (unsigned i = 0; i < w->n_connections; i++)
                n += objmapper_in_flight(w->connection[i].om);
        return n;
}

static void run_many(struct worker *w)
{
        struct epoll_event events[BATCH];
        uint64_t now = objm_clock_ns();
        int n;

        for (unsigned i = 0; i < w->n_connections; i++) {
                fill(w, w->connection[i].om, objm_clock_ns());
                follow(w, &w->connection[i]);
        }
        while (!finished(w, in_flight(w), now)) {
                n = epoll_wait(w->epoll, events, BATCH, w->n_down ? DOWN_MS : 100);
                now = objm_clock_ns();
                for (int i = 0; i < n; i++)
                        serve(w, events[i].data.ptr, now);
                if (objm_unlikely(w->n_down))
                        serve_down(w, now);
                close_received(w);
        }
}

/* ---- a connection for each request ---- */

static void one_transient(struct worker *w, uint64_t start)
{
        struct objmapper_options options = {.size = sizeof(options), .depth = 1, .flags = w->o->flags,
                                            .version = w->o->cli->version, .timeout_ms = w->o->cli->timeout_ms};
        struct objmapper_completion c = {.object.fd = -1};
        struct objmapper *om;

        c.result = objmapper_connect(w->o->cli->socket, &options, &om);
        if (c.result == 0) {
                c.result = bench_reads(w->o) ? read_next(w, om) : submit(w, om, start);
                if (c.result == 0 && !bench_reads(w->o) && objmapper_wait(om, &c, 1, 5000) != 1)
                        c.result = -ETIMEDOUT;
                objmapper_free(om);
        }
        note(w, c.result, c.object.fd, objm_clock_ns() - start);
        close_received(w);
}

static void run_transient(struct worker *w)
{
        uint64_t now = objm_clock_ns();

        for (; w->quota && now < w->stop_ns; w->quota--, now = objm_clock_ns())
                one_transient(w, now);
}

/* ---- */

void worker_run(struct worker *w)
{
        w->progress_ns = objm_clock_ns();
        if (w->o->transient)
                run_transient(w);
        else if (bench_reads(w->o) && w->o->depth == 1)
                run_reading(w);
        else if (w->n_connections == 1)
                run_one(w);
        else
                run_many(w);
        w->end_ns = objm_clock_ns();
}

static int connect_all(struct worker *w)
{
        struct objmapper_options options = {.size = sizeof(options), .depth = w->o->depth, .flags = w->o->flags,
                                            .version = w->o->cli->version, .timeout_ms = w->o->cli->timeout_ms};
        int r;

        for (unsigned i = 0; i < w->n_connections; i++) {
                r = objmapper_connect(w->o->cli->socket, &options, &w->connection[i].om);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The @index-th part of @total split among the threads as evenly as can be. */
static uint64_t share(const struct bench_options *o, uint64_t total, unsigned index)
{
        return total / o->threads + (index < total % o->threads);
}

int worker_init(struct worker *w, const struct bench_options *o, unsigned index)
{
        *w = (struct worker){.o = o, .epoll = -1};
        objm_hist_init(&w->result.latency);
        w->n_connections = o->transient ? 0 : (unsigned)share(o, o->connections, index);
        w->quota = o->count ? share(o, o->count, index) : UINT64_MAX;
        w->stop_ns = UINT64_MAX;
        w->next_uri = o->uris.n / o->threads * index;
        w->connection = calloc(w->n_connections + 1, sizeof(*w->connection));
        w->closing = calloc(CLOSE_MAX, sizeof(*w->closing));
        w->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (!w->connection || !w->closing || w->epoll < 0 ||
            bench_reads_init(&w->reads, (size_t)w->n_connections * o->depth) < 0)
                return -ENOMEM;
        return connect_all(w);
}

void worker_deinit(struct worker *w)
{
        for (unsigned i = 0; w->connection && i < w->n_connections; i++)
                objmapper_free(w->connection[i].om);
        bench_reads_deinit(&w->reads); /* behind the connections that read into them */
        free(w->connection);
        free(w->closing);
        objm_fd_close(w->epoll);
}
