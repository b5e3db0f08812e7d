/* SPDX-License-Identifier: MIT */
#include "client_bodies.h"

#include <fcntl.h>
#include <signal.h>

/* "auto" is answered by turns with the bytes and with a descriptor. */
static void serve_bodies(struct server *s)
{
        int sock = accept_bodies(s);
        struct request r;
        unsigned n = 0;

        while (read_request(sock, &r)) {
                if (r.v3.mode == OBJM_MODE_FD || (r.v3.mode == OBJM_MODE_AUTO && n++ % 2))
                        respond_object(sock, &r);
                else if (r.v3.op == OBJM_V3_OP_GET)
                        respond_body(sock, &r, r.v3.mode == OBJM_MODE_AUTO ? OBJM_MODE_INLINE : r.v3.mode, SIZE);
                else
                        respond_well(sock, &r);
        }
        close(sock);
}

struct got {
        uint64_t from, n;
        int stop_at; /* the piece to return 42 for, 0: none */
        int pieces;
};

static int on_piece(void *userdata, const struct objmapper_object *o, uint64_t offset, const void *data, size_t n)
{
        struct got *g = userdata;

        assert_int_equal(o->size, SIZE);
        assert_int_equal(offset, g->from + g->n);
        assert_memory_equal(data, content + offset, n);
        g->n += n;
        return ++g->pieces == g->stop_at ? 42 : 0;
}

static void read_range(struct objmapper *om, int mode, uint64_t offset, uint64_t length, uint64_t expected)
{
        static uint8_t buf[SIZE + 1];
        struct objmapper_object o;
        struct got g = {.from = offset};

        memset(buf, 0, sizeof(buf));
        assert_int_equal(objmapper_read(om, "/o", buf, sizeof(buf),
                                        read_options(.mode = mode, .offset = offset, .length = length), &o), expected);
        assert_int_equal(o.fd, -1);
        assert_int_equal(o.size, SIZE);
        assert_int_equal(o.version, 7);
        assert_memory_equal(buf, content + (offset < SIZE ? offset : 0), expected);
        assert_int_equal(buf[expected], 0);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g,
                                           read_options(.mode = mode, .offset = offset, .length = length), NULL), 0);
        assert_int_equal(g.n, expected);
}

static void test_every_mode_and_range(void **state)
{
        static const int modes[] = {OBJMAPPER_MODE_AUTO, OBJMAPPER_MODE_FD, OBJMAPPER_MODE_COPY,
                                    OBJMAPPER_MODE_SPLICE};
        struct objmapper *om;
        struct server s;

        server_start(&s, serve_bodies);
        om = connect_to(&s);
        for (size_t i = 0; i < objm_array_len(modes); i++) {
                read_range(om, modes[i], 0, 0, SIZE);
                read_range(om, modes[i], 0, 1, 1);
                read_range(om, modes[i], 99999, 70000, 70000);
                read_range(om, modes[i], SIZE - 1, 5, 1);
                read_range(om, modes[i], SIZE, 0, 0);
                read_range(om, modes[i], SIZE + 7, 3, 0);
                assert_int_equal(objmapper_ping(om), 0);
        }
        objmapper_free(om);
        server_join(&s);
}

static void test_buffer_bounds_what_is_read(void **state)
{
        uint8_t buf[128];
        struct objmapper *om;
        struct server s;

        server_start(&s, serve_bodies);
        om = connect_to(&s);
        memset(buf, 0xee, sizeof(buf));
        assert_int_equal(objmapper_read(om, "/o", buf, 100, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), 100);
        assert_memory_equal(buf, content, 100);
        assert_int_equal(buf[100], 0xee);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(objmapper_generation(om), 1); /* a range was asked for: nothing was left */
        objmapper_free(om);
        server_join(&s);
}

static void test_wrong_arguments(void **state)
{
        struct objmapper_completion c;
        struct objmapper *om;
        struct server s;
        char b;

        server_start(&s, serve_bodies);
        om = connect_to(&s);
        assert_int_equal(objmapper_read(om, "/o", &b, 0, NULL, NULL), -EINVAL);
        assert_int_equal(objmapper_read(om, "", &b, 1, NULL, NULL), -EINVAL);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.mode = 4), NULL), -EINVAL);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.mode = -1), NULL), -EINVAL);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.offset = UINT64_MAX), NULL), -EINVAL);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.offset = 1, .length = INT64_MAX), NULL),
                         -EINVAL);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, &(struct objmapper_read_options){0}, NULL), -EINVAL);
        assert_int_equal(objmapper_submit_ping(om, 0), 0);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, NULL, NULL), -EBUSY);
        assert_int_equal(objmapper_wait(om, &c, 1, -1), 1);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, NULL, NULL), 1);
        objmapper_free(om);
        server_join(&s);
}

