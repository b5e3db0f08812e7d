/* SPDX-License-Identifier: MIT */
#include "client_server.h"

#include <sys/wait.h>

/*
 * OBJMAPPER_SPLIT_BODIES: two connections, and nothing waits behind a body. Every second word of these scripts is said
 * only after something has happened on the other connection.
 */

#define BLOCK  65536
#define BLOCKS 1600 /* 100 MB */
#define SIZE   ((uint64_t)BLOCK * BLOCKS)
#define SMALL  200000
#define BODIES (OBJM_V3_CAP_FD_BATCH | OBJM_V3_CAP_INLINE | OBJM_V3_CAP_COPY)

#define mode_options(m) (&(struct objmapper_read_options){.size = sizeof(struct objmapper_read_options), .mode = m})
#define copied          mode_options(OBJMAPPER_MODE_COPY)

static uint8_t block[BLOCK];

static void fill_block(void)
{
        for (size_t i = 0; i < BLOCK; i++)
                block[i] = (uint8_t)(i ^ i >> 8);
}

static int accept_bodies(struct server *s, uint8_t instance)
{
        int sock = server_accept(s);

        CHECK(read_hello(sock));
        grant(sock, 256, instance, BODIES);
        return sock;
}

/* The object's bytes from @from to @to. False: the client has left. */
static bool send_object(int sock, uint64_t from, uint64_t to)
{
        while (from < to) {
                size_t at = from % BLOCK, n = to - from < BLOCK - at ? (size_t)(to - from) : BLOCK - at;
                ssize_t r = send(sock, block + at, n, MSG_NOSIGNAL);

                if (r < 0)
                        return false;
                from += (uint64_t)r;
        }
        return true;
}

/* Answers with an object of @size bytes, of which the first @n are sent. */
static void begin_body(int sock, const struct request *r, uint64_t size, uint64_t n)
{
        struct objm_v3_response response = response_to(r);

        CHECK(r->v3.op == OBJM_V3_OP_GET && r->v3.mode == OBJM_MODE_COPY);
        response.size = size;
        response.body_len = size - r->v3.range_offset;
        respond(sock, &response);
        send_object(sock, r->v3.range_offset, r->v3.range_offset + n);
}

static void respond_any(int sock, const struct request *r)
{
        if (r->v3.op == OBJM_V3_OP_GET && r->v3.mode == OBJM_MODE_COPY)
                begin_body(sock, r, SMALL, SMALL - r->v3.range_offset);
        else
                respond_well(sock, r);
}

static void *serve_any(void *arg)
{
        int sock = (int)(intptr_t)arg;
        struct request r;

        CHECK(read_hello(sock));
        grant(sock, 256, 1, BODIES);
        while (read_request(sock, &r))
                respond_any(sock, &r);
        close(sock);
        return NULL;
}

static void serve_connections(struct server *s, int n)
{
        pthread_t thread[8];

        for (int i = 0; i < n; i++)
                CHECK(pthread_create(&thread[i], NULL, serve_any, (void *)(intptr_t)server_accept(s)) == 0);
        for (int i = 0; i < n; i++)
                pthread_join(thread[i], NULL);
}

static void two_connections(struct server *s)
{
        serve_connections(s, 2);
}

static void answer_one(int sock, uint8_t op)
{
        struct request r;

        CHECK(read_request(sock, &r) && r.v3.op == op);
        respond_well(sock, &r);
}

static void read_small(struct objmapper *om)
{
        static uint8_t buf[SMALL + 1];

        assert_int_equal(objmapper_read(om, "/body", buf, sizeof(buf), copied, NULL), SMALL);
        for (size_t at = 0; at < SMALL; at += BLOCK)
                assert_memory_equal(buf + at, block, SMALL - at < BLOCK ? SMALL - at : BLOCK);
}

static void get_one(struct objmapper *om)
{
        struct objmapper_object o;

        assert_int_equal(objmapper_get(om, "/fd", &o), 0);
        assert_object(o.fd, "/fd");
}

/* ---- a callback in the middle of a body ---- */

static void body_waits_for_the_others(struct server *s)
{
        int first = accept_bodies(s, 1), second;
        struct request r;

        answer_one(first, OBJM_V3_OP_PING);
        second = accept_bodies(s, 2);
        CHECK(read_request(second, &r));
        begin_body(second, &r, SIZE, BLOCK);
        answer_one(first, OBJM_V3_OP_GET);
        answer_one(first, OBJM_V3_OP_STAT);
        answer_one(first, OBJM_V3_OP_PING);
        CHECK(send_object(second, BLOCK, SIZE));
        await_end(second);
        await_end(first);
}

struct middle {
        struct objmapper *om;
        uint64_t n;
        bool asked;
};

