/* SPDX-License-Identifier: MIT */
/*
 * A client that does no more than the system calls of asking for descriptors, to measure servers of protocol version 3
 * without the cost of a library. Every descriptor is counted and closed. Prints one line of JSON.
 *
 *      bare_client SOCKET PID CONNECTIONS DEPTH SECONDS spin|sleep URI...
 *
 * PID is the server's: its CPU time is read before and after. One connection: DEPTH requests are sent at once, then
 * DEPTH replies are read; the time of a round is the latency. Several connections (DEPTH 1): each asks again as soon
 * as it has been answered.
 */
#include "base/hist.h"
#include "bench_base.h"
#include "cpu_time.h"
#include "wire3.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS 253

struct conn {
        int fd;
        unsigned next; /* URI */
        uint64_t sent;
};

static char **uris;
static unsigned n_uris, depth;
static int recv_flags;
static struct objm_hist hist;
static uint64_t requests;

static size_t put_request(uint8_t *p, const char *uri)
{
        size_t len = strlen(uri);

        memset(p, 0, REQUEST);
        p[0] = 1;
        p[1] = '1';
        be16(p + URI_LEN_AT, (unsigned)len);
        memcpy(p + REQUEST, uri, len);
        return REQUEST + len;
}

static void send_requests(struct conn *c)
{
        static uint8_t buf[FDS * (REQUEST + 256)];
        size_t len = 0;

        for (unsigned i = 0; i < depth; i++)
                len += put_request(buf + len, uris[c->next++ % n_uris]);
        if (send(c->fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
                die("send");
}

/* One recvmsg: adds to *bytes and *fds. */
static void take(struct conn *c, size_t *bytes, size_t *fds)
{
        static uint8_t buf[FDS * REPLY];
        struct iovec iov = {buf, sizeof(buf)};
        union {
                struct cmsghdr c;
                char space[CMSG_SPACE(FDS * sizeof(int))];
        } u;
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)};
        ssize_t n;

        do
                n = recvmsg(c->fd, &m, recv_flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && (errno == EAGAIN || errno == EINTR));
        if (n <= 0)
                die("recvmsg");
        *bytes += (size_t)n;
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
                size_t k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                int fd;

                for (size_t i = 0; i < k; i++) {
                        memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
                        close(fd);
                }
                *fds += k;
        }
}

static void take_replies(struct conn *c)
{
        size_t bytes = 0, fds = 0;

        while (bytes < depth * REPLY)
                take(c, &bytes, &fds);
        if (bytes != depth * REPLY || fds != depth) {
                fprintf(stderr, "%zu bytes and %zu descriptors for %u requests\n", bytes, fds, depth);
                exit(1);
        }
        requests += depth;
}

static void open_conn(struct conn *c, const char *path)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        uint8_t hello[HELLO] = "OBJM\003", reply[HELLO_REPLY];

        be16(hello + 6, HELLO);
        hello[15] = 1;
        be32(hello + 16, depth);
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                die(path);
        if (send(c->fd, hello, sizeof(hello), MSG_NOSIGNAL) != HELLO ||
            recv(c->fd, reply, sizeof(reply), MSG_WAITALL) != HELLO_REPLY)
                die("hello");
}

static void run_one(struct conn *c, uint64_t end)
{
        uint64_t t = now();

        while (t < end) {
                uint64_t t0 = t;

                send_requests(c);
                take_replies(c);
                t = now();
                objm_hist_record(&hist, t - t0);
        }
}

static void run_many(struct conn *conns, unsigned n, uint64_t end)
{
        struct epoll_event ev = {.events = EPOLLIN}, evs[256];
        int ep = epoll_create1(0);
        uint64_t t = now();

        for (unsigned i = 0; i < n; i++) {
                ev.data.ptr = &conns[i];
                if (epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev) < 0)
                        die("epoll_ctl");
                conns[i].sent = t;
                send_requests(&conns[i]);
        }
        while (t < end) {
                int k = epoll_wait(ep, evs, 256, -1);

                for (int i = 0; i < k; i++) {
                        struct conn *c = evs[i].data.ptr;

                        take_replies(c);
                        t = now();
                        objm_hist_record(&hist, t - c->sent);
                        c->sent = t;
                        send_requests(c);
                }
        }
}

int main(int argc, char **argv)
{
        uint64_t start, cpu, ns;
        struct conn *conns;
        unsigned n;

        if (argc < 8) {
                fprintf(stderr, "usage: bare_client SOCKET PID CONNECTIONS DEPTH SECONDS spin|sleep URI...\n");
                return 2;
        }
        n = (unsigned)atol(argv[3]);
        depth = (unsigned)atol(argv[4]);
        recv_flags = !strcmp(argv[6], "spin") ? MSG_DONTWAIT : 0;
        uris = argv + 7;
        n_uris = (unsigned)argc - 7;
        if (!n || !depth || depth > FDS || (n > 1 && depth > 1))
                return 2;
        conns = calloc(n, sizeof(*conns));
        objm_hist_init(&hist);
        for (unsigned i = 0; i < n; i++) {
                conns[i].next = i;
                open_conn(&conns[i], argv[1]);
        }
        cpu = cpu_of(argv[2]);
        start = now();
        if (n == 1)
                run_one(conns, start + (uint64_t)(atof(argv[5]) * 1e9));
        else
                run_many(conns, n, start + (uint64_t)(atof(argv[5]) * 1e9));
        ns = now() - start;
        cpu = cpu_of(argv[2]) - cpu;
        printf("{\"requests\": %llu, \"seconds\": %.3f, \"p50_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu, "
               "\"max_ns\": %llu, \"server_cpu_ns\": %llu}\n",
               (unsigned long long)requests, (double)ns / 1e9, (unsigned long long)objm_hist_quantile(&hist, 0.5),
               (unsigned long long)objm_hist_quantile(&hist, 0.99),
               (unsigned long long)objm_hist_quantile(&hist, 0.999), (unsigned long long)hist.max,
               (unsigned long long)cpu);
        return 0;
}
