/* SPDX-License-Identifier: MIT */
/*
 * Reads objects from objmapperd, nginx, memcached or redis and throws them away: the same sends, receives and buffer
 * whatever the server, so that the client costs every side the same. Prints one line of JSON.
 *
 *      peer_client SPEAKER SOCKET PID,... CONNECTIONS THREADS DEPTH SECONDS spin|sleep NAME...
 *
 * The CPU time of the processes PID,... is read before and after. Each thread has its part of the connections. On each
 * connection DEPTH requests are sent at once, and DEPTH more when their replies have come; the time between is the
 * latency. A thread with one connection receives with blocking calls, or polls (spin); one with several uses epoll.
 * What is under way when the time is up counts with the bytes that have come.
 *
 * Before the clock starts the first connection gets the first object; "sum" is a hash of its bytes.
 */
#include "base/hist.h"
#include "bench_base.h"
#include "cpu_time.h"
#include "peer_wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#define PIECE     (256 * 1024)
#define DEPTH_MAX 64

struct conn {
        int fd;
        unsigned next; /* name */
        unsigned owed; /* replies */
        uint64_t sent;
        uint64_t body, trailer; /* bytes still to come of the reply under way */
        size_t have;            /* of a head that is not whole yet */
        uint8_t head[HEAD_LEN_MAX];
};

struct runner {
        pthread_t thread;
        struct conn *conns;
        unsigned n_conns;
        uint64_t end;
        uint64_t requests, bytes, sum;
        bool summing;
        struct objm_hist hist;
        uint8_t buf[PIECE];
};

static const struct speaker *speaker;
static char **names;
static unsigned n_names, depth;
static int recv_flags;

static void open_conn(struct conn *c, const char *path)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                die(path);
        if (speaker->greet && speaker->greet(c->fd, depth) < 0)
                die("hello");
}

