/* SPDX-License-Identifier: MIT */
/*
 * Reads bodies over protocol version 3 with blocking calls, a thread a client, and throws the bytes away. Prints one
 * line of JSON.
 *
 *      body_client SOCKET CLIENTS SECONDS 2|3|a URI
 */
#include "base/hist.h"
#include "wire3.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PIECE (256 * 1024)

struct client {
        pthread_t thread;
        struct objm_hist hist;
        uint64_t bytes;
};

static const char *path, *uri;
static char mode;
static uint64_t duration;

static void die(const char *what)
{
        perror(what);
        exit(1);
}

static uint64_t now(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int open_conn(void)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        uint8_t hello[HELLO] = "OBJM\003", reply[HELLO_REPLY];
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        be16(hello + 6, HELLO);
        hello[15] = 7;
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
            send(fd, hello, sizeof(hello), MSG_NOSIGNAL) != HELLO ||
            recv(fd, reply, sizeof(reply), MSG_WAITALL) != HELLO_REPLY)
                die(path);
        return fd;
}

static uint64_t body_len(const uint8_t *reply)
{
        uint64_t n = 0;

        for (int i = 0; i < 8; i++)
                n = n << 8 | reply[32 + i];
        return n;
}

/* One request and all of its reply. */
static uint64_t ask(int fd, uint8_t *buf)
{
        uint8_t rq[REQUEST + 256] = {1, (uint8_t)mode};
        size_t len = strlen(uri), have = 0;
        uint64_t want = REPLY, got = 0;
        ssize_t n;

        be16(rq + URI_LEN_AT, (unsigned)len);
        memcpy(rq + REQUEST, uri, len);
        if (send(fd, rq, REQUEST + len, MSG_NOSIGNAL) != (ssize_t)(REQUEST + len))
                die("send");
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
        int fd = open_conn();
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