static void ask_everything(struct objmapper *om)
{
        struct objmapper_object o;

        get_one(om);
        assert_int_equal(objmapper_stat(om, "/stat", &o), 0);
        assert_int_equal(o.mtime, 1234);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(objmapper_read(om, "/x", &o, sizeof(o), NULL, NULL), -EBUSY);
}

static int in_the_middle(void *userdata, const struct objmapper_object *object, uint64_t offset, const void *data,
                         size_t n)
{
        struct middle *m = userdata;
        const uint8_t *p = data;

        if (!m->asked)
                ask_everything(m->om);
        m->asked = true;
        for (size_t i = 0; i < n;) {
                size_t at = (offset + i) % BLOCK, len = n - i < BLOCK - at ? n - i : BLOCK - at;

                assert_memory_equal(p + i, block + at, len);
                i += len;
        }
        m->n += n;
        return 0;
}

static void test_everything_else_passes_a_body(void **state)
{
        unsigned char instance[OBJMAPPER_INSTANCE], expected[OBJMAPPER_INSTANCE];
        struct middle m = {0};
        struct server s;

        server_start(&s, body_waits_for_the_others);
        m.om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        assert_int_equal(objmapper_ping(m.om), 0);
        assert_int_equal(objmapper_read_cb(m.om, "/body", in_the_middle, &m, copied, NULL), 0);
        assert_int_equal(m.n, SIZE);
        assert_int_equal(objmapper_generation(m.om), 1);
        assert_int_equal(objmapper_instance(m.om, instance), 0);
        memset(expected, 1, sizeof(expected));
        assert_memory_equal(instance, expected, sizeof(expected));
        objmapper_free(m.om);
        server_join(&s);
}

/* ---- without the flag ---- */

static void one_connection(struct server *s)
{
        serve_connections(s, 1);
}

static int nest(void *userdata, const struct objmapper_object *object, uint64_t offset, const void *data, size_t n)
{
        struct middle *m = userdata;
        struct objmapper_object o;

        assert_int_equal(objmapper_get(m->om, "/fd", &o), -EBUSY);
        assert_int_equal(objmapper_read(m->om, "/x", &o, sizeof(o), NULL, NULL), -EBUSY);
        m->n += n;
        return 0;
}

static void test_without_splitting_a_callback_is_refused(void **state)
{
        struct middle m = {0};
        struct server s;

        server_start(&s, one_connection);
        m.om = connect_to(&s);
        assert_int_equal(objmapper_read_cb(m.om, "/body", nest, &m, copied, NULL), 0);
        assert_int_equal(m.n, SMALL);
        get_one(m.om);
        objmapper_free(m.om);
        server_join(&s);
}

/* ---- beside submitted requests ---- */

static void test_reading_beside_submitted_requests(void **state)
{
        struct objmapper_completion c;
        struct objmapper *om;
        struct pollfd pfd;
        struct server s;

        server_start(&s, two_connections);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        assert_int_equal(objmapper_submit_get(om, "/fd", 3, 5), 0);
        assert_int_equal(objmapper_flush(om), 0);
        read_small(om);
        assert_int_equal(objmapper_in_flight(om), 1);
        pfd = (struct pollfd){.fd = objmapper_fd(om), .events = objmapper_events(om)};
        assert_int_equal(poll(&pfd, 1, 20000), 1);
        assert_int_equal(objmapper_reap(om, &c, 1), 1);
        assert_int_equal(c.user_data, 5);
        assert_object(c.object.fd, "/fd");
        assert_int_equal(objmapper_generation(om), 1);
        objmapper_free(om);
        server_join(&s);
}

static void test_descriptors_are_read_on_the_second_too(void **state)
{
        struct objmapper *om;
        struct server s;
        char buf[8] = "";

        server_start(&s, two_connections);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        assert_int_equal(objmapper_submit_ping(om, 1), 0);
        assert_int_equal(objmapper_read(om, "/fd", buf, sizeof(buf), mode_options(OBJMAPPER_MODE_FD), NULL), 3);
        assert_string_equal(buf, "/fd");
        assert_int_equal(objmapper_in_flight(om), 1);
        objmapper_free(om);
        server_join(&s);
}

/* ---- two threads ---- */

#define ROUNDS 30

static void *keep_reading(void *om)
{
        static uint8_t buf[SMALL];

        for (int i = 0; i < ROUNDS; i++) {
                CHECK(objmapper_read(om, "/body", buf, SMALL, copied, NULL) == SMALL);
                CHECK(memcmp(buf, block, BLOCK) == 0);
        }
        return NULL;
}

