/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TESTS_CLIENT_BODIES_H
#define OBJM_TESTS_CLIENT_BODIES_H
/*
 * What the tests of reading share: a server's side that sends bodies, and their content.
 */
#include "client_server.h"

/* The largest object: too big for a socket's buffer, and no two places in it are alike for long. */
#define SIZE     300000
#define CHUNK    1000
#define BODIES   (OBJM_V3_CAP_FD_BATCH | OBJM_V3_CAP_INLINE | OBJM_V3_CAP_COPY)
#define INSTANCE 1

static uint8_t content[SIZE];

static inline void fill_content(void)
{
        for (size_t i = 0; i < SIZE; i++)
                content[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

static inline int accept_bodies(struct server *s)
{
        int sock = server_accept(s);

        CHECK(read_hello(sock));
        grant(sock, 256, INSTANCE, BODIES);
        return sock;
}

/* The client may have left in the middle: that is what some tests are about. */
static inline bool send_all(int sock, const uint8_t *p, size_t n)
{
        for (size_t at = 0; at < n;) {
                ssize_t r = send(sock, p + at, n - at < CHUNK ? n - at : CHUNK, MSG_NOSIGNAL);

                if (r < 0)
                        return false;
                at += (size_t)r;
        }
        return true;
}

/* "/1024" has so many bytes, the first of the content; what is no number has all of it. */
static inline size_t size_of(const struct request *r)
{
        size_t n = 0;

        for (size_t i = 1; i < r->v3.uri_len; i++) {
                if (r->v3.uri[i] < '0' || r->v3.uri[i] > '9')
                        return SIZE;
                n = n * 10 + (size_t)(r->v3.uri[i] - '0');
        }
        CHECK(n <= SIZE);
        return n;
}

static inline struct objm_v3_response body_response(const struct request *r, uint8_t mode)
{
        struct objm_v3_response response = response_to(r);
        size_t size = size_of(r);
        uint64_t at = r->v3.range_offset < size ? r->v3.range_offset : size;

        response.mode = mode;
        response.size = size;
        response.body_len = size - at;
        if (r->v3.range_length && r->v3.range_length < response.body_len)
                response.body_len = r->v3.range_length;
        return response;
}

/* Answers with the range that was asked for, or with its first @n bytes. */
static inline void respond_body(int sock, const struct request *r, uint8_t mode, size_t n)
{
        struct objm_v3_response response = body_response(r, mode);
        size_t at = (size_t)r->v3.range_offset, len = (size_t)response.body_len;

        respond(sock, &response);
        send_all(sock, content + (at < SIZE ? at : 0), n < len ? n : len);
}

static inline void respond_object(int sock, const struct request *r)
{
        struct objm_v3_response response = response_to(r);
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        size_t size = size_of(r);
        int fd = make_object(content, size);

        response.mode = OBJM_MODE_FD;
        response.size = size;
        response.n_fds = 1;
        send_fds(sock, buf, encode_response(buf, &response), &fd, 1);
}

/* ---- scripts ---- */

static inline void only_descriptors(struct server *s)
{
        int sock = accept_v3(s, 256, INSTANCE);
        struct request r;

        while (read_request(sock, &r)) {
                CHECK(r.v3.mode == OBJM_MODE_FD);
                respond_object(sock, &r);
        }
        close(sock);
}

/* Sixteen times nothing but a head. */
static inline void only_heads(struct server *s)
{
        for (int i = 0; i < 16; i++) {
                int sock = accept_bodies(s);
                struct request r;

                CHECK(read_request(sock, &r));
                respond_body(sock, &r, OBJM_MODE_COPY, 0);
                close(sock);
        }
}

#define read_options(...) (&(struct objmapper_read_options){.size = sizeof(struct objmapper_read_options), __VA_ARGS__})

#endif
