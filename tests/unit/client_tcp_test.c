/* SPDX-License-Identifier: MIT */
/* The library over TCP: addresses, connecting without waiting, and asking for nothing that cannot come. */
#include "client/address.h"
#include "client_server.h"
#include "transport/tcp.h"

#include <fcntl.h>

/* ---- a server on a port of its own ---- */

static void listen_tcp(struct server *s)
{
        char text[OBJM_INET_PAIR];
        struct objm_inet a;

        CHECK(objm_inet_parse("127.0.0.1", 0, &a) == 0 && objm_tcp_listen(&a, &s->listener) == 0 &&
              objm_tcp_name(s->listener, &a) == 0 && fcntl(s->listener, F_SETFL, 0) == 0);
        snprintf(s->path, sizeof(s->path), "tcp://%s", objm_inet_format(&a, text));
}

static void start(struct server *s, void (*script)(struct server *))
{
        server_prepare(s, script);
        listen_tcp(s);
        CHECK(pthread_create(&s->thread, NULL, server_main, s) == 0);
}

static int accept_and_greet(struct server *s)
{
        int sock = server_accept(s);

        CHECK(read_hello(sock));
        grant(sock, 16, 1, OBJM_V3_CAP_INLINE | OBJM_V3_CAP_COPY);
        return sock;
}

/* STAT, PING, and GET auto, copy or splice, with the URI as content. */
static void serve_bytes(int sock)
{
        struct request r;

        while (read_request(sock, &r)) {
                struct objm_v3_response response = response_to(&r);

                if (r.v3.op != OBJM_V3_OP_GET) {
                        respond_well(sock, &r);
                        continue;
                }
                CHECK(r.v3.mode == OBJM_MODE_AUTO || r.v3.mode == OBJM_MODE_COPY || r.v3.mode == OBJM_MODE_SPLICE);
                response.mode = r.v3.mode == OBJM_MODE_AUTO ? OBJM_MODE_COPY : r.v3.mode;
                response.body_len = r.v3.uri_len;
                respond(sock, &response);
                send_bytes(sock, r.v3.uri, r.v3.uri_len);
        }
        close(sock);
}

static void serve_one(struct server *s)
{
        serve_bytes(accept_and_greet(s));
}

static void check_read(struct objmapper *om, int mode)
{
        struct objmapper_read_options o = {.size = sizeof(o), .mode = mode};
        struct objmapper_object object;
        char buf[100];

        assert_int_equal(objmapper_read(om, "/a/b", buf, sizeof(buf), &o, &object), 4);
        assert_memory_equal(buf, "/a/b", 4);
        assert_int_equal(object.fd, -1);
        assert_int_equal(object.size, 4);
}

static void bytes_come_and_descriptors_are_not_asked_for(void **state)
{
        struct objmapper_read_options fd = {.size = sizeof(fd), .mode = OBJMAPPER_MODE_FD};
        struct objmapper_object object;
        struct objmapper *om;
        struct server s;
        char buf[10];

        start(&s, serve_one);
        assert_int_equal(objmapper_connect(s.path, NULL, &om), 0);
        for (int i = 0; i < 3; i++) {
                check_read(om, OBJMAPPER_MODE_AUTO);
                check_read(om, OBJMAPPER_MODE_COPY);
                check_read(om, OBJMAPPER_MODE_SPLICE);
                assert_int_equal(objmapper_get(om, "/a", &object), -EOPNOTSUPP);
                assert_int_equal(objmapper_read(om, "/a", buf, sizeof(buf), &fd, NULL), -EOPNOTSUPP);
                assert_int_equal(objmapper_ping(om), 0);
                assert_int_equal(objmapper_stat(om, "/abc", &object), 0);
                assert_int_equal(object.mtime, 1234);
        }
        assert_int_equal(objmapper_protocol(om), 3);
        objmapper_free(om);
        server_join(&s);
}

/* ---- version 1 ---- */

static void copy_v1(struct server *s)
{
        int sock = server_accept(s);
        uint8_t head[3], uri[100], buf[200];

        while (read_all(sock, head, sizeof(head))) {
                struct objm_v1_response r = {.content_len = head[2]};
                size_t n;

                CHECK(head[0] == OBJM_MODE_COPY && head[2] < sizeof(uri) && read_all(sock, uri, head[2]));
                n = objm_v1_response_encode(buf, sizeof(buf), &r);
                memcpy(buf + n, uri, head[2]);
                send_bytes(sock, buf, n + head[2]);
        }
        close(sock);
}

static void version_1_copies(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .version = 1};
        struct objmapper_object object;
        struct objmapper *om;
        struct server s;

        start(&s, copy_v1);
        assert_int_equal(objmapper_connect(s.path, &o, &om), 0);
        check_read(om, OBJMAPPER_MODE_AUTO);
        check_read(om, OBJMAPPER_MODE_COPY);
        assert_int_equal(objmapper_get(om, "/a", &object), -EOPNOTSUPP);
        assert_int_equal(objmapper_stat(om, "/a", &object), -EOPNOTSUPP);
        assert_int_equal(objmapper_ping(om), -EOPNOTSUPP);
        check_read(om, OBJMAPPER_MODE_AUTO);
        objmapper_free(om);
        server_join(&s);
}