static void test_one_thread_reads_while_another_gets(void **state)
{
        struct objmapper *om;
        pthread_t thread;
        struct server s;

        server_start(&s, two_connections);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        assert_int_equal(pthread_create(&thread, NULL, keep_reading, om), 0);
        for (int i = 0; i < ROUNDS; i++)
                get_one(om);
        pthread_join(thread, NULL);
        objmapper_free(om);
        server_join(&s);
}

/* The body ends only when the other thread has its answers, and those come only when the body has begun. */
static void *read_stalled(void *om)
{
        struct middle m = {.om = om, .asked = true};

        CHECK(objmapper_read_cb(om, "/body", in_the_middle, &m, copied, NULL) == 0);
        CHECK(m.n == SIZE);
        return NULL;
}

static void test_a_stalled_body_delays_no_other_thread(void **state)
{
        struct objmapper_object o;
        struct objmapper *om;
        pthread_t thread;
        struct server s;

        server_start(&s, body_waits_for_the_others);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(pthread_create(&thread, NULL, read_stalled, om), 0);
        get_one(om);
        assert_int_equal(objmapper_stat(om, "/stat", &o), 0);
        assert_int_equal(objmapper_ping(om), 0);
        pthread_join(thread, NULL);
        objmapper_free(om);
        server_join(&s);
}

/* ---- connections that break ---- */

static void second_breaks(struct server *s)
{
        int first = accept_bodies(s, 1), second = accept_bodies(s, 1);
        struct request r;

        CHECK(read_request(second, &r));
        begin_body(second, &r, SMALL, 70000);
        close(second);
        second = accept_bodies(s, 2);
        CHECK(read_request(second, &r) && r.v3.range_offset == 70000);
        begin_body(second, &r, SMALL, SMALL - 70000);
        serve_v3(first);
        await_end(second);
}

static void test_second_breaks_by_itself(void **state)
{
        struct objmapper *om;
        struct server s;

        server_start(&s, second_breaks);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        read_small(om);
        get_one(om);
        assert_int_equal(objmapper_generation(om), 1);
        objmapper_free(om);
        server_join(&s);
}

static void first_breaks(struct server *s)
{
        int first = accept_bodies(s, 1), second = accept_bodies(s, 1);
        struct request r;

        CHECK(read_request(second, &r));
        begin_body(second, &r, SIZE, BLOCK);
        CHECK(read_request(first, &r) && r.v3.op == OBJM_V3_OP_GET);
        close(first);
        first = accept_bodies(s, 2);
        answer_one(first, OBJM_V3_OP_GET);
        answer_one(first, OBJM_V3_OP_STAT);
        answer_one(first, OBJM_V3_OP_PING);
        CHECK(send_object(second, BLOCK, SIZE));
        await_end(second);
        await_end(first);
}

static void test_first_breaks_by_itself(void **state)
{
        struct middle m = {0};
        struct server s;

        server_start(&s, first_breaks);
        m.om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        assert_int_equal(objmapper_read_cb(m.om, "/body", in_the_middle, &m, copied, NULL), 0);
        assert_int_equal(m.n, SIZE);
        assert_int_equal(objmapper_generation(m.om), 2);
        objmapper_free(m.om);
        server_join(&s);
}

static int stop_at_once(void *userdata, const struct objmapper_object *o, uint64_t offset, const void *data, size_t n)
{
        return 42;
}

static void stopped_without_reconnecting(struct server *s)
{
        int first = accept_bodies(s, 1), second = accept_bodies(s, 1);
        struct request r;

        CHECK(read_request(second, &r));
        begin_body(second, &r, SIZE, SIZE);
        close(second);
        serve_v3(first);
}

static void test_without_reconnecting_each_ends_by_itself(void **state)
{
        struct objmapper *om;
        struct server s;
        char c;

        server_start(&s, stopped_without_reconnecting);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES | OBJMAPPER_NO_RECONNECT);
        assert_int_equal(objmapper_read_cb(om, "/body", stop_at_once, NULL, copied, NULL), 42);
        assert_int_equal(objmapper_read(om, "/body", &c, 1, NULL, NULL), -ECONNRESET);
        get_one(om);
        assert_int_equal(objmapper_ping(om), 0);
        objmapper_free(om);
        server_join(&s);
}

/* ---- no second connection ---- */

