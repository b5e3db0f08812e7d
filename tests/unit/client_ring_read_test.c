/* SPDX-License-Identifier: MIT */
#include "client_lent.h"

#include "protocol/ring.h"
#include "transport/ring_server.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#define DEPTH   512
#define ENTRIES 64
#define ARENA   65536

/* ---- a server with a ring ---- */

/*
 * All of the content. TSan does not see that two who share a ring wait for each other, so the server's thread opens
 * nothing whose number the client may just have closed.
 */
static int object = -1;

struct host {
        struct objm_ring_server end;
        int sock, bell;
        bool in_body; /* on the socket: no doorbell can be rung there */
        struct objm_ring_request rq; /* the last request, and its URI */
        uint8_t uri[OBJM_URI_MAX];
        struct request as_socket; /* the same as if it had come there */
};

/* Takes over @bell. */
static void host_attach_with(struct host *h, struct server *s, int bell)
{
        const struct objm_ring_geometry g = {ENTRIES, ARENA};
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX + OBJM_RING_GRANT];
        int fds[OBJM_RING_FDS];
        struct request r;
        size_t n;

        h->in_body = false;
        h->sock = server_accept(s);
        CHECK(read_hello(h->sock));
        grant(h->sock, 256, INSTANCE, BODIES | OBJM_V3_CAP_RING);
        CHECK(read_request(h->sock, &r) && r.v3.op == OBJM_V3_OP_RING_ATTACH);
        h->bell = bell;
        CHECK(h->bell >= 0 && objm_ring_server_init(&h->end, &g, fds) == 0);
        fds[OBJM_RING_FD_DOORBELL] = dup(h->bell);
        response = response_to(&r);
        response.n_fds = OBJM_RING_FDS;
        response.size = 0;
        response.body_len = OBJM_RING_GRANT;
        n = encode_response(buf, &response);
        objm_ring_grant_encode(buf + n, &g);
        send_fds(h->sock, buf, n + OBJM_RING_GRANT, fds, OBJM_RING_FDS);
}

