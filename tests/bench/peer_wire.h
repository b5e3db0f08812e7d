/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_PEER_WIRE_H
#define TESTS_BENCH_PEER_WIRE_H
/*
 * How an object is asked for in four protocols, and where its reply ends: as little of each as peer_client needs. Heads
 * are searched by hand, since a sscanf would cost more than the rest of the client.
 */
#include "wire3.h"

#include <stdio.h>
#include <sys/socket.h>

#define NAME_LEN_MAX    200
#define REQUEST_LEN_MAX 512
#define HEAD_LEN_MAX    1024

/* Behind a head of head bytes come body bytes and then what the speaker has as its trailer. */
struct reply {
        size_t head;
        uint64_t body;
};

struct speaker {
        const char *name;
        uint8_t mode;   /* of objmapperd: what is asked for */
        uint8_t answer; /* of objmapperd: how the object has to come */
        size_t trailer;
        /* Shakes hands; 0 or -1. May be NULL. */
        int (*greet)(int fd, unsigned depth);
        /* Fills REQUEST_LEN_MAX bytes; returns how many it used. */
        size_t (*put)(const struct speaker *s, uint8_t *p, const char *name);
        /* 0: the head is whole; 1: more bytes are needed; -1: not the reply that was hoped for. */
        int (*parse)(const struct speaker *s, const uint8_t *p, size_t n, struct reply *ret_reply);
};

static inline int parse_number(const uint8_t *p, const uint8_t *end, uint64_t *ret_value)
{
        uint64_t v = 0;
        const uint8_t *begin = p;

        for (; p < end && *p >= '0' && *p <= '9'; p++)
                v = v * 10 + (*p - '0');
        if (p == begin)
                return -1;
        *ret_value = v;
        return 0;
}

static inline int objmapper_greet(int fd, unsigned depth)
{
        uint8_t hello[HELLO] = "OBJM\003", reply[HELLO_REPLY];

        be16(hello + 6, HELLO);
        hello[15] = 7;
        be32(hello + 16, depth);
        return send(fd, hello, sizeof(hello), MSG_NOSIGNAL) == HELLO &&
               recv(fd, reply, sizeof(reply), MSG_WAITALL) == HELLO_REPLY && !reply[5] ? 0 : -1;
}

static inline size_t objmapper_put(const struct speaker *s, uint8_t *p, const char *name)
{
        size_t len = strlen(name);

        memset(p, 0, REQUEST);
        p[0] = 1;
        p[1] = s->mode;
        be16(p + URI_LEN_AT, (unsigned)len + 1);
        p[REQUEST] = '/';
        memcpy(p + REQUEST + 1, name, len);
        return REQUEST + 1 + len;
}

static inline int objmapper_parse(const struct speaker *s, const uint8_t *p, size_t n, struct reply *ret_reply)
{
        uint64_t body = 0;

        if (n < REPLY)
                return 1;
        if (p[0] || p[2] != s->answer || get16(p + 10))
                return -1;
        for (int i = 0; i < 8; i++)
                body = body << 8 | p[32 + i];
        *ret_reply = (struct reply){REPLY, body};
        return 0;
}

static inline size_t http_put(const struct speaker *s, uint8_t *p, const char *name)
{
        return (size_t)snprintf((char *)p, REQUEST_LEN_MAX, "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n", name);
}

static inline int http_parse(const struct speaker *s, const uint8_t *p, size_t n, struct reply *ret_reply)
{
        static const char ok[] = "HTTP/1.1 200", field[] = "\r\nContent-Length: ";
        const uint8_t *end = memmem(p, n, "\r\n\r\n", 4), *at;
        uint64_t body;

        if (!end)
                return 1;
        at = memmem(p, (size_t)(end - p), field, sizeof(field) - 1);
        if (memcmp(p, ok, sizeof(ok) - 1) || !at || parse_number(at + sizeof(field) - 1, end, &body) < 0)
                return -1;
        *ret_reply = (struct reply){(size_t)(end + 4 - p), body};
        return 0;
}

static inline size_t memcached_put(const struct speaker *s, uint8_t *p, const char *name)
{
        return (size_t)snprintf((char *)p, REQUEST_LEN_MAX, "get %s\r\n", name);
}

static inline int memcached_parse(const struct speaker *s, const uint8_t *p, size_t n, struct reply *ret_reply)
{
        const uint8_t *end = memchr(p, '\n', n), *at;
        uint64_t body;

        if (!end)
                return 1;
        at = memrchr(p, ' ', (size_t)(end - p));
        if (!at || memcmp(p, "VALUE", 5) || parse_number(at + 1, end, &body) < 0)
                return -1;
        *ret_reply = (struct reply){(size_t)(end + 1 - p), body};
        return 0;
}

static inline size_t redis_put(const struct speaker *s, uint8_t *p, const char *name)
{
        return (size_t)snprintf((char *)p, REQUEST_LEN_MAX, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(name), name);
}

static inline int redis_parse(const struct speaker *s, const uint8_t *p, size_t n, struct reply *ret_reply)
{
        const uint8_t *end = memchr(p, '\n', n);
        uint64_t body;

        if (!end)
                return 1;
        if (p[0] != '$' || parse_number(p + 1, end, &body) < 0)
                return -1;
        *ret_reply = (struct reply){(size_t)(end + 1 - p), body};
        return 0;
}

static const struct speaker speakers[] = {
        {"splice", '3', '3', 0, objmapper_greet, objmapper_put, objmapper_parse},
        {"inline", 'a', 'i', 0, objmapper_greet, objmapper_put, objmapper_parse},
        {"http", 0, 0, 0, NULL, http_put, http_parse},
        {"memcached", 0, 0, sizeof("\r\nEND\r\n") - 1, NULL, memcached_put, memcached_parse},
        {"redis", 0, 0, sizeof("\r\n") - 1, NULL, redis_put, redis_parse},
};

#endif
