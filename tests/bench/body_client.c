/* SPDX-License-Identifier: MIT */
/*
 * Reads bodies over protocol version 3 with blocking calls, a thread a client, and throws the bytes away. Prints one
 * line of JSON.
 *
 *      body_client SOCKET CLIENTS SECONDS 2|3|a URI
 */
#include "base/hist.h"
#include "bench_conn.h"

#include <pthread.h>

#define PIECE (256 * 1024)

struct client {
        pthread_t thread;
        struct objm_hist hist;
        uint64_t bytes;
};

static const char *path, *uri;
static char mode;
static uint64_t duration;

/* One request and all of its reply. */
static uint64_t ask(int fd, uint8_t *buf)
{
        size_t have = 0;
        uint64_t want = REPLY, got = 0;
        ssize_t n;

        send_request(fd, mode, uri);
        while (got < want) {
                n = recv(fd, buf + have, PIECE - have, 0);
                if (n <= 0)
                        die("recv");
                got += (uint64_t)n;
                if (have < REPLY && have + (size_t)n >= REPLY)
                        want = REPLY + body_len(buf);
                have = have + (size_t)n < REPLY ? have + (size_t)n : REPLY;
        }
        if (buf[0] || (mode != 'a' && buf[2] != mode)) {
                fprintf(stderr, "status %u, mode %c\n", buf[0], buf[2]);
                exit(1);
        }
        return want - REPLY;
}

static void *run(void *arg)
{
        struct client *c = arg;
        uint8_t *buf = malloc(PIECE);
        int fd = open_conn(path);
        uint64_t t = now(), end = t + duration;

        objm_hist_init(&c->hist);
        while (t < end) {
                uint64_t t0 = t;

                c->bytes += ask(fd, buf);
                t = now();
                objm_hist_record(&c->hist, t - t0);
        }
        close(fd);
        free(buf);
        return NULL;
}

int main(int argc, char **argv)
{
        struct objm_hist all;
        struct client *clients;
        uint64_t bytes = 0, t;
        long n;

        if (argc != 6)
                return 2;
        path = argv[1];
        n = atol(argv[2]);
        duration = (uint64_t)(atof(argv[3]) * 1e9);
        mode = argv[4][0];
        uri = argv[5];
        clients = calloc((size_t)n, sizeof(*clients));
        objm_hist_init(&all);
        t = now();
        for (long i = 0; i < n; i++)
                if (pthread_create(&clients[i].thread, NULL, run, &clients[i]))
                        die("pthread_create");
        for (long i = 0; i < n; i++) {
                pthread_join(clients[i].thread, NULL);
                objm_hist_merge(&all, &clients[i].hist);
                bytes += clients[i].bytes;
        }
        t = now() - t;
        printf("{\"requests\": %llu, \"bytes\": %llu, \"seconds\": %.3f, \"p50_ns\": %llu, \"p99_ns\": %llu}\n",
               (unsigned long long)all.count, (unsigned long long)bytes, (double)t / 1e9,
               (unsigned long long)objm_hist_quantile(&all, 0.5), (unsigned long long)objm_hist_quantile(&all, 0.99));
        return 0;
}
