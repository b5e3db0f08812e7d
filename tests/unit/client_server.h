/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TESTS_CLIENT_SERVER_H
#define OBJM_TESTS_CLIENT_SERVER_H
/*
 * A server of a few scripted lines for the client's tests: a thread, a socket in a directory of its own, and the calls
 * a script is made of. A script runs in the thread, takes connections and says byte by byte what the test wants said.
 * An object's content is its own URI, so that a descriptor can be matched with what was asked for.
 */
#include "base/fd.h"
#include "client/objmapper.h"
#include "protocol/v1.h"
#include "protocol/v3.h"
#include "resources.h"
#include "transport/fdpass.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct server {
        char dir[64], path[96];
        int listener;
        pthread_t thread;
        void (*script)(struct server *);
        atomic_int step; /* what script and test tell each other */
};

/* ---- the thread ---- */

static inline void *server_main(void *arg)
{
        struct server *s = arg;

        s->script(s);
        return NULL;
}

static inline void server_listen(struct server *s)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->path);
        s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(s->listener >= 0 && bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
              listen(s->listener, 64) == 0);
}

static inline void server_unlisten(struct server *s)
{
        s->listener = objm_fd_close(s->listener);
        unlink(s->path);
}

static inline void server_prepare(struct server *s, void (*script)(struct server *))
{
        *s = (struct server){.listener = -1, .script = script};
        strcpy(s->dir, "/tmp/objmapper-test-XXXXXX");
        CHECK(mkdtemp(s->dir));
        snprintf(s->path, sizeof(s->path), "%s/sock", s->dir);
}

/* The script finds @step where it begins. */
static inline void server_start_at(struct server *s, void (*script)(struct server *), int step)
{
        server_prepare(s, script);
        atomic_store(&s->step, step);
        server_listen(s);
        CHECK(pthread_create(&s->thread, NULL, server_main, s) == 0);
}

static inline void server_start(struct server *s, void (*script)(struct server *))
{
        server_start_at(s, script, 0);
}

static inline void server_join(struct server *s)
{
        CHECK(pthread_join(s->thread, NULL) == 0);
        server_unlisten(s);
        rmdir(s->dir);
}

/* Waits until the other side has come to @step. */
static inline void server_await(struct server *s, int step)
{
        while (atomic_load(&s->step) < step)
                poll(NULL, 0, 1);
}

static inline int server_accept(struct server *s)
{
        int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

        CHECK(fd >= 0);
        return fd;
}

/* ---- bytes ---- */

/* False at the end of the stream. */
static inline bool read_all(int sock, void *buf, size_t n)
{
        for (size_t have = 0; have < n;) {
                ssize_t r = recv(sock, (char *)buf + have, n - have, 0);

                if (r <= 0)
                        return false;
                have += (size_t)r;
        }
        return true;
}

static inline void send_bytes(int sock, const void *buf, size_t n)
{
        CHECK(send(sock, buf, n, MSG_NOSIGNAL) == (ssize_t)n);
}

/* Sends @n bytes with copies of @n_fds descriptors and closes those. */
static inline void send_fds(int sock, const void *buf, size_t n, int *fds, size_t n_fds)
{
        struct pollfd pfd = {.fd = sock, .events = POLLOUT};
        ssize_t r;

        while ((r = objm_fdpass_send(sock, buf, n, fds, n_fds)) == -EAGAIN)
                CHECK(poll(&pfd, 1, -1) == 1);
        CHECK(r == (ssize_t)n);
        objm_fd_close_many(fds, n_fds);
}

static inline void await_end(int sock)
{
        char c;

        while (recv(sock, &c, 1, 0) > 0)
                ;
        close(sock);
}

/* ---- objects ---- */

static inline int make_object(const void *uri, size_t len)
{
        int fd = memfd_create("object", MFD_CLOEXEC);

        CHECK(fd >= 0 && pwrite(fd, uri, len, 0) == (ssize_t)len);
        return fd;
}

static inline void assert_object(int fd, const char *uri)
{
        char buf[OBJMAPPER_URI_MAX + 1] = "";

        assert_true(fd >= 0);
        assert_int_equal(objmapper_read_all(fd, buf, sizeof(buf) - 1, 0), strlen(uri));
        assert_string_equal(buf, uri);
        close(fd);
}

/* ---- version 3 ---- */

struct request {
        struct objm_v3_request v3;
        uint8_t buf[OBJM_V3_REQUEST_MAX];
};

static inline void grant(int sock, uint32_t in_flight, uint8_t instance, uint64_t capabilities)
{
        struct objm_v3_hello_reply reply = {.version = 3, .in_flight = in_flight, .uri_max = OBJM_URI_MAX,
                                            .fds_max = 253, .capabilities = capabilities};
        uint8_t buf[OBJM_V3_HELLO_REPLY];

        memset(reply.instance, instance, sizeof(reply.instance));
        CHECK(objm_v3_hello_reply_encode(buf, sizeof(buf), &reply) == sizeof(buf));
        send_bytes(sock, buf, sizeof(buf));
}