/* The client has given that connection up meanwhile: its time was over. */
static bool given_up(int sock)
{
        char c;

        return recv(sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void refuse_until_told(struct server *s)
{
        struct objm_v3_hello_reply no = {.status = OBJM_STATUS_UNAVAILABLE, .version = 3};
        int first = accept_bodies(s, 1), second;
        uint8_t buf[OBJM_V3_HELLO_REPLY];

        CHECK(objm_v3_hello_reply_encode(buf, sizeof(buf), &no) == sizeof(buf));
        for (;;) {
                second = server_accept(s);
                CHECK(read_hello(second));
                if (atomic_load(&s->step) && !given_up(second))
                        break;
                CHECK(send(second, buf, sizeof(buf), MSG_NOSIGNAL) == sizeof(buf) || errno == EPIPE);
                close(second);
        }
        grant(second, 256, 1, BODIES);
        answer_one(first, OBJM_V3_OP_GET);
        for (struct request r; read_request(second, &r);)
                respond_any(second, &r);
        close(second);
        await_end(first);
}

static void test_no_room_for_the_second(void **state)
{
        struct objmapper *om;
        struct server s;
        char c;

        server_start(&s, refuse_until_told);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES, .timeout_ms = 300);
        assert_int_equal(objmapper_read(om, "/body", &c, 1, NULL, NULL), -EBUSY);
        assert_int_equal(objmapper_submit_get(om, "/fd", 3, 0), 0);
        assert_int_equal(objmapper_flush(om), 0);
        atomic_store(&s.step, 1);
        read_small(om);
        objmapper_free(om);
        server_join(&s);
}

static void first_only(struct server *s)
{
        int first = accept_bodies(s, 1);

        server_unlisten(s);
        atomic_store(&s->step, 1);
        serve_v3(first);
}

static void test_nobody_listens_for_the_second(void **state)
{
        struct objmapper *om;
        struct server s;
        char c;

        server_start(&s, first_only);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES, .timeout_ms = 200);
        server_await(&s, 1);
        assert_int_equal(objmapper_read(om, "/body", &c, 1, NULL, NULL), -ENOENT);
        objmapper_free(om);
        server_join(&s);
}

/* ---- version 1 ---- */

static void *serve_one_v1(void *arg)
{
        int sock = (int)(intptr_t)arg;
        uint8_t head[3], uri[OBJM_URI_MAX], reply[11] = {0, [8] = 5};

        while (read_all(sock, head, sizeof(head)) && read_all(sock, uri, (size_t)head[1] << 8 | head[2])) {
                if (head[0] == '1') {
                        respond_v1_object(sock, uri, head[2]);
                } else {
                        send_bytes(sock, reply, sizeof(reply));
                        send_bytes(sock, "bytes", 5);
                }
        }
        close(sock);
        return NULL;
}

static void two_of_version_1(struct server *s)
{
        pthread_t thread[2];

        for (int i = 0; i < 2; i++)
                CHECK(pthread_create(&thread[i], NULL, serve_one_v1, (void *)(intptr_t)server_accept(s)) == 0);
        for (int i = 0; i < 2; i++)
                pthread_join(thread[i], NULL);
}

static int get_in_the_middle(void *userdata, const struct objmapper_object *o, uint64_t offset, const void *data,
                             size_t n)
{
        assert_memory_equal(data, "bytes", n);
        get_one(userdata);
        return 0;
}

static void test_version_1(void **state)
{
        struct objmapper *om;
        struct server s;

        server_start(&s, two_of_version_1);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES, .version = 1);
        assert_int_equal(objmapper_read_cb(om, "/body", get_in_the_middle, om, copied, NULL), 0);
        get_one(om);
        objmapper_free(om);
        server_join(&s);
}

/* ---- fork ---- */

static void four_connections(struct server *s)
{
        serve_connections(s, 4);
}

static void test_a_child_has_two_of_its_own(void **state)
{
        struct objmapper *om;
        struct server s;
        int status;
        pid_t pid;

        server_start(&s, four_connections);
        om = connect_to(&s, .flags = OBJMAPPER_SPLIT_BODIES);
        read_small(om);
        pid = fork();
        if (pid == 0) {
                read_small(om);
                get_one(om);
                objmapper_free(om);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        read_small(om);
        get_one(om);
        objmapper_free(om);
        server_join(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_everything_else_passes_a_body),
                counted_test(test_without_splitting_a_callback_is_refused),
                counted_test(test_reading_beside_submitted_requests),
                counted_test(test_descriptors_are_read_on_the_second_too),
                counted_test(test_one_thread_reads_while_another_gets),
                counted_test(test_a_stalled_body_delays_no_other_thread),
                counted_test(test_second_breaks_by_itself),
                counted_test(test_first_breaks_by_itself),
                counted_test(test_without_reconnecting_each_ends_by_itself),
                counted_test(test_no_room_for_the_second),
                counted_test(test_nobody_listens_for_the_second),
                counted_test(test_version_1),
                counted_test(test_a_child_has_two_of_its_own),
        };

        fill_block();
        return cmocka_run_group_tests_name("client_split", tests, NULL, NULL);
}
