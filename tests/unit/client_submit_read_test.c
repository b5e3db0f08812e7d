/* SPDX-License-Identifier: MIT */
#include "client_lent.h"

#include <signal.h>

#define DEPTH 512

/* ---- the server ---- */

/* As the daemon does: small objects of auto with the reply. */
static void answer(int sock, const struct request *r)
{
        if (r->v3.op != OBJM_V3_OP_GET)
                respond_well(sock, r);
        else if (r->v3.mode == OBJM_MODE_AUTO && size_of(r) <= OBJM_V3_INLINE_DEFAULT)
                respond_body(sock, r, OBJM_MODE_INLINE, SIZE);
        else if (r->v3.mode == OBJM_MODE_AUTO || r->v3.mode == OBJM_MODE_FD)
                respond_object(sock, r);
        else
                respond_body(sock, r, r->v3.mode, SIZE);
}

static void serve(int sock)
{
        struct request r;

        while (read_request(sock, &r))
                answer(sock, &r);
        close(sock);
}

static void well(struct server *s)
{
        serve(accept_bodies(s));
}

/* ---- what comes ---- */

static void test_every_size_buffer_range_and_mode(void **state)
{
        static struct lent lent[LENT_EACH];
        struct objmapper *om;
        struct server s;

        server_start(&s, well);
        om = connect_to(&s, .depth = DEPTH);
        lent_submit_each(om, lent);
        lent_await(om, lent, LENT_EACH);
        lent_end(lent, LENT_EACH, 0);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(objmapper_generation(om), 1);
        objmapper_free(om);
        server_join(&s);
}

static void test_by_an_event_loop(void **state)
{
        static struct lent lent[LENT_EACH];
        struct objmapper *om;
        struct server s;

        server_start(&s, well);
        om = connect_to(&s, .depth = DEPTH);
        lent_submit_each(om, lent);
        while (objmapper_in_flight(om)) {
                struct pollfd pfd = {objmapper_fd(om), objmapper_events(om), 0};

                assert_int_equal(poll(&pfd, 1, 20000), 1);
                assert_int_equal(objmapper_flush(om), 0);
                lent_reap(om, lent, LENT_EACH);
        }
        lent_end(lent, LENT_EACH, 0);
        objmapper_free(om);
        server_join(&s);
}

static void test_among_other_requests(void **state)
{
        struct objmapper_completion c[30];
        struct lent lent[10];
        struct objmapper *om;
        struct server s;
        int n = 0;

        server_start(&s, well);
        om = connect_to(&s);
        for (uint64_t i = 0; i < 10; i++) {
                assert_int_equal(objmapper_submit_get(om, "/other", 6, 10 + i), 0);
                assert_int_equal(lent_read(om, lent, i, i % 2 ? 1024 : SIZE, SIZE), 0);
                assert_int_equal(objmapper_submit_stat(om, "/x", 2, 20 + i), 0);
        }
        while (n < 30) {
                int got = objmapper_wait(om, c, 30, 20000);

                assert_true(got > 0);
                for (int i = 0; i < got; i++) {
                        if (c[i].user_data < 10)
                                lent_note(lent, 10, &c[i], 1);
                        else if (c[i].user_data < 20)
                                close(c[i].object.fd);
                        else
                                assert_int_equal(c[i].object.mtime, 1234);
                }
                n += got;
        }
        lent_end(lent, 10, 0);
        objmapper_free(om);
        server_join(&s);
}

static void unchanged(struct server *s)
{
        int sock = accept_bodies(s);
        struct objm_v3_response response;
        struct request r;

        while (read_request(sock, &r)) {
                response = response_to(&r);
                response.flags = OBJM_V3_RS_NOT_MODIFIED;
                if (r.v3.if_version == 7)
                        respond(sock, &response);
                else if (r.v3.uri_len == 2)
                        respond_status(sock, &r, OBJM_STATUS_NOT_FOUND);
                else
                        answer(sock, &r);
        }
        close(sock);
}

static void test_versions_and_refusals(void **state)
{
        struct objmapper *om;
        struct lent lent[3];
        struct server s;

        server_start(&s, unchanged);
        om = connect_to(&s);
        assert_int_equal(lent_read(om, lent, 0, 1024, 1024, .if_version = 7), 0);
        assert_int_equal(lent_read(om, lent, 1, 1024, 1024, .if_version = 6), 0);
        assert_int_equal(lent_read(om, lent, 2, 1, 1024), 0);
        lent_await(om, lent, 3);
        assert_int_equal(lent[0].done.result, 0);
        assert_true(lent[0].done.object.not_modified && lent_untouched(lent[0].mem, 1024 + 2 * GUARD));
        assert_false(lent[1].done.object.not_modified);
        lent_check(&lent[1], 0);
        assert_true(lent_untouched(lent[2].mem, 1024 + 2 * GUARD));
        lent_check(&lent[2], -ENOENT);
        for (int i = 0; i < 3; i++)
                free(lent[i].mem);
        objmapper_free(om);
        server_join(&s);
}