static void test_read_to_fd(void **state)
{
        struct objmapper *om;
        static uint8_t buf[SIZE];
        struct server s;
        int fd = memfd_create("out", MFD_CLOEXEC), ro;
        char path[64];

        server_start(&s, serve_bodies);
        om = connect_to(&s);
        assert_int_equal(write(fd, "head", 4), 4);
        assert_int_equal(objmapper_read_to_fd(om, "/o", fd, read_options(.mode = OBJMAPPER_MODE_SPLICE), NULL), 0);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), SIZE + 4);
        assert_int_equal(objmapper_read_all(fd, buf, SIZE, 4), SIZE);
        assert_memory_equal(buf, content, SIZE);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ro = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(objmapper_read_to_fd(om, "/o", ro, read_options(.mode = OBJMAPPER_MODE_FD), NULL), -EBADF);
        close(ro);
        close(fd);
        objmapper_free(om);
        server_join(&s);
}

/* A pipe that nobody reads from: the timeout counts from the last byte that it took. */
static void test_read_to_a_full_pipe_ends(void **state)
{
        struct objmapper *om;
        struct server s;
        int pipefd[2];

        server_start(&s, serve_bodies);
        om = connect_to(&s, .timeout_ms = 50);
        assert_int_equal(pipe2(pipefd, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(objmapper_read_to_fd(om, "/o", pipefd[1], read_options(.mode = OBJMAPPER_MODE_FD), NULL),
                         -ETIMEDOUT);
        close(pipefd[0]);
        close(pipefd[1]);
        objmapper_free(om);
        server_join(&s);
}

/* ---- versions ---- */

static void serve_unchanged(struct server *s)
{
        int sock = accept_bodies(s);
        struct objm_v3_response response;
        struct request r;

        while (read_request(sock, &r)) {
                response = response_to(&r);
                response.flags = OBJM_V3_RS_NOT_MODIFIED;
                if (r.v3.flags & OBJM_V3_RQ_IF_VERSION && r.v3.if_version == 7)
                        respond(sock, &response);
                else
                        respond_body(sock, &r, OBJM_MODE_COPY, SIZE);
        }
        close(sock);
}

static void test_unchanged_object_is_not_read(void **state)
{
        struct objmapper_read_options *o = read_options(.mode = OBJMAPPER_MODE_COPY, .if_version = 7);
        struct objmapper_object object;
        struct objmapper *om;
        struct server s;
        uint8_t b = 0xee;

        server_start(&s, serve_unchanged);
        om = connect_to(&s);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, o, &object), 0);
        assert_true(object.not_modified);
        o->if_version = 6;
        assert_int_equal(objmapper_read(om, "/o", &b, 1, o, &object), 1);
        assert_false(object.not_modified);
        assert_int_equal(b, content[0]);
        objmapper_free(om);
        server_join(&s);
}

/* ---- capabilities ---- */

static void test_server_that_only_passes_descriptors(void **state)
{
        struct objmapper *om;
        struct server s;
        char b;

        server_start(&s, only_descriptors);
        om = connect_to(&s);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), -EOPNOTSUPP);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.mode = OBJMAPPER_MODE_SPLICE), NULL),
                         -EOPNOTSUPP);
        read_range(om, OBJMAPPER_MODE_AUTO, 1000, 0, SIZE - 1000);
        objmapper_free(om);
        server_join(&s);
}

/* ---- version 1 ---- */

static void serve_v1_bodies(struct server *s)
{
        int sock = server_accept(s);
        uint8_t head[3], uri[64], reply[11] = {0};

        while (read_all(sock, head, 3) && read_all(sock, uri, head[2])) {
                if (head[0] == OBJM_MODE_FD) {
                        int fd = make_object(content, SIZE);

                        respond_v1(sock, 0);
                        send_fds(sock, "X", 1, &fd, 1);
                        continue;
                }
                for (int i = 0; i < 8; i++)
                        reply[1 + i] = (uint8_t)((uint64_t)SIZE >> (56 - 8 * i));
                if (!send_all(sock, reply, sizeof(reply)) || !send_all(sock, content, SIZE))
                        break;
        }
        close(sock);
        if (atomic_load(&s->step))
                serve_v1_bodies(s);
}