/* ---- connecting ---- */

static void nobody_is_waited_for_and_then_said(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .timeout_ms = 100};
        struct objmapper *om;
        struct server s;

        server_prepare(&s, NULL);
        listen_tcp(&s);
        s.listener = objm_fd_close(s.listener);
        for (o.version = 0; o.version <= 3; o.version += o.version ? 2 : 1)
                assert_int_equal(objmapper_connect(s.path, &o, &om), -ECONNREFUSED);
        rmdir(s.dir);
}

/* Is connected by the kernel alone, and says nothing. */
static void a_silent_server_is_given_up(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .timeout_ms = 100};
        struct objmapper *om;
        struct server s;

        server_prepare(&s, NULL);
        listen_tcp(&s);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -ETIMEDOUT);
        server_unlisten(&s);
        rmdir(s.dir);
}

static void reset_each(struct server *s)
{
        struct request r;

        for (int i = 0; i < 5; i++) {
                int sock = accept_and_greet(s);

                CHECK(read_request(sock, &r));
                objm_tcp_reset_on_close(sock);
                close(sock);
        }
        serve_one(s);
}

static void a_reset_is_a_reason_to_connect_again(void **state)
{
        struct objmapper *om;
        struct server s;

        start(&s, reset_each);
        assert_int_equal(objmapper_connect(s.path, NULL, &om), 0);
        assert_int_equal(objmapper_ping(om), 0);
        assert_int_equal(objmapper_generation(om), 6);
        objmapper_free(om);
        server_join(&s);
}

/* Without a blocking call: poll(2) for what the library says, also while it connects. */
static void an_event_loop_connects_again(void **state)
{
        struct objmapper_completion c;
        struct objmapper *om;
        struct server s;

        start(&s, reset_each);
        assert_int_equal(objmapper_connect(s.path, NULL, &om), 0);
        assert_int_equal(objmapper_submit_ping(om, 77), 0);
        for (int i = 0; objmapper_flush(om) == 0 && objmapper_reap(om, &c, 1) == 0; i++) {
                struct pollfd p = {.fd = objmapper_fd(om), .events = objmapper_events(om)};
                int ms = objmapper_timeout(om);

                assert_true(i < 1000);
                poll(&p, 1, ms < 0 ? 20000 : ms);
        }
        assert_int_equal(c.result, 0);
        assert_int_equal(c.user_data, 77);
        objmapper_free(om);
        server_join(&s);
}

static void lost_without_reconnecting(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .flags = OBJMAPPER_NO_RECONNECT};
        struct objmapper *om;
        struct server s;

        start(&s, reset_each);
        for (int i = 0; i < 5; i++) {
                assert_int_equal(objmapper_connect(s.path, &o, &om), 0);
                assert_int_equal(objmapper_ping(om), -ECONNRESET);
                objmapper_free(om);
        }
        assert_int_equal(objmapper_connect(s.path, &o, &om), 0);
        assert_int_equal(objmapper_ping(om), 0);
        objmapper_free(om);
        server_join(&s);
}

/* ---- addresses ---- */

static void addresses_are_told_apart(void **state)
{
        struct objm_address a;

        assert_int_equal(objm_address_parse("/run/x", &a), 0);
        assert_false(a.tcp);
        assert_string_equal(a.path, "/run/x");
        assert_int_equal(objm_address_parse("unix:///run/x", &a), 0);
        assert_string_equal(a.path, "/run/x");
        assert_int_equal(objm_address_parse("tcp:x", &a), 0); /* a relative path */
        assert_string_equal(a.path, "tcp:x");
        assert_int_equal(objm_address_parse("tcp://[::1]:9", &a), 0);
        assert_true(a.tcp);
        assert_int_equal(a.inet.any.sa_family, AF_INET6);
}

static void wrong_addresses_are_said_at_once(void **state)
{
        static const char *const bad[] = {"tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://localhost:80",
                                          "tcp://127.0.0.1:80/", "tcp://::1:80", "tcp://[::1]:99999", "unix://", ""};
        struct objmapper_options o = {.size = sizeof(o), .timeout_ms = -1};
        struct objmapper *om;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(objmapper_connect(bad[i], &o, &om), -EINVAL);
        assert_int_equal(objmapper_connect("tcp://[fe80::1%no-such-if]:1", &o, &om), -ENODEV);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(bytes_come_and_descriptors_are_not_asked_for),
                counted_test(version_1_copies),
                counted_test(nobody_is_waited_for_and_then_said),
                counted_test(a_silent_server_is_given_up),
                counted_test(a_reset_is_a_reason_to_connect_again),
                counted_test(an_event_loop_connects_again),
                counted_test(lost_without_reconnecting),
                counted_test(addresses_are_told_apart),
                counted_test(wrong_addresses_are_said_at_once),
        };

        return cmocka_run_group_tests_name("client_tcp", tests, NULL, NULL);
}