static void test_wrong_arguments(void **state)
{
        static char uri[OBJMAPPER_URI_MAX + 1];
        struct objmapper_completion c[2];
        struct objmapper *om;
        struct server s;
        char b;

        server_start(&s, well);
        om = connect_to(&s, .depth = 1);
        memset(uri, '/', sizeof(uri));
        assert_int_equal(objmapper_submit_read(om, NULL, 2, &b, 1, NULL, 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 0, &b, 1, NULL, 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 2, NULL, 1, NULL, 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 2, &b, 0, NULL, 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 2, &b, (size_t)INT32_MAX + 1, NULL, 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 2, &b, 1, read_options(.mode = 4), 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 2, &b, 1, read_options(.offset = UINT64_MAX), 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, "/o", 2, &b, 1, &(struct objmapper_read_options){0}, 0), -EINVAL);
        assert_int_equal(objmapper_submit_read(om, uri, sizeof(uri), &b, 1, NULL, 0), -ENAMETOOLONG);
        assert_int_equal(objmapper_in_flight(om), 0);
        assert_int_equal(objmapper_submit_read(om, "/1", 2, &b, 1, NULL, 5), 0);
        assert_int_equal(objmapper_submit_read(om, "/1", 2, &b, 1, NULL, 6), -EAGAIN);
        assert_int_equal(objmapper_ping(om), -EBUSY);
        assert_int_equal(objmapper_wait(om, c, 2, -1), 1);
        assert_int_equal(c[0].user_data, 5);
        assert_int_equal(c[0].result, 1);
        assert_int_equal(objmapper_submit_get(om, "/1", 2, 7), 0); /* the slot that had a buffer has none now */
        assert_int_equal(objmapper_wait(om, c, 2, -1), 1);
        assert_int_equal(c[0].result, 0);
        close(c[0].object.fd);
        objmapper_free(om);
        server_join(&s);
}

static void test_server_that_only_passes_descriptors(void **state)
{
        struct objmapper *om;
        struct lent lent[4];
        struct server s;

        server_start(&s, only_descriptors);
        om = connect_to(&s);
        for (int mode = OBJMAPPER_MODE_AUTO; mode <= OBJMAPPER_MODE_SPLICE; mode++)
                assert_int_equal(lent_read(om, lent, (size_t)mode, 1024, 1000, .mode = mode, .offset = 10), 0);
        lent_await(om, lent, 4);
        lent_end(lent, 2, 0);
        lent_end(lent + 2, 2, -EOPNOTSUPP);
        objmapper_free(om);
        server_join(&s);
}

/* ---- version 1 ---- */

static void version_1(struct server *s)
{
        int sock = server_accept(s);
        uint8_t head[3], reply[11] = {0};
        struct request r = {.v3.uri = r.buf};

        while (read_all(sock, head, 3) && read_all(sock, r.buf, head[2])) {
                size_t size;

                r.v3.uri_len = head[2];
                size = size_of(&r);
                if (head[0] == OBJM_MODE_FD) {
                        int fd = make_object(content, size);

                        respond_v1(sock, 0);
                        send_fds(sock, "X", 1, &fd, 1);
                        continue;
                }
                for (int i = 0; i < 8; i++)
                        reply[1 + i] = (uint8_t)((uint64_t)size >> (56 - 8 * i));
                CHECK(send_all(sock, reply, sizeof(reply)) && send_all(sock, content, size));
        }
        close(sock);
}

