/* SPDX-License-Identifier: MIT */
/*
 * Requests at a steady rate, each on the next of many connections that has nothing under way: most for a descriptor,
 * some for a copy. What is measured is how long the descriptors take. Prints one line of JSON.
 *
 *      mix_client SOCKET CONNECTIONS RATE COPIES-IN-100 SECONDS URI URI-TO-COPY
 */
#include "base/hist.h"
#include "bench_conn.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>

#define EVENTS 256
#define PIECE  (256 * 1024)

struct conn {
        int fd;
        bool copy;
        uint64_t sent; /* ns; 0: nothing is under way */
        uint64_t want, got; /* bytes of the reply; want 0: not known yet */
};

static const char *uris[2];
static struct objm_hist hist;
static uint64_t copies, dropped;

static void ask(struct conn *c, bool copy)
{
        c->copy = copy;
        c->want = c->got = 0;
        c->sent = now();
        send_request(c->fd, copy ? '2' : '1', uris[copy]);
}

static void close_passed(struct msghdr *m)
{
        for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h))
                for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
                        close(((int *)CMSG_DATA(h))[i]);
}

/* A reply's head comes whole: it is sent in one message, and read with room for all of it. */
static void readable(struct conn *c)
{
        static uint8_t buf[PIECE];
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
        struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0)
                die("recvmsg");
        close_passed(&m);
        if (!c->want) {
                if (n < REPLY || buf[0]) {
                        fprintf(stderr, "status %u\n", buf[0]);
                        exit(1);
                }
                c->want = REPLY + body_len(buf);
        }
        c->got += (uint64_t)n;
        if (c->got < c->want)
                return;
        if (c->copy)
                copies++;
        else
                objm_hist_record(&hist, now() - c->sent);
        c->sent = 0;
}

static void take(int epfd, int timeout_ms)
{
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(epfd, ev, EVENTS, timeout_ms);

        for (int i = 0; i < n; i++)
                readable(ev[i].data.ptr);
}

/* Returns whether one was free. */
static bool ask_next(struct conn *conns, long n, long *at, bool copy)
{
        for (long tried = 0; tried < n; tried++) {
                struct conn *c = &conns[(*at)++ % n];

                if (!c->sent) {
                        ask(c, copy);
                        return true;
                }
        }
        return false;
}

int main(int argc, char **argv)
{
        int epfd = epoll_create1(EPOLL_CLOEXEC);
        uint64_t start, due, step, end;
        struct conn *conns;
        long n, at = 0, share, asked = 0;

        if (argc != 8)
                return 2;
        n = atol(argv[2]);
        step = (uint64_t)(1e9 / atof(argv[3]));
        share = atol(argv[4]);
        uris[0] = argv[6];
        uris[1] = argv[7];
        conns = calloc((size_t)n, sizeof(*conns));
        objm_hist_init(&hist);
        for (long i = 0; i < n; i++) {
                struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};

                conns[i].fd = open_conn(argv[1]);
                if (epoll_ctl(epfd, EPOLL_CTL_ADD, conns[i].fd, &ev) < 0)
                        die("epoll_ctl");
        }
        start = due = now();
        end = start + (uint64_t)(atof(argv[5]) * 1e9);
        while (due < end) {
                for (; due <= now() && due < end; due += step, asked++) {
                        long i = asked % 100;

                        dropped += !ask_next(conns, n, &at, i * share / 100 != (i + 1) * share / 100);
                }
                take(epfd, 0);
        }
        printf("{\"descriptors\": %llu, \"copies\": %llu, \"dropped\": %llu, \"p50_ns\": %llu, \"p99_ns\": %llu}\n",
               (unsigned long long)hist.count, (unsigned long long)copies, (unsigned long long)dropped,
               (unsigned long long)objm_hist_quantile(&hist, 0.5),
               (unsigned long long)objm_hist_quantile(&hist, 0.99));
        return 0;
}
