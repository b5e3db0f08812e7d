/* SPDX-License-Identifier: MIT */
#include "client_server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

static void one_connection(struct server *s)
{
        serve_v3(accept_v3(s, 256, 1));
}

static void test_blocking_calls(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, one_connection);
        om = connect_to(&s);
        assert_int_equal(objmapper_protocol(om), 3);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(objmapper_get(om, "/a", &o), 0);
        assert_int_equal(o.size, 2);
        assert_int_equal(o.version, 7);
        assert_true(fcntl(o.fd, F_GETFD) & FD_CLOEXEC);
        assert_object(o.fd, "/a");
        assert_int_equal(objmapper_stat(om, "/abc", &o), 0);
        assert_int_equal(o.fd, -1);
        assert_int_equal(o.size, 4);
        assert_int_equal(o.mtime, 1234);
        objmapper_free(om);
        server_join(&s);
}

static void test_bad_uris_are_refused_here(void **state)
{
        char long_uri[OBJMAPPER_URI_MAX + 2];
        struct objmapper_object o = {.fd = -7};
        struct server s;
        struct objmapper *om;

        memset(long_uri, 'x', sizeof(long_uri));
        long_uri[sizeof(long_uri) - 1] = 0;
        server_start(&s, one_connection);
        om = connect_to(&s);
        assert_int_equal(objmapper_get(om, "", &o), -EINVAL);
        assert_int_equal(objmapper_get(om, NULL, &o), -EINVAL);
        assert_int_equal(objmapper_get(om, long_uri, &o), -ENAMETOOLONG);
        assert_int_equal(o.fd, -7);
        long_uri[OBJMAPPER_URI_MAX] = 0;
        assert_int_equal(objmapper_get(om, long_uri, &o), 0);
        assert_object(o.fd, long_uri);
        objmapper_free(om);
        server_join(&s);
}

static void all_statuses(struct server *s)
{
        int sock = accept_v3(s, 256, 1);
        struct request r;

        while (read_request(sock, &r))
                respond_status(sock, &r, (uint8_t)atoi((const char *)r.v3.uri));
        close(sock);
}

static void test_statuses_become_errno(void **state)
{
        static const struct {
                const char *uri;
                int result;
        } table[] = {{"1", -ENOENT},  {"2", -EINVAL}, {"3", -EOPNOTSUPP}, {"4", -ENAMETOOLONG}, {"5", -EOPNOTSUPP},
                     {"6", -EACCES},  {"10", -EIO},   {"11", -EIO},       {"12", -ENOMEM},      {"13", -ETIMEDOUT},
                     {"14", -EBUSY},  {"20", -EPROTO}, {"21", -EPROTONOSUPPORT}, {"22", -EOPNOTSUPP},
                     {"99", -EPROTO}};
        struct objmapper_object o = {.fd = -7};
        struct server s;
        struct objmapper *om;

        server_start(&s, all_statuses);
        om = connect_to(&s);
        for (size_t i = 0; i < objm_array_len(table); i++)
                assert_int_equal(objmapper_get(om, table[i].uri, &o), table[i].result);
        assert_int_equal(o.fd, -7);
        objmapper_free(om);
        server_join(&s);
}

static void not_modified(struct server *s)
{
        int sock = accept_v3(s, 256, 1);
        struct objm_v3_response response;
        struct request r;

        while (read_request(sock, &r)) {
                response = response_to(&r);
                if (r.v3.flags & OBJM_V3_RQ_IF_VERSION && r.v3.if_version == 7) {
                        response.flags = OBJM_V3_RS_NOT_MODIFIED;
                        respond(sock, &response);
                } else {
                        respond_well(sock, &r);
                }
        }
        close(sock);
}