static void ask(struct conn *c, unsigned n, uint64_t t)
{
        uint8_t buf[DEPTH_MAX * REQUEST_LEN_MAX];
        size_t len = 0;

        c->owed = n;
        c->sent = t;
        while (n--)
                len += speaker->put(speaker, buf + len, names[c->next++ % n_names]);
        if (send(c->fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
                die("send");
}

static uint64_t add_to_sum(uint64_t sum, const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                sum = (sum ^ p[i]) * 0x100000001b3;
        return sum;
}

/* Drops what belongs to the body or trailer under way; returns how much that was. */
static size_t drop(struct runner *r, struct conn *c, const uint8_t *p, size_t n)
{
        size_t body = c->body < n ? (size_t)c->body : n;
        size_t trailer = c->trailer < n - body ? c->trailer : n - body;

        if (r->summing)
                r->sum = add_to_sum(r->sum, p, body);
        r->bytes += body;
        c->body -= body;
        c->trailer -= trailer;
        return body + trailer;
}

/* Returns how long the head was, or 0 if it is not whole: its bytes are kept. */
static size_t begin_reply(struct conn *c, const uint8_t *p, size_t n)
{
        struct reply reply;
        int state = speaker->parse(speaker, p, n, &reply);

        if (state < 0 || (state > 0 && n > HEAD_LEN_MAX) || !c->owed) {
                fprintf(stderr, "%s: not the reply that was asked for: %.*s\n", speaker->name, n < 80 ? (int)n : 80, p);
                exit(1);
        }
        if (state > 0) {
                memcpy(c->head, p, n);
                c->have = n;
                return 0;
        }
        c->body = reply.body;
        c->trailer = speaker->trailer;
        return reply.head;
}

/* One recv, and all that came with it. */
static void take(struct runner *r, struct conn *c)
{
        size_t had = c->have, len, used;
        uint8_t *p = r->buf;
        ssize_t n;

        n = recv(c->fd, p + had, PIECE - had, recv_flags);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0)
                die("recv");
        memcpy(p, c->head, had);
        c->have = 0;
        for (len = had + (size_t)n; len > 0; p += used, len -= used) {
                used = c->body || c->trailer ? drop(r, c, p, len) : begin_reply(c, p, len);
                if (!used)
                        return;
                if (!c->body && !c->trailer) {
                        c->owed--;
                        r->requests++;
                }
        }
}

/* Asks for more when everything has come. Returns the time. */
static uint64_t go_on(struct runner *r, struct conn *c)
{
        uint64_t t = now();

        if (!c->owed && t < r->end) {
                objm_hist_record(&r->hist, t - c->sent);
                ask(c, depth, t);
        }
        return t;
}

static void run_one(struct runner *r)
{
        struct conn *c = r->conns;

        ask(c, depth, now());
        do
                take(r, c);
        while (go_on(r, c) < r->end);
}

static void run_many(struct runner *r)
{
        struct epoll_event ev = {.events = EPOLLIN}, evs[256];
        int ep = epoll_create1(EPOLL_CLOEXEC);
        uint64_t t = now();

        for (unsigned i = 0; i < r->n_conns; i++) {
                ev.data.ptr = &r->conns[i];
                if (epoll_ctl(ep, EPOLL_CTL_ADD, r->conns[i].fd, &ev) < 0)
                        die("epoll_ctl");
                ask(&r->conns[i], depth, t);
        }
        while (t < r->end) {
                int k = epoll_wait(ep, evs, 256, -1);

                for (int i = 0; i < k; i++) {
                        take(r, evs[i].data.ptr);
                        t = go_on(r, evs[i].data.ptr);
                }
        }
        close(ep);
}

static void *run(void *arg)
{
        struct runner *r = arg;

        if (r->n_conns == 1)
                run_one(r);
        else
                run_many(r);
        return NULL;
}

static uint64_t get_first(struct runner *r)
{
        r->summing = true;
        r->sum = 0xcbf29ce484222325;
        ask(r->conns, 1, now());
        while (r->conns->owed)
                take(r, r->conns);
        r->summing = false;
        r->requests = r->bytes = 0;
        return r->sum;
}

static struct runner *prepare(const char *path, unsigned n_conns, unsigned n_threads)
{
        struct runner *runners = calloc(n_threads, sizeof(*runners));
        struct conn *conns = calloc(n_conns, sizeof(*conns));

        if (!runners || !conns)
                die("calloc");
        for (unsigned i = 0; i < n_conns; i++) {
                conns[i].next = i;
                open_conn(&conns[i], path);
        }
        for (unsigned i = 0; i < n_threads; i++) {
                runners[i].n_conns = n_conns / n_threads;
                runners[i].conns = conns + i * runners[i].n_conns;
                objm_hist_init(&runners[i].hist);
        }
        return runners;
}

/* Leaves the sums in the first runner; returns nanoseconds. */
static uint64_t measure(struct runner *runners, unsigned n, uint64_t duration)
{
        uint64_t start = now();

        for (unsigned i = 0; i < n; i++) {
                runners[i].end = start + duration;
                if (pthread_create(&runners[i].thread, NULL, run, &runners[i]))
                        die("pthread_create");
        }
        for (unsigned i = 0; i < n; i++)
                pthread_join(runners[i].thread, NULL);
        start = now() - start;
        for (unsigned i = 1; i < n; i++) {
                objm_hist_merge(&runners->hist, &runners[i].hist);
                runners->requests += runners[i].requests;
                runners->bytes += runners[i].bytes;
        }
        return start;
}

static const struct speaker *speaker_find(const char *name)
{
        for (size_t i = 0; i < sizeof(speakers) / sizeof(*speakers); i++)
                if (!strcmp(speakers[i].name, name))
                        return &speakers[i];
        return NULL;
}

static bool names_fit(void)
{
        for (unsigned i = 0; i < n_names; i++)
                if (strlen(names[i]) > NAME_LEN_MAX)
                        return false;
        return true;
}

int main(int argc, char **argv)
{
        unsigned conns, threads;
        struct runner *runners;
        uint64_t cpu, ns, sum;

        speaker = argc < 10 ? NULL : speaker_find(argv[1]);
        if (!speaker) {
                fprintf(stderr, "usage: peer_client splice|inline|http|memcached|redis SOCKET PID,... CONNECTIONS "
                                "THREADS DEPTH SECONDS spin|sleep NAME...\n");
                return 2;
        }
        conns = (unsigned)strtoul(argv[4], NULL, 10);
        threads = (unsigned)strtoul(argv[5], NULL, 10);
        depth = (unsigned)strtoul(argv[6], NULL, 10);
        names = argv + 9;
        n_names = (unsigned)argc - 9;
        if (!conns || !threads || conns % threads || !depth || depth > DEPTH_MAX || !names_fit())
                return 2;
        runners = prepare(argv[2], conns, threads);
        sum = get_first(runners);
        recv_flags = conns > threads || !strcmp(argv[8], "spin") ? MSG_DONTWAIT : 0;
        cpu = cpu_of(argv[3]);
        ns = measure(runners, threads, (uint64_t)(strtod(argv[7], NULL) * 1e9));
        cpu = cpu_of(argv[3]) - cpu;
        printf("{\"requests\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"p50_ns\": %llu, \"p99_ns\": %llu, "
               "\"server_cpu_ns\": %llu, \"sum\": \"%016llx\"}\n",
               (unsigned long long)runners->requests, (unsigned long long)runners->bytes, (double)ns / 1e9,
               (unsigned long long)objm_hist_quantile(&runners->hist, 0.5),
               (unsigned long long)objm_hist_quantile(&runners->hist, 0.99), (unsigned long long)cpu,
               (unsigned long long)sum);
        return 0;
}