static void host_attach(struct host *h, struct server *s)
{
        host_attach_with(h, s, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void host_close(struct host *h)
{
        objm_ring_server_deinit(&h->end);
        close(h->bell);
        close(h->sock);
}

static bool host_has_gone(const struct host *h)
{
        char c;

        return recv(h->sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static bool host_has_unread(const struct host *h)
{
        char c;

        return recv(h->sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void host_publish(struct host *h)
{
        struct objm_v3_response bell = {.op = OBJM_V3_OP_RING_DOORBELL};
        uint32_t how = objm_ring_server_publish(&h->end);

        if (how == OBJM_RING_ASLEEP)
                objm_ring_server_wake(&h->end);
        else if (how == OBJM_RING_POLLING && !h->in_body)
                respond(h->sock, &bell);
}

static void host_take(struct host *h)
{
        union objm_ring_copy copy;
        const uint8_t *uri;

        objm_ring_server_copy(&h->end, 0, &copy);
        objm_ring_server_pass(&h->end);
        h->rq = copy.request;
        CHECK(objm_ring_server_uri(&h->end, &copy.request, h->uri, &uri));
        memmove(h->uri, uri, h->rq.uri_len);
        h->as_socket = (struct request){.v3 = {.op = h->rq.op, .mode = h->rq.mode, .id = h->rq.id, .uri = h->uri,
                                               .uri_len = h->rq.uri_len}};
        if (h->rq.flags & OBJM_RING_RQ_URI_SHORT) {
                h->as_socket.v3.range_length = h->rq.length;
        } else if (h->rq.flags & OBJM_RING_RQ_RANGE) {
                h->as_socket.v3.range_offset = h->rq.get.range_offset;
                h->as_socket.v3.range_length = h->rq.get.range_length;
        }
}

/* The next request in the ring; false: there is one on the socket, or it has ended. */
static bool host_next(struct host *h)
{
        for (;;) {
                int n = objm_ring_server_readable(&h->end);

                CHECK(n >= 0);
                if (n) {
                        host_take(h);
                        return true;
                }
                if (host_has_unread(h) || host_has_gone(h))
                        return false;
                sched_yield();
        }
}

static struct objm_ring_reply host_reply(const struct host *h)
{
        struct objm_v3_response r = body_response(&h->as_socket, OBJM_MODE_INLINE);

        return (struct objm_ring_reply){.op = h->rq.op, .mode = OBJM_MODE_INLINE, .id = h->rq.id, .size = r.size,
                                        .version = 7, .body_len = (uint32_t)r.body_len};
}

static void host_put(struct host *h, const struct objm_ring_reply *r)
{
        while (objm_ring_server_room(&h->end, 1) < 1)
                sched_yield();
        objm_ring_server_put(&h->end, r);
        host_publish(h);
}

static void host_put_body(struct host *h)
{
        struct objm_ring_reply r = host_reply(h);
        uint8_t *body = NULL;

        while (r.body_len && !(body = objm_ring_server_body(&h->end, r.body_len, &r.body_at)))
                sched_yield();
        if (body)
                memcpy(body, content + h->as_socket.v3.range_offset, r.body_len);
        host_put(h, &r);
}

static void host_send_fd(struct host *h)
{
        struct objm_v3_response response = response_to(&h->as_socket);
        struct pollfd pfd = {.fd = h->sock, .events = POLLOUT};
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        size_t n;

        response.mode = OBJM_MODE_FD;
        response.size = size_of(&h->as_socket);
        response.n_fds = 1;
        n = encode_response(buf, &response);
        while (objm_fdpass_send(h->sock, buf, n, &object, 1) == -EAGAIN)
                CHECK(poll(&pfd, 1, -1) == 1);
}

/* The descriptor is still to be sent. */
static void host_promise_fd(struct host *h)
{
        struct objm_ring_reply r = host_reply(h);

        r.mode = OBJM_MODE_FD;
        r.n_fds = 1;
        r.body_len = 0;
        host_put(h, &r);
}

static void host_put_fd(struct host *h)
{
        host_send_fd(h);
        host_promise_fd(h);
}

static void host_refer(struct host *h)
{
        struct objm_ring_reply r = {.status = OBJM_STATUS_UNSUPPORTED, .op = h->rq.op, .id = h->rq.id,
                                    .flags = OBJM_RING_RS_SOCKET};

        host_put(h, &r);
}

static void host_answer(struct host *h)
{
        bool automatic = h->rq.mode == OBJM_MODE_AUTO;

        if (h->rq.mode == OBJM_MODE_FD || (automatic && size_of(&h->as_socket) > OBJM_V3_INLINE_DEFAULT))
                host_put_fd(h);
        else if (body_response(&h->as_socket, h->rq.mode).body_len > ARENA)
                host_refer(h);
        else
                host_put_body(h);
}

/* What has been referred to the socket, or was not for the ring from the start. */
static void host_answer_socket(struct host *h)
{
        struct request r;

        CHECK(read_request(h->sock, &r));
        CHECK(r.v3.mode == OBJM_MODE_COPY || r.v3.mode == OBJM_MODE_SPLICE);
        respond_body(h->sock, &r, r.v3.mode, SIZE);
}

static void host_serve(struct host *h)
{
        for (;;) {
                if (host_next(h))
                        host_answer(h);
                else if (host_has_gone(h))
                        return;
                else
                        host_answer_socket(h);
        }
}

static void well(struct server *s)
{
        struct host h;

        host_attach(&h, s);
        host_serve(&h);
        host_close(&h);
}

/* ---- what comes ---- */

static void test_every_size_buffer_range_and_mode(void **state)
{
        for (int spin = 0; spin < 2; spin++) {
                static struct lent lent[LENT_EACH];
                struct objmapper *om;
                struct server s;

                server_start(&s, well);
                om = connect_to(&s, .depth = DEPTH, .flags = OBJMAPPER_RING | (spin ? 0 : OBJMAPPER_NO_SPIN));
                lent_submit_each(om, lent);
                lent_await(om, lent, LENT_EACH);
                lent_end(lent, LENT_EACH, 0);
                assert_int_equal(objmapper_generation(om), 1);
                objmapper_free(om);
                server_join(&s);
        }
}

static void test_by_an_event_loop(void **state)
{
        static struct lent lent[LENT_EACH];
        struct objmapper *om;
        struct server s;

        server_start(&s, well);
        om = connect_to(&s, .depth = DEPTH, .flags = OBJMAPPER_RING);
        lent_submit_each(om, lent);
        while (objmapper_in_flight(om)) {
                assert_int_equal(objmapper_flush(om), 0);
                lent_reap(om, lent, LENT_EACH);
                if (objmapper_in_flight(om)) {
                        struct pollfd pfd = {objmapper_fd(om), objmapper_events(om), 0};

                        assert_int_equal(poll(&pfd, 1, 20000), 1);
                }
        }
        lent_end(lent, LENT_EACH, 0);
        objmapper_free(om);
        server_join(&s);
}

/* A short URI leaves room for nothing but how much is wanted; all else goes behind a long one. */
static void looks_at_entries(struct server *s)
{
        struct host h;

        host_attach(&h, s);
        CHECK(host_next(&h) && h.rq.flags == OBJM_RING_RQ_URI_SHORT && h.rq.length == 1000);
        host_answer(&h);
        CHECK(host_next(&h) && h.rq.flags == OBJM_RING_RQ_URI_SHORT && h.rq.length == UINT16_MAX);
        host_answer(&h);
        CHECK(host_next(&h) && h.rq.flags == OBJM_RING_RQ_RANGE && h.rq.get.range_length == 100000);
        host_refer(&h);
        host_serve(&h);
        host_close(&h);
}

static void test_small_reads_fit_in_an_entry(void **state)
{
        struct objmapper *om;
        struct lent lent[3];
        struct server s;

        server_start(&s, looks_at_entries);
        om = connect_to(&s, .flags = OBJMAPPER_RING);
        assert_int_equal(lent_read(om, lent, 0, 1024, 1000), 0);
        assert_int_equal(lent_read(om, lent, 1, 1024, 100000), 0);
        assert_int_equal(lent_read(om, lent, 2, SIZE, 100000, .mode = OBJMAPPER_MODE_COPY), 0);
        lent_await(om, lent, 3);
        lent_end(lent, 3, 0);
        objmapper_free(om);
        server_join(&s);
}

/* ---- the end ---- */

/* Answers some of what is in the ring; the next connection has none. */
static void leaves(struct server *s)
{
        struct request r;
        struct host h;
        int sock;

        host_attach(&h, s);
        for (int i = 0; i < 3; i++) {
                CHECK(host_next(&h));
                host_answer(&h);
        }
        CHECK(host_next(&h));
        host_close(&h);
        sock = accept_bodies(s);
        while (read_request(sock, &r))
                respond_body(sock, &r, OBJM_MODE_COPY, SIZE);
        close(sock);
}

static void test_reads_in_the_ring_are_asked_for_again(void **state)
{
        struct objmapper *om;
        struct lent lent[20];
        struct server s;

        server_start(&s, leaves);
        om = connect_to(&s, .flags = OBJMAPPER_RING);
        for (size_t i = 0; i < 20; i++)
                assert_int_equal(lent_read(om, lent, i, 1024, 1024, .mode = OBJMAPPER_MODE_COPY), 0);
        lent_await(om, lent, 20);
        lent_end(lent, 20, 0);
        assert_int_equal(objmapper_generation(om), 2);
        objmapper_free(om);
        server_join(&s);
}

#define ANSWERED (OBJM_RING_SCAN + 8) /* more than are found in one go */

/* As the daemon ends a ring that has not been used for long. What is asked for then comes over the socket. */
static void ends_the_ring(struct server *s)
{
        struct objm_v3_response bell = {.op = OBJM_V3_OP_RING_DOORBELL};
        struct request r;
        struct host h;

        host_attach(&h, s);
        for (int i = 0; i < ANSWERED; i++) {
                CHECK(host_next(&h));
                host_put_fd(&h);
        }
        CHECK(objm_ring_server_end(&h.end));
        respond(h.sock, &bell);
        atomic_store(&s->step, 1);
        while (read_request(h.sock, &r)) {
                if (r.v3.op == OBJM_V3_OP_RING_ATTACH) {
                        respond_status(h.sock, &r, OBJM_STATUS_UNAVAILABLE);
                        continue;
                }
                CHECK(r.v3.uri_len == 2 && r.v3.uri[1] == '6');
                respond_object(h.sock, &r);
        }
        host_close(&h);
}

/* Asked for once more it came twice, and what nobody waits for ends the connection. */
static void test_a_descriptor_on_its_way_at_the_end_of_the_ring_is_not_asked_for_again(void **state)
{
        struct objmapper_completion c[2];
        struct objmapper *om;
        struct server s;

        server_start(&s, ends_the_ring);
        om = connect_to(&s, .flags = OBJMAPPER_RING);
        for (uint64_t i = 0; i < ANSWERED; i++)
                assert_int_equal(objmapper_submit_get(om, "/5", 2, i), 0);
        assert_int_equal(objmapper_flush(om), 0);
        server_await(&s, 1);
        assert_int_equal(objmapper_submit_get(om, "/6", 2, ANSWERED), 0);
        assert_int_equal(objmapper_flush(om), 0);
        for (uint64_t i = 0; i <= ANSWERED; i++) {
                assert_int_equal(objmapper_wait(om, c, 1, 20000), 1);
                assert_int_equal(c->result, 0);
                assert_int_equal(c->user_data, i);
                close(c->object.fd);
        }
        assert_int_equal(objmapper_generation(om), 1);
        objmapper_free(om);
        server_join(&s);
}

/* ---- a child ---- */

static void holds_back(struct server *s)
{
        struct host h;

        host_attach(&h, s);
        CHECK(host_next(&h));
        server_await(s, 1);
        host_answer(&h);
        host_serve(&h);
        host_close(&h);
}

/* The memory of the ring is not there. */
static int ask_as_child(struct objmapper *om)
{
        bool good = objmapper_events(om) == POLLIN && objmapper_fd(om) == -1 && objmapper_timeout(om) == 0 &&
                    objmapper_protocol(om) == 0 && objmapper_in_flight(om) == 1;

        objmapper_free(om);
        return good ? 0 : 1;
}

static void test_a_child_may_begin_with_what_to_poll_for(void **state)
{
        struct objmapper *om;
        struct lent lent[1];
        struct server s;
        int status;
        pid_t pid;

        server_start(&s, holds_back);
        om = connect_to(&s, .flags = OBJMAPPER_RING);
        assert_int_equal(lent_read(om, lent, 0, 1024, 1024), 0);
        assert_int_equal(objmapper_flush(om), 0);
        pid = fork();
        if (pid == 0)
                _exit(ask_as_child(om));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        atomic_store(&s.step, 1);
        lent_await(om, lent, 1);
        lent_end(lent, 1, 0);
        objmapper_free(om);
        server_join(&s);
}

/* A body streams over the socket, and halfway through the ring goes on. */
static void both_ways(struct server *s)
{
        struct request r;
        struct host h;

        host_attach(&h, s);
        CHECK(host_next(&h));
        host_refer(&h);
        while (!host_has_unread(&h))
                sched_yield();
        CHECK(read_request(h.sock, &r));
        h.in_body = true;
        respond_body(h.sock, &r, OBJM_MODE_COPY, 1000);
        for (int i = 0; i < 5; i++) {
                CHECK(host_next(&h));
                host_answer(&h);
        }
        server_await(s, 1);
        CHECK(send_all(h.sock, content + 1000, SIZE - 1000));
        h.in_body = false;
        host_serve(&h);
        host_close(&h);
}

static void test_ring_and_socket_at_once(void **state)
{
        struct objmapper_completion c;
        struct objmapper *om;
        struct lent lent[6];
        struct server s;

        server_start(&s, both_ways);
        om = connect_to(&s, .flags = OBJMAPPER_RING);
        assert_int_equal(lent_read(om, lent, 0, SIZE, SIZE, .mode = OBJMAPPER_MODE_COPY), 0);
        while (lent_untouched(lent[0].mem + GUARD, 1))
                assert_int_equal(objmapper_wait(om, &c, 1, 1), 0);
        for (size_t i = 1; i < 6; i++)
                assert_int_equal(lent_read(om, lent, i, 1024, 1024), 0);
        for (size_t i = 1; i < 6; i++) {
                while (objmapper_wait(om, &c, 1, 0) == 0)
                        sched_yield();
                lent_note(lent, 6, &c, 1);
                assert_int_equal(c.user_data, i);
        }
        atomic_store(&s.step, 1);
        lent_await(om, lent, 6);
        lent_end(lent, 6, 0);
        assert_int_equal(objmapper_generation(om), 1);
        objmapper_free(om);
        server_join(&s);
}

#define PAUSE_MS 400

/* Answers the first request, which nobody waits for any more, in the middle of the second one's body. */
static void answers_late(struct server *s)
{
        struct request r;
        struct host h;

        host_attach(&h, s);
        CHECK(host_next(&h));
        CHECK(read_request(h.sock, &r) && r.v3.mode == OBJM_MODE_SPLICE);
        h.in_body = true;
        respond_body(h.sock, &r, OBJM_MODE_SPLICE, 1);
        poll(NULL, 0, PAUSE_MS / 8); /* until the client waits for the second byte */
        host_promise_fd(&h);
        poll(NULL, 0, PAUSE_MS);
        CHECK(send_all(h.sock, content + 1, 999));
        host_send_fd(&h);
        h.in_body = false;
        host_serve(&h);
        host_close(&h);
}

static uint64_t cpu_ms(void)
{
        struct timespec ts;

        assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
        return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void test_a_late_answer_in_the_ring_does_not_keep_a_reader_awake(void **state)
{
        struct objmapper_object o;
        struct objmapper *om;
        uint8_t buf[1000];
        struct server s;
        uint64_t before;

        server_start(&s, answers_late);
        om = connect_to(&s, .flags = OBJMAPPER_RING, .timeout_ms = 4 * PAUSE_MS);
        assert_int_equal(objmapper_get(om, "/5", &o), -ETIMEDOUT);
        before = cpu_ms();
        assert_int_equal(objmapper_read(om, "/1000", buf, 1000, read_options(.mode = OBJMAPPER_MODE_SPLICE), NULL),
                         1000);
        assert_true(cpu_ms() - before < PAUSE_MS / 10);
        assert_memory_equal(buf, content, 1000);
        objmapper_free(om);
        server_join(&s);
}

/* ---- nonsense ---- */

static void has_a_pipe(struct server *s)
{
        struct host h;
        int pair[2];

        CHECK(pipe2(pair, O_CLOEXEC) == 0);
        close(pair[0]);
        host_attach_with(&h, s, pair[1]);
        while (!host_has_gone(&h))
                sched_yield();
        host_close(&h);
}

/* Writing to it would raise SIGPIPE, or, full, wait for ever. */
static void test_a_pipe_is_no_doorbell(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .flags = OBJMAPPER_RING, .timeout_ms = 20000};
        struct objmapper *om;
        struct server s;

        server_start(&s, has_a_pipe);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EPROTO);
        server_join(&s);
}

enum { TOO_MUCH, TOO_LITTLE, ALL_OF_IT, OUTSIDE, HUGE_BODY, BEHIND_ERROR, WRONG_ID, WRONG_GENERATION, WRONG_OP, TWICE,
       N_NONSENSE };

/* Answers the second of three requests, and the first one wrongly. */
static void nonsense(struct server *s)
{
        int what = atomic_load(&s->step);
        struct objm_ring_reply r;
        struct host h;
        uint8_t *body;

        host_attach(&h, s);
        CHECK(host_next(&h));
        r = host_reply(&h);
        CHECK(host_next(&h));
        host_answer(&h);
        if (what == TWICE)
                r = host_reply(&h);
        CHECK(host_next(&h));
        body = objm_ring_server_body(&h.end, r.body_len, &r.body_at);
        CHECK(body);
        memcpy(body, content + 7, r.body_len);
        r.body_len += (what == TOO_MUCH) - (what == TOO_LITTLE);
        if (what == ALL_OF_IT)
                r.body_len = (uint32_t)r.size;
        if (what == HUGE_BODY)
                r.body_len = UINT32_MAX;
        if (what == OUTSIDE)
                r.body_at = ARENA - r.body_len + 1;
        r.status = what == BEHIND_ERROR ? OBJM_STATUS_NOT_FOUND : OBJM_STATUS_OK;
        r.id ^= what == WRONG_ID ? 1 << 15 : what == WRONG_GENERATION ? 1 << 16 : 0;
        r.op = what == WRONG_OP ? OBJM_V3_OP_STAT : r.op;
        host_put(&h, &r);
        while (!host_has_gone(&h))
                sched_yield();
        host_close(&h);
}

static void test_nonsense_is_a_protocol_error(void **state)
{
        for (int what = 0; what < N_NONSENSE; what++) {
                struct objmapper *om;
                struct lent lent[3];
                struct server s;

                server_start_at(&s, nonsense, what);
                om = connect_to(&s, .flags = OBJMAPPER_RING);
                for (size_t i = 0; i < 3; i++)
                        assert_int_equal(lent_read(om, lent, i, 1024, 1000), 0);
                lent_await(om, lent, 3);
                lent_end_nonsense(lent);
                objmapper_free(om);
                server_join(&s);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_every_size_buffer_range_and_mode),
                counted_test(test_by_an_event_loop),
                counted_test(test_small_reads_fit_in_an_entry),
                counted_test(test_reads_in_the_ring_are_asked_for_again),
                counted_test(test_a_descriptor_on_its_way_at_the_end_of_the_ring_is_not_asked_for_again),
                counted_test(test_a_child_may_begin_with_what_to_poll_for),
                counted_test(test_ring_and_socket_at_once),
                counted_test(test_a_late_answer_in_the_ring_does_not_keep_a_reader_awake),
                counted_test(test_a_pipe_is_no_doorbell),
                counted_test(test_nonsense_is_a_protocol_error),
        };

        fill_content();
        object = make_object(content, SIZE);
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests_name("client_ring_read", tests, NULL, NULL);
}