static inline void say_hello(int sock, uint32_t in_flight, uint8_t instance)
{
        grant(sock, in_flight, instance, OBJM_V3_CAP_FD_BATCH);
}

static inline bool read_hello(int sock)
{
        uint8_t buf[OBJM_V3_HELLO];
        struct objm_v3_hello hello;
        size_t used;

        if (!read_all(sock, buf, sizeof(buf)))
                return false;
        CHECK(objm_v3_hello_decode(buf, sizeof(buf), &hello, &used) == OBJM_DECODE_OK && hello.version == 3);
        return true;
}

/* Accepts a connection and greets it, granting @in_flight. */
static inline int accept_v3(struct server *s, uint32_t in_flight, uint8_t instance)
{
        int sock = server_accept(s);

        CHECK(read_hello(sock));
        say_hello(sock, in_flight, instance);
        return sock;
}

static inline bool read_request(int sock, struct request *ret)
{
        size_t have = OBJM_V3_REQUEST_HEADER, used;

        if (!read_all(sock, ret->buf, have))
                return false;
        while (objm_v3_request_decode(ret->buf, have, &ret->v3, &used) == OBJM_DECODE_MORE) {
                if (!read_all(sock, ret->buf + have, used - have))
                        return false;
                have = used;
        }
        return true;
}

static inline struct objm_v3_response response_to(const struct request *r)
{
        return (struct objm_v3_response){.op = r->v3.op, .id = r->v3.id, .mode = r->v3.mode, .size = r->v3.uri_len,
                                         .version = 7};
}

static inline size_t encode_response(uint8_t *buf, const struct objm_v3_response *r)
{
        size_t n = objm_v3_response_encode(buf, OBJM_V3_RESPONSE_MAX, r);

        CHECK(n);
        return n;
}

static inline void respond(int sock, const struct objm_v3_response *r)
{
        uint8_t buf[OBJM_V3_RESPONSE_MAX];

        send_bytes(sock, buf, encode_response(buf, r));
}

static inline void respond_status(int sock, const struct request *r, uint8_t status)
{
        struct objm_v3_response response = response_to(r);

        response.status = status;
        respond(sock, &response);
}

/* The right answer to any request: GET with a descriptor, STAT with a time of 1234 s, PING. */
static inline void respond_well(int sock, const struct request *r)
{
        struct objm_v3_response response = response_to(r);
        uint8_t buf[OBJM_V3_RESPONSE_MAX], metadata[64];
        int fd;

        if (r->v3.op == OBJM_V3_OP_STAT) {
                response.metadata = metadata;
                response.metadata_len = (uint16_t)objm_v1_metadata_put_u64(metadata, sizeof(metadata), 0,
                                                                            OBJM_V1_META_MTIME, 1234);
        }
        if (r->v3.op != OBJM_V3_OP_GET) {
                respond(sock, &response);
                return;
        }
        response.n_fds = 1;
        fd = make_object(r->v3.uri, r->v3.uri_len);
        send_fds(sock, buf, encode_response(buf, &response), &fd, 1);
}

/* Serves a connection to its end. */
static inline void serve_v3(int sock)
{
        struct request r;

        while (read_request(sock, &r))
                respond_well(sock, &r);
        close(sock);
}

/* ---- version 1 ---- */

/* Returns the URI's length, 0 at the end. */
static inline size_t read_v1(int sock, uint8_t *uri)
{
        uint8_t head[3];
        size_t len;

        if (!read_all(sock, head, sizeof(head)))
                return 0;
        CHECK(head[0] == '1');
        len = (size_t)head[1] << 8 | head[2];
        CHECK(len <= OBJM_URI_MAX && read_all(sock, uri, len));
        return len;
}

static inline void respond_v1(int sock, uint8_t status)
{
        uint8_t head[11] = {status};

        send_bytes(sock, head, sizeof(head));
}

static inline void respond_v1_object(int sock, const uint8_t *uri, size_t len)
{
        int fd = make_object(uri, len);

        respond_v1(sock, 0);
        send_fds(sock, "X", 1, &fd, 1);
}

static inline void serve_v1(int sock)
{
        uint8_t uri[OBJM_URI_MAX];
        size_t len;

        while ((len = read_v1(sock, uri))) {
                if (len == 5 && !memcmp(uri, "/none", 5))
                        respond_v1(sock, OBJM_STATUS_NOT_FOUND);
                else
                        respond_v1_object(sock, uri, len);
        }
        close(sock);
}

/* ---- the client's side ---- */

static inline struct objmapper *connect_with(struct server *s, struct objmapper_options o)
{
        struct objmapper *om = NULL;

        o.size = sizeof(o);
        if (!o.timeout_ms)
                o.timeout_ms = 20000;
        assert_int_equal(objmapper_connect(s->path, &o, &om), 0);
        return om;
}

#define connect_to(s, ...) connect_with(s, (struct objmapper_options){__VA_ARGS__})

#endif