static void test_get_if_changed(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, not_modified);
        om = connect_to(&s);
        assert_int_equal(objmapper_get_if_changed(om, "/a", 7, &o), 0);
        assert_int_equal(o.fd, -1);
        assert_true(o.not_modified);
        assert_int_equal(objmapper_get_if_changed(om, "/a", 6, &o), 0);
        assert_false(o.not_modified);
        assert_object(o.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

#define MANY 2000

struct many {
        bool seen[MANY];
        char name[MANY][16];
        const char *uris[MANY];
        size_t stop_after, done;
};

static int on_done(void *userdata, size_t i, const struct objmapper_completion *c)
{
        struct many *m = userdata;

        assert_int_equal(c->result, 0);
        assert_false(m->seen[i]);
        m->seen[i] = true;
        assert_object(c->object.fd, m->uris[i]);
        return ++m->done == m->stop_after ? 42 : 0;
}

static void fill_many(struct many *m)
{
        memset(m, 0, sizeof(*m));
        for (size_t i = 0; i < MANY; i++) {
                snprintf(m->name[i], sizeof(m->name[i]), "/obj/%zu", i);
                m->uris[i] = m->name[i];
        }
}

static void test_get_many_gets_all(void **state)
{
        static struct many m;
        struct server s;
        struct objmapper *om;

        fill_many(&m);
        server_start(&s, one_connection);
        om = connect_to(&s, .depth = 64);
        assert_int_equal(objmapper_get_many(om, m.uris, MANY, on_done, &m), 0);
        assert_int_equal(m.done, MANY);
        assert_int_equal(objmapper_in_flight(om), 0);
        objmapper_free(om);
        server_join(&s);
}

static void test_get_many_stops_and_goes_on(void **state)
{
        static struct many m;
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        fill_many(&m);
        m.stop_after = 100;
        server_start(&s, one_connection);
        om = connect_to(&s, .depth = 64);
        assert_int_equal(objmapper_get_many(om, m.uris, MANY, on_done, &m), 42);
        assert_int_equal(m.done, 100);
        assert_int_equal(objmapper_in_flight(om), 0);
        assert_int_equal(objmapper_get(om, "/after", &o), 0);
        assert_object(o.fd, "/after");
        objmapper_free(om);
        server_join(&s);
}

static int count_refused(void *userdata, size_t i, const struct objmapper_completion *c)
{
        *(int *)userdata += c->result == (i == 1 ? -EINVAL : i == 3 ? -ENAMETOOLONG : 0);
        objm_fd_close(c->object.fd);
        return 0;
}

static void test_get_many_with_bad_uris(void **state)
{
        char long_uri[OBJMAPPER_URI_MAX + 2];
        const char *uris[] = {"/0", "", "/2", long_uri, "/4"};
        struct server s;
        struct objmapper *om;
        int right = 0;

        memset(long_uri, 'x', sizeof(long_uri));
        long_uri[sizeof(long_uri) - 1] = 0;
        server_start(&s, one_connection);
        om = connect_to(&s, .depth = 2);
        assert_int_equal(objmapper_get_many(om, uris, 5, count_refused, &right), 0);
        assert_int_equal(right, 5);
        assert_int_equal(objmapper_get_many(om, NULL, 0, count_refused, &right), 0);
        objmapper_free(om);
        server_join(&s);
}

/* Answers in pairs, the second request first, both in one message. */
static void pairs_backwards(struct server *s)
{
        int sock = accept_v3(s, 2, 1), fds[2];
        uint8_t buf[2 * OBJM_V3_RESPONSE_MAX];
        struct objm_v3_response response;
        static struct request r[2];
        size_t n;

        while (read_request(sock, &r[0]) && read_request(sock, &r[1])) {
                n = 0;
                for (int i = 0; i < 2; i++) {
                        response = response_to(&r[1 - i]);
                        response.n_fds = 1;
                        n += encode_response(buf + n, &response);
                        fds[i] = make_object(r[1 - i].v3.uri, r[1 - i].v3.uri_len);
                }
                send_fds(sock, buf, n, fds, 2);
        }
        close(sock);
}

static void test_batches_out_of_order_and_granted_depth(void **state)
{
        static struct many m;
        struct server s;
        struct objmapper *om;

        fill_many(&m);
        server_start(&s, pairs_backwards);
        om = connect_to(&s, .depth = 64); /* 2 are granted: with more in flight the script would fall out of step */
        assert_int_equal(objmapper_get_many(om, m.uris, 200, on_done, &m), 0);
        objmapper_free(om);
        server_join(&s);
}

static void test_submit_reap_by_event_loop(void **state)
{
        struct objmapper_completion c[4];
        struct pollfd pfd;
        struct server s;
        struct objmapper *om;
        uint64_t seen = 0;

        server_start(&s, one_connection);
        om = connect_to(&s, .depth = 4);
        for (uint64_t i = 0; i < 4; i++)
                assert_int_equal(objmapper_submit_get(om, "/x", 2, i), 0);
        assert_int_equal(objmapper_submit_get(om, "/x", 2, 4), -EAGAIN);
        assert_int_equal(objmapper_ping(om), -EBUSY);
        assert_int_equal(objmapper_in_flight(om), 4);
        while (objmapper_in_flight(om)) {
                pfd = (struct pollfd){objmapper_fd(om), objmapper_events(om), 0};
                poll(&pfd, 1, objmapper_timeout(om));
                assert_int_equal(objmapper_flush(om), 0);
                for (int n = objmapper_reap(om, c, 4); n > 0; n--) {
                        assert_object(c[n - 1].object.fd, "/x");
                        seen |= UINT64_C(1) << c[n - 1].user_data;
                }
        }
        assert_int_equal(seen, 15);
        assert_int_equal(objmapper_wait(om, c, 4, -1), 0); /* nothing in flight: nothing to wait for */
        objmapper_free(om);
        server_join(&s);
}

static void test_blocking_calls_leave_submitted_requests_alone(void **state)
{
        const char *uris[] = {"/b"};
        struct objmapper_completion c;
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;
        int n, right = 0;

        server_start(&s, one_connection);
        om = connect_to(&s, .depth = 4);
        assert_int_equal(objmapper_submit_get(om, "/a", 2, 1), 0);
        assert_int_equal(objmapper_get(om, "/b", &o), -EBUSY);
        assert_int_equal(objmapper_get_many(om, uris, 1, count_refused, &right), -EBUSY);
        assert_int_equal(right, 0);
        while ((n = objmapper_wait(om, &c, 1, 0)) == 0) /* without waiting */
                ;
        assert_int_equal(n, 1);
        assert_object(c.object.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

static void answer_the_second(struct server *s)
{
        int sock = accept_v3(s, 256, 1);
        struct request first, second;

        CHECK(read_request(sock, &first) && read_request(sock, &second));
        respond_well(sock, &first);
        respond_well(sock, &second);
        serve_v3(sock);
}

static void test_late_reply_after_timeout_is_dropped(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, answer_the_second);
        om = connect_to(&s, .timeout_ms = 100);
        assert_int_equal(objmapper_get(om, "/late", &o), -ETIMEDOUT);
        assert_int_equal(objmapper_get(om, "/next", &o), 0);
        assert_object(o.fd, "/next");
        objmapper_free(om);
        server_join(&s);
}

static void silent(struct server *s)
{
        await_end(accept_v3(s, 256, 1));
}

static void test_get_many_gives_up_at_the_timeout(void **state)
{
        const char *uris[] = {"/0", "/1"};
        struct server s;
        struct objmapper *om;
        int right = 0;

        server_start(&s, silent);
        om = connect_to(&s, .timeout_ms = 100, .depth = 1);
        assert_int_equal(objmapper_get_many(om, uris, 2, count_refused, &right), -ETIMEDOUT);
        assert_int_equal(right, 0);
        assert_int_equal(objmapper_in_flight(om), 0);
        objmapper_free(om);
        server_join(&s);
}

static void reads_late(struct server *s)
{
        int sock = accept_v3(s, 256, 1);

        server_await(s, 1);
        serve_v3(sock);
}

/* A megabyte of requests into a socket that takes a fifth of it. */
static void test_socket_that_is_full(void **state)
{
        static char uri[OBJMAPPER_URI_MAX];
        struct objmapper_completion c[16];
        struct server s;
        struct objmapper *om;
        unsigned done = 0;
        int n;

        memset(uri, 'u', sizeof(uri));
        server_start(&s, reads_late);
        om = connect_to(&s, .depth = 256);
        for (unsigned i = 0; i < 256; i++)
                assert_int_equal(objmapper_submit_stat(om, uri, sizeof(uri), i), 0);
        assert_int_equal(objmapper_flush(om), 0);
        assert_int_equal(objmapper_events(om), POLLIN | POLLOUT);
        assert_int_equal(objmapper_reap(om, c, 16), 0);
        atomic_store(&s.step, 1);
        for (; done < 256; done += (unsigned)n) {
                n = objmapper_wait(om, c, 16, 20000);
                assert_true(n > 0);
                for (int i = 0; i < n; i++)
                        assert_int_equal(c[i].result, 0);
        }
        assert_int_equal(objmapper_events(om), POLLIN);
        objmapper_free(om);
        server_join(&s);
}

static void silent_then_good(struct server *s)
{
        int sock = accept_v3(s, 1, 1), next;

        next = accept_v3(s, 1, 1);
        await_end(sock);
        serve_v3(next);
}

static void test_table_full_of_timeouts_recovers(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, silent_then_good);
        om = connect_to(&s, .timeout_ms = 100, .depth = 1);
        assert_int_equal(objmapper_get(om, "/late", &o), -ETIMEDOUT);
        assert_int_equal(objmapper_get(om, "/next", &o), 0);
        assert_object(o.fd, "/next");
        objmapper_free(om);
        server_join(&s);
}

static void test_options_are_checked(void **state)
{
        struct objmapper_options good = {.size = sizeof(good)}, o;
        struct objmapper *om;

        o = good, o.size = 2;
        assert_int_equal(objmapper_connect("/nowhere", &o, &om), -EINVAL);
        o = good, o.version = 2;
        assert_int_equal(objmapper_connect("/nowhere", &o, &om), -EINVAL);
        o = good, o.flags = 1u << 20;
        assert_int_equal(objmapper_connect("/nowhere", &o, &om), -EINVAL);
        o = good, o.depth = 65537;
        assert_int_equal(objmapper_connect("/nowhere", &o, &om), -EINVAL);
        o = good, o.timeout_ms = 10;
        assert_int_equal(objmapper_connect("/nonexistent/socket", &o, &om), -ENOENT);
        objmapper_free(NULL);
}

static void test_read_and_map(void **state)
{
        struct objmapper_object o = {.fd = make_object("0123456789", 10), .size = 99};
        struct objmapper_object empty = {.fd = make_object("", 0)};
        const void *map;
        char buf[16];
        size_t len;

        assert_int_equal(objmapper_read_all(o.fd, buf, 4, 3), 4);
        assert_memory_equal(buf, "3456", 4);
        assert_int_equal(objmapper_read_all(o.fd, buf, 16, 8), 2);
        assert_int_equal(objmapper_read_all(o.fd, buf, 16, UINT64_MAX), -EINVAL);
        assert_int_equal(objmapper_read_all(-1, buf, 16, 0), -EBADF);
        assert_int_equal(objmapper_map(&o, &map, &len), 0);
        assert_int_equal(len, 10); /* what is there, not what was said */
        assert_memory_equal(map, "0123456789", 10);
        objmapper_unmap(map, len);
        assert_int_equal(objmapper_map(&empty, &map, &len), 0);
        assert_null(map);
        assert_int_equal(len, 0);
        objmapper_unmap(map, len);
        close(o.fd);
        close(empty.fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_blocking_calls),
                counted_test(test_bad_uris_are_refused_here),
                counted_test(test_statuses_become_errno),
                counted_test(test_get_if_changed),
                counted_test(test_get_many_gets_all),
                counted_test(test_get_many_stops_and_goes_on),
                counted_test(test_get_many_with_bad_uris),
                counted_test(test_batches_out_of_order_and_granted_depth),
                counted_test(test_submit_reap_by_event_loop),
                counted_test(test_blocking_calls_leave_submitted_requests_alone),
                counted_test(test_late_reply_after_timeout_is_dropped),
                counted_test(test_get_many_gives_up_at_the_timeout),
                counted_test(test_socket_that_is_full),
                counted_test(test_table_full_of_timeouts_recovers),
                counted_test(test_options_are_checked),
                counted_test(test_read_and_map),
        };

        return cmocka_run_group_tests_name("client_get", tests, NULL, NULL);
}