/* What the buffers do not take of the bodies is dropped, and no connection with it. */
static void test_version_1(void **state)
{
        static const size_t sizes[] = {0, 1, 1024, SIZE};
        static const size_t buffers[] = {1, 1024, SIZE};
        struct lent lent[25];
        struct objmapper *om;
        struct server s;
        size_t i = 0;

        server_start(&s, version_1);
        om = connect_to(&s, .version = 1);
        for (size_t size = 0; size < 4; size++)
                for (size_t b = 0; b < 3; b++) {
                        assert_int_equal(lent_read(om, lent, i++, sizes[size], buffers[b],
                                                   .mode = OBJMAPPER_MODE_COPY), 0);
                        assert_int_equal(lent_read(om, lent, i++, sizes[size], buffers[b], .offset = 3), 0);
                }
        assert_int_equal(lent_read(om, lent, i, 1024, 1024, .mode = OBJMAPPER_MODE_SPLICE, .offset = 1), 0);
        lent_await(om, lent, 25);
        lent_end(lent, 24, 0);
        lent_end(lent + 24, 1, -EOPNOTSUPP);
        assert_int_equal(objmapper_generation(om), 1);
        objmapper_free(om);
        server_join(&s);
}

static void endless(struct server *s)
{
        int sock = server_accept(s);
        uint8_t reply[11] = {0, 0x7f}, head[3], uri[8];

        CHECK(read_all(sock, head, 3) && read_all(sock, uri, head[2]));
        CHECK(send_all(sock, reply, sizeof(reply)));
        while (send_all(sock, content, SIZE))
                ;
        close(sock);
}

static void test_a_body_without_end_ends_no_call(void **state)
{
        struct objmapper_completion c;
        struct objmapper *om;
        struct lent lent[1];
        struct server s;

        server_start(&s, endless);
        om = connect_to(&s, .version = 1);
        assert_int_equal(lent_read(om, lent, 0, SIZE, 1000, .mode = OBJMAPPER_MODE_COPY), 0);
        for (int i = 0; i < 20; i++) {
                assert_int_equal(objmapper_wait(om, &c, 1, 5), 0);
                assert_int_equal(objmapper_reap(om, &c, 1), 0);
        }
        assert_int_equal(objmapper_in_flight(om), 1);
        objmapper_free(om);
        lent_check_guards(lent);
        assert_memory_equal(lent[0].mem + GUARD, content, 1000);
        free(lent[0].mem);
        server_join(&s);
}

/* ---- breaks ---- */

/* By turns in the middle of a body and behind one. */
static void breaks(struct server *s)
{
        for (int i = 0; i < 4; i++) {
                int sock = accept_bodies(s);
                struct request r;

                CHECK(read_request(sock, &r));
                if (i % 2) {
                        answer(sock, &r);
                        CHECK(read_request(sock, &r));
                }
                respond_body(sock, &r, OBJM_MODE_COPY, 500);
                close(sock);
        }
        well(s);
}

static void test_reads_begin_anew_after_a_break(void **state)
{
        struct objmapper *om;
        struct lent lent[40];
        struct server s;

        server_start(&s, breaks);
        om = connect_to(&s);
        for (size_t i = 0; i < 40; i++)
                assert_int_equal(lent_read(om, lent, i, i % 3 ? 1024 : SIZE, SIZE, .mode = OBJMAPPER_MODE_COPY), 0);
        lent_await(om, lent, 40);
        lent_end(lent, 40, 0);
        assert_int_equal(objmapper_generation(om), 5);
        objmapper_free(om);
        server_join(&s);
}

/* The object has become another one, and a shorter one, between the two attempts. */
static void shrinks(struct server *s)
{
        int sock = accept_bodies(s);
        struct objm_v3_response response;
        struct request r;

        CHECK(read_request(sock, &r));
        respond_body(sock, &r, OBJM_MODE_COPY, 900);
        close(sock);
        sock = accept_bodies(s);
        CHECK(read_request(sock, &r));
        response = response_to(&r);
        response.mode = OBJM_MODE_COPY;
        response.size = response.body_len = 10;
        respond(sock, &response);
        CHECK(send_all(sock, content + 5000, 10));
        await_end(sock);
}

static void test_nothing_is_left_of_the_first_attempt(void **state)
{
        struct objmapper *om;
        struct lent lent[1];
        struct server s;

        server_start(&s, shrinks);
        om = connect_to(&s);
        assert_int_equal(lent_read(om, lent, 0, 1024, 1024, .mode = OBJMAPPER_MODE_COPY), 0);
        lent_await(om, lent, 1);
        assert_int_equal(lent[0].done.result, 10);
        assert_int_equal(lent[0].done.object.size, 10);
        assert_memory_equal(lent[0].mem + GUARD, content + 5000, 10);
        lent_check_guards(lent);
        free(lent[0].mem);
        objmapper_free(om);
        server_join(&s);
}

static void one_break(struct server *s)
{
        int sock = accept_bodies(s);
        struct request r;

        CHECK(read_request(sock, &r));
        respond_body(sock, &r, OBJM_MODE_COPY, 500);
        close(sock);
}

