/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_BENCH_CONN_H
#define TESTS_BENCH_BENCH_CONN_H
/*
 * What the bench's clients of bodies have in common: connecting with a hello of version 3, requests and heads of
 * replies. Whatever goes wrong ends the program.
 */
#include "bench_base.h"
#include "wire3.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define URI_MAX 255

static inline int open_conn(const char *path)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        uint8_t hello[HELLO] = "OBJM\003", reply[HELLO_REPLY];
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        be16(hello + 6, HELLO);
        hello[15] = 7; /* capabilities: batches of descriptors, cached lookups, bodies */
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
            send(fd, hello, sizeof(hello), MSG_NOSIGNAL) != HELLO ||
            recv(fd, reply, sizeof(reply), MSG_WAITALL) != HELLO_REPLY)
                die(path);
        return fd;
}

static inline void send_request(int fd, char mode, const char *uri)
{
        uint8_t rq[REQUEST + URI_MAX] = {1, (uint8_t)mode};
        size_t len = strlen(uri);

        if (len > URI_MAX)
                exit(2);
        be16(rq + URI_LEN_AT, (unsigned)len);
        memcpy(rq + REQUEST, uri, len);
        if (send(fd, rq, REQUEST + len, MSG_NOSIGNAL) != (ssize_t)(REQUEST + len))
                die("send");
}

static inline uint64_t body_len(const uint8_t *reply)
{
        uint64_t n = 0;

        for (int i = 0; i < 8; i++)
                n = n << 8 | reply[32 + i];
        return n;
}

#endif