static void test_version_1(void **state)
{
        struct got g = {0}, part = {.from = 100};
        struct objmapper *om;
        struct server s;
        char b;

        server_start(&s, serve_v1_bodies);
        om = connect_to(&s, .version = 1);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), 0);
        assert_int_equal(g.n, SIZE);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &part,
                                           read_options(.offset = 100, .length = 200), NULL), 0);
        assert_int_equal(part.n, 200);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.mode = OBJMAPPER_MODE_COPY, .offset = 1), NULL),
                         -EOPNOTSUPP);
        assert_int_equal(objmapper_generation(om), 1);
        atomic_store(&s.step, 1);
        assert_int_equal(objmapper_read(om, "/o", &b, 1, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), 1);
        assert_int_equal(b, (char)content[0]);
        g = (struct got){0};
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), 0);
        assert_int_equal(objmapper_generation(om), 2); /* the rest of the first body was left */
        atomic_store(&s.step, 0);
        objmapper_free(om);
        server_join(&s);
}

/* ---- replies beside a body ---- */

/* The first request is answered behind the body of the second, in one message with the body's end. */
static void late_descriptor(struct server *s)
{
        int sock = accept_bodies(s), fd;
        struct request late, r;
        struct objm_v3_response response;
        uint8_t buf[8 + OBJM_V3_RESPONSE_MAX];
        size_t n;

        CHECK(read_request(sock, &late) && read_request(sock, &r));
        respond_body(sock, &r, OBJM_MODE_INLINE, SIZE - 8);
        memcpy(buf, content + SIZE - 8, 8);
        response = response_to(&late);
        response.n_fds = 1;
        n = encode_response(buf + 8, &response);
        fd = make_object("/late", 5);
        send_fds(sock, buf, 8 + n, &fd, 1);
        serve_v3(sock);
}

/* The same, but the descriptor comes early: in one message with the body's head. */
static void early_descriptor(struct server *s)
{
        int sock = accept_bodies(s), fd = make_object("/late", 5);
        struct objm_v3_response head, response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request late, r;

        CHECK(read_request(sock, &late) && read_request(sock, &r));
        head = body_response(&r, OBJM_MODE_INLINE);
        send_fds(sock, buf, encode_response(buf, &head), &fd, 1);
        CHECK(send_all(sock, content, SIZE));
        response = response_to(&late);
        response.n_fds = 1;
        respond(sock, &response);
        serve_v3(sock);
}

static void test_descriptor_beside_a_body(void **state)
{
        static void (*const scripts[])(struct server *) = {late_descriptor, early_descriptor};

        for (size_t i = 0; i < objm_array_len(scripts); i++) {
                struct objmapper_object o;
                struct got g = {0};
                struct objmapper *om;
                struct server s;

                server_start(&s, scripts[i]);
                om = connect_to(&s, .timeout_ms = 100);
                assert_int_equal(objmapper_get(om, "/late", &o), -ETIMEDOUT);
                assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, NULL, NULL), 0);
                assert_int_equal(g.n, SIZE);
                assert_int_equal(objmapper_get(om, "/next", &o), 0);
                assert_object(o.fd, "/next");
                assert_int_equal(objmapper_generation(om), 1);
                objmapper_free(om);
                server_join(&s);
        }
}

/* ---- breaks ---- */

/* Breaks in the middle of every body but of the @step-th, which is the last. */
static void breaks(struct server *s)
{
        for (int i = 1;; i++) {
                int sock = accept_bodies(s);
                struct request r;

                CHECK(read_request(sock, &r));
                if (i == atomic_load(&s->step)) {
                        respond_body(sock, &r, OBJM_MODE_COPY, SIZE);
                        await_end(sock);
                        return;
                }
                respond_body(sock, &r, OBJM_MODE_COPY, 40000);
                close(sock);
        }
}

static void test_reading_goes_on_after_a_break(void **state)
{
        static uint8_t buf[SIZE];
        struct got g = {0};
        struct objmapper *om;
        struct server s;

        server_start_at(&s, breaks, 5);
        om = connect_to(&s);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), 0);
        assert_int_equal(g.n, SIZE);
        objmapper_free(om);
        server_join(&s);

        server_start_at(&s, breaks, 5);
        om = connect_to(&s);
        assert_int_equal(objmapper_read(om, "/o", buf, SIZE, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), SIZE);
        assert_memory_equal(buf, content, SIZE);
        objmapper_free(om);
        server_join(&s);
}