static void test_no_progress_is_an_error(void **state)
{
        static void (*const scripts[])(struct server *) = {only_heads, one_break};

        for (unsigned i = 0; i < 2; i++) {
                struct objmapper *om;
                struct lent lent[2];
                struct server s;

                server_start(&s, scripts[i]);
                om = connect_to(&s, .flags = i ? OBJMAPPER_NO_RECONNECT : 0);
                for (size_t k = 0; k < 2; k++)
                        assert_int_equal(lent_read(om, lent, k, 1024, 1024, .mode = OBJMAPPER_MODE_COPY), 0);
                lent_await(om, lent, 2);
                lent_end(lent, 2, -ECONNRESET);
                if (i)
                        assert_int_equal(objmapper_submit_read(om, "/1", 2, lent, 1, NULL, 0), -ECONNRESET);
                objmapper_free(om);
                server_join(&s);
        }
}

static void in_the_middle(struct server *s)
{
        int a = accept_bodies(s), b;
        struct request r;

        CHECK(read_request(a, &r));
        respond_body(a, &r, OBJM_MODE_COPY, 500);
        b = accept_bodies(s);
        CHECK(read_request(b, &r)); /* the child's, from the beginning */
        respond_body(b, &r, OBJM_MODE_COPY, SIZE);
        await_end(b);
        CHECK(send_all(a, content + 500, 524));
        await_end(a);
}

/* Waits until a part of the body has been taken. */
static void take_a_part(struct objmapper *om, const struct lent *l)
{
        struct objmapper_completion c;

        while (lent_untouched(l->mem + GUARD, 1))
                assert_int_equal(objmapper_wait(om, &c, 1, 1), 0);
}

static int finish_as_child(struct objmapper *om, struct lent *l)
{
        struct objmapper_completion c;

        if (objmapper_wait(om, &c, 1, 20000) != 1 || c.result != 1024 || memcmp(l->mem + GUARD, content, 1024))
                return 1;
        objmapper_free(om);
        return 0;
}

static void test_child_reads_for_itself(void **state)
{
        struct objmapper *om;
        struct lent lent[1];
        struct server s;
        int status;
        pid_t pid;

        server_start(&s, in_the_middle);
        om = connect_to(&s);
        assert_int_equal(lent_read(om, lent, 0, 1024, 1024, .mode = OBJMAPPER_MODE_COPY), 0);
        take_a_part(om, lent);
        pid = fork();
        if (pid == 0)
                _exit(finish_as_child(om, lent));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        lent_await(om, lent, 1);
        lent_end(lent, 1, 0);
        objmapper_free(om);
        server_join(&s);
}

static void half(struct server *s)
{
        int sock = accept_bodies(s);
        struct request r;

        CHECK(read_request(sock, &r));
        respond_body(sock, &r, OBJM_MODE_COPY, 500);
        await_end(sock);
}

static void test_free_in_the_middle(void **state)
{
        struct objmapper *om;
        struct lent lent[2];
        struct server s;

        server_start(&s, half);
        om = connect_to(&s);
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(lent_read(om, lent, i, 1024, 1024, .mode = OBJMAPPER_MODE_COPY), 0);
        take_a_part(om, lent);
        assert_int_equal(objmapper_in_flight(om), 2);
        objmapper_free(om);
        for (size_t i = 0; i < 2; i++) {
                lent_check_guards(&lent[i]);
                free(lent[i].mem);
        }
        server_join(&s);
}

/* ---- descriptors ---- */

/* Of fewer bytes than the reply says, @step times. */
static void truncated(struct server *s)
{
        int sock = accept_bodies(s), left = atomic_load(&s->step), fd;
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request r;

        while (read_request(sock, &r)) {
                response = response_to(&r);
                response.n_fds = 1;
                response.mode = OBJM_MODE_FD;
                response.size = size_of(&r);
                fd = make_object(content, left-- > 0 ? 100 : (size_t)response.size);
                send_fds(sock, buf, encode_response(buf, &response), &fd, 1);
        }
        close(sock);
}

static void test_truncated_object_is_asked_for_again(void **state)
{
        for (int times = 1; times < 100; times += 15) {
                struct objmapper *om;
                struct lent lent[1];
                struct server s;

                server_start_at(&s, truncated, times);
                om = connect_to(&s);
                assert_int_equal(lent_read(om, lent, 0, 20000, 20000), 0);
                lent_await(om, lent, 1);
                lent_end(lent, 1, times < 16 ? 0 : -ESTALE);
                objmapper_free(om);
                server_join(&s);
        }
}