/* Breaks once; then the object is another one, or (with step 1) gone. */
static void changes(struct server *s)
{
        int sock = accept_bodies(s);
        struct objm_v3_response response;
        struct request r;

        CHECK(read_request(sock, &r));
        respond_body(sock, &r, OBJM_MODE_COPY, 40000);
        close(sock);
        for (;;) {
                sock = accept_bodies(s);
                while (read_request(sock, &r) && r.v3.op == OBJM_V3_OP_GET) {
                        if (atomic_load(&s->step)) {
                                respond_status(sock, &r, OBJM_STATUS_NOT_FOUND);
                                continue;
                        }
                        response = body_response(&r, OBJM_MODE_COPY);
                        response.version = 8;
                        respond(sock, &response);
                        send_all(sock, content + r.v3.range_offset, (size_t)response.body_len);
                }
                if (r.v3.op == OBJM_V3_OP_PING) {
                        respond_well(sock, &r);
                        await_end(sock);
                        return;
                }
                close(sock);
        }
}

static void test_changed_object_is_stale(void **state)
{
        static uint8_t buf[SIZE];
        struct objmapper_object o;

        for (int gone = 0; gone < 2; gone++) {
                struct got g = {0};
                struct objmapper *om;
                struct server s;

                server_start(&s, changes);
                atomic_store(&s.step, gone);
                om = connect_to(&s);
                assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY),
                                                   NULL), -ESTALE);
                assert_true(g.n <= 40000);
                assert_int_equal(objmapper_ping(om), 0);
                objmapper_free(om);
                server_join(&s);
        }
        for (int gone = 0; gone < 2; gone++) {
                struct objmapper *om;
                struct server s;

                server_start(&s, changes);
                atomic_store(&s.step, gone);
                om = connect_to(&s);
                assert_int_equal(objmapper_read(om, "/o", buf, SIZE, read_options(.mode = OBJMAPPER_MODE_COPY), &o),
                                 gone ? -ENOENT : SIZE);
                if (!gone)
                        assert_int_equal(o.version, 8);
                assert_int_equal(objmapper_ping(om), 0);
                objmapper_free(om);
                server_join(&s);
        }
}

static void test_no_progress_is_an_error(void **state)
{
        struct got g = {0};
        struct objmapper *om;
        struct server s;

        server_start(&s, only_heads);
        om = connect_to(&s);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY), NULL),
                         -ECONNRESET);
        assert_int_equal(g.n, 0);
        objmapper_free(om);
        server_join(&s);
}

static void one_break(struct server *s)
{
        int sock = accept_bodies(s);
        struct request r;

        CHECK(read_request(sock, &r));
        respond_body(sock, &r, OBJM_MODE_COPY, 40000);
        close(sock);
}

static void test_break_without_reconnecting(void **state)
{
        static uint8_t buf[SIZE];
        struct objmapper *om;
        struct server s;

        server_start(&s, one_break);
        om = connect_to(&s, .flags = OBJMAPPER_NO_RECONNECT);
        assert_int_equal(objmapper_read(om, "/o", buf, SIZE, read_options(.mode = OBJMAPPER_MODE_COPY), NULL),
                         -ECONNRESET);
        assert_int_equal(objmapper_ping(om), -ECONNRESET);
        objmapper_free(om);
        server_join(&s);
}

/* A version that nobody knows: what has been handed on cannot be gone on with. */
static void unknown_version(struct server *s)
{
        int sock = accept_bodies(s);
        struct objm_v3_response response;
        struct request r;

        CHECK(read_request(sock, &r));
        response = body_response(&r, OBJM_MODE_COPY);
        response.version = 0;
        respond(sock, &response);
        send_all(sock, content, 100000);
        close(sock);
}

static void test_break_with_unknown_version(void **state)
{
        struct got g = {0};
        struct objmapper *om;
        struct server s;

        server_start(&s, unknown_version);
        om = connect_to(&s);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY), NULL),
                         -ECONNRESET);
        assert_true(g.n > 0 && g.n <= 100000);
        objmapper_free(om);
        server_join(&s);
}

/* ---- stopping, silence ---- */

static void serve_two(struct server *s)
{
        serve_bodies(s);
        serve_bodies(s);
}

static void test_callback_stops(void **state)
{
        struct got g = {.stop_at = 2};
        struct objmapper *om;
        struct server s;

        server_start(&s, serve_two);
        om = connect_to(&s);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = OBJMAPPER_MODE_COPY), NULL),
                         42);
        assert_int_equal(g.pieces, 2);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(objmapper_generation(om), 2);
        objmapper_free(om);
        server_join(&s);
}

/* Silence in the middle of a body, and before one. */
static void falls_silent(struct server *s)
{
        for (int i = 0; i < 2; i++) {
                int sock = accept_bodies(s);
                struct request r;

                CHECK(read_request(sock, &r));
                if (i == 0)
                        respond_body(sock, &r, OBJM_MODE_COPY, 5000);
                await_end(sock);
        }
        serve_bodies(s);
}

static void test_silence_times_out(void **state)
{
        static uint8_t buf[SIZE];
        struct objmapper *om;
        struct server s;

        server_start(&s, falls_silent);
        om = connect_to(&s, .timeout_ms = 100);
        for (int i = 0; i < 2; i++)
                assert_int_equal(objmapper_read(om, "/o", buf, SIZE, read_options(.mode = OBJMAPPER_MODE_COPY), NULL),
                                 -ETIMEDOUT);
        assert_int_equal(objmapper_read(om, "/o", buf, SIZE, read_options(.mode = OBJMAPPER_MODE_COPY), NULL), SIZE);
        assert_int_equal(objmapper_generation(om), 3);
        objmapper_free(om);
        server_join(&s);
}

/* ---- nonsense ---- */

/* By @step: too much, too little, a body where a descriptor was asked for, both, a body behind an error. */
static void nonsense(struct server *s)
{
        int sock = accept_bodies(s);
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request r;
        int fd;

        CHECK(read_request(sock, &r));
        response = body_response(&r, OBJM_MODE_COPY);
        switch (atomic_load(&s->step)) {
        case 0:
                response.body_len++;
                break;
        case 1:
                response.body_len--;
                break;
        case 2:
                CHECK(r.v3.mode == OBJM_MODE_FD);
                break;
        case 3:
                response.n_fds = 1;
                response.mode = OBJM_MODE_FD;
                break;
        default:
                response.status = OBJM_STATUS_NOT_FOUND;
        }
        if (response.n_fds) {
                fd = make_object(content, SIZE);
                send_fds(sock, buf, encode_response(buf, &response), &fd, 1);
        } else {
                respond(sock, &response);
        }
        await_end(sock);
}

static void test_nonsense_is_a_protocol_error(void **state)
{
        for (int step = 0; step < 5; step++) {
                int mode = step == 2 ? OBJMAPPER_MODE_FD : step == 3 ? OBJMAPPER_MODE_AUTO : OBJMAPPER_MODE_COPY;
                struct got g = {0};
                struct objmapper *om;
                struct server s;

                server_start_at(&s, nonsense, step);
                om = connect_to(&s);
                assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, read_options(.mode = mode), NULL),
                                 -EPROTO);
                assert_int_equal(g.n, 0);
                objmapper_free(om);
                server_join(&s);
        }
}

/* A descriptor of fewer bytes than the reply says: a file that was truncated in place. */
static void short_objects(struct server *s)
{
        int sock = accept_bodies(s), fd;
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request r;

        while (read_request(sock, &r)) {
                response = response_to(&r);
                response.n_fds = 1;
                response.mode = OBJM_MODE_FD;
                response.size = SIZE;
                fd = make_object(content, 100000);
                send_fds(sock, buf, encode_response(buf, &response), &fd, 1);
        }
        close(sock);
}

static void test_short_descriptor_is_not_a_success(void **state)
{
        static uint8_t buf[SIZE];
        struct got g = {0};
        struct objmapper *om;
        struct server s;

        server_start(&s, short_objects);
        om = connect_to(&s);
        assert_int_equal(objmapper_read(om, "/o", buf, SIZE, NULL, NULL), -ESTALE);
        assert_int_equal(objmapper_read_cb(om, "/o", on_piece, &g, NULL, NULL), -ESTALE);
        assert_int_equal(g.n, 100000);
        objmapper_free(om);
        server_join(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_every_mode_and_range),
                counted_test(test_buffer_bounds_what_is_read),
                counted_test(test_wrong_arguments),
                counted_test(test_read_to_fd),
                counted_test(test_read_to_a_full_pipe_ends),
                counted_test(test_unchanged_object_is_not_read),
                counted_test(test_server_that_only_passes_descriptors),
                counted_test(test_version_1),
                counted_test(test_descriptor_beside_a_body),
                counted_test(test_reading_goes_on_after_a_break),
                counted_test(test_changed_object_is_stale),
                counted_test(test_no_progress_is_an_error),
                counted_test(test_break_without_reconnecting),
                counted_test(test_break_with_unknown_version),
                counted_test(test_callback_stops),
                counted_test(test_silence_times_out),
                counted_test(test_nonsense_is_a_protocol_error),
                counted_test(test_short_descriptor_is_not_a_success),
        };

        fill_content();
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