/* A descriptor in one message with the body before it, or (@step) with its last bytes. */
static void beside_a_body(struct server *s)
{
        int sock = accept_bodies(s), fd = make_object(content, 2000);
        struct objm_v3_response head, response;
        uint8_t buf[2000 + 2 * OBJM_V3_RESPONSE_MAX];
        struct request r, late;
        size_t n, first;

        CHECK(read_request(sock, &r) && read_request(sock, &late));
        head = body_response(&r, OBJM_MODE_INLINE);
        response = response_to(&late);
        response.n_fds = 1;
        response.mode = OBJM_MODE_FD;
        response.size = 2000;
        n = encode_response(buf, &head);
        memcpy(buf + n, content, 2000);
        n += 2000;
        first = atomic_load(&s->step) ? n - 8 : 0;
        n += encode_response(buf + n, &response);
        if (first)
                send_bytes(sock, buf, first);
        send_fds(sock, buf + first, n - first, &fd, 1);
        await_end(sock);
}

static void test_descriptor_beside_a_body(void **state)
{
        for (int apart = 0; apart < 2; apart++) {
                struct objmapper *om;
                struct lent lent[2];
                struct server s;

                server_start_at(&s, beside_a_body, apart);
                om = connect_to(&s);
                for (size_t i = 0; i < 2; i++)
                        assert_int_equal(lent_read(om, lent, i, 2000, 3000), 0);
                lent_await(om, lent, 2);
                lent_end(lent, 2, 0);
                assert_int_equal(objmapper_generation(om), 1);
                objmapper_free(om);
                server_join(&s);
        }
}

/* ---- nonsense ---- */

enum { TOO_MUCH, TOO_LITTLE, BODY_FOR_FD, BOTH, BEHIND_ERROR, WRONG_ID, WRONG_GENERATION, WRONG_OP, TWICE, N_NONSENSE };

/* Answers the second of three requests, and the first one wrongly. */
static void nonsense(struct server *s)
{
        int sock = accept_bodies(s), fd = make_object(content, SIZE), what = atomic_load(&s->step);
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request r, second, third;

        CHECK(read_request(sock, &r) && read_request(sock, &second) && read_request(sock, &third));
        answer(sock, &second);
        response = body_response(what == TWICE ? &second : &r, OBJM_MODE_COPY);
        response.body_len += (what == TOO_MUCH) - (what == TOO_LITTLE);
        response.status = what == BEHIND_ERROR ? OBJM_STATUS_NOT_FOUND : OBJM_STATUS_OK;
        response.n_fds = what == BOTH;
        response.id ^= what == WRONG_ID ? 1 << 15 : what == WRONG_GENERATION ? 1 << 16 : 0;
        response.op = what == WRONG_OP ? OBJM_V3_OP_STAT : response.op;
        if (response.n_fds) {
                send_fds(sock, buf, encode_response(buf, &response), &fd, 1);
        } else {
                respond(sock, &response);
                close(fd);
        }
        send_all(sock, content + 7, SIZE - 7);
        await_end(sock);
}

static void test_nonsense_is_a_protocol_error(void **state)
{
        for (int what = 0; what < N_NONSENSE; what++) {
                int mode = what == BODY_FOR_FD ? OBJMAPPER_MODE_FD : OBJMAPPER_MODE_AUTO;
                struct objmapper *om;
                struct lent lent[3];
                struct server s;

                server_start_at(&s, nonsense, what);
                om = connect_to(&s);
                for (size_t i = 0; i < 3; i++)
                        assert_int_equal(lent_read(om, lent, i, 1024, 2000,
                                                   .mode = i == 1 ? OBJMAPPER_MODE_COPY : mode), 0);
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
                counted_test(test_among_other_requests),
                counted_test(test_versions_and_refusals),
                counted_test(test_wrong_arguments),
                counted_test(test_server_that_only_passes_descriptors),
                counted_test(test_version_1),
                counted_test(test_a_body_without_end_ends_no_call),
                counted_test(test_reads_begin_anew_after_a_break),
                counted_test(test_nothing_is_left_of_the_first_attempt),
                counted_test(test_no_progress_is_an_error),
                counted_test(test_child_reads_for_itself),
                counted_test(test_free_in_the_middle),
                counted_test(test_truncated_object_is_asked_for_again),
                counted_test(test_descriptor_beside_a_body),
                counted_test(test_nonsense_is_a_protocol_error),
        };

        fill_content();
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests_name("client_submit_read", tests, NULL, NULL);
}
