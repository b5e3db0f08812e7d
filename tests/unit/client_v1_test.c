/* SPDX-License-Identifier: MIT */
#include "client_server.h"

/* A server of version 1 reads a hello as a request in an unknown mode, says so and closes. */
static void only_v1(struct server *s)
{
        uint8_t hello[OBJM_V3_HELLO];
        int sock = server_accept(s);

        CHECK(read_all(sock, hello, sizeof(hello)));
        respond_v1(sock, OBJM_STATUS_INVALID_MODE);
        close(sock);
        serve_v1(server_accept(s));
}

static void closes_on_hello(struct server *s)
{
        for (int i = 0; i < 2; i++)
                close(server_accept(s));
        serve_v1(server_accept(s));
}

static void plain_v1(struct server *s)
{
        serve_v1(server_accept(s));
}

static void use_v1(struct objmapper *om)
{
        struct objmapper_object o;

        assert_int_equal(objmapper_protocol(om), 1);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(objmapper_get(om, "/a/b", &o), 0);
                assert_int_equal(o.size, 4);
                assert_int_equal(o.version, 0);
                assert_true(o.mtime > 0);
                assert_object(o.fd, "/a/b");
                assert_int_equal(objmapper_get(om, "/none", &o), -ENOENT);
                assert_int_equal(objmapper_stat(om, "/abc", &o), 0);
                assert_int_equal(o.size, 4);
                assert_int_equal(o.fd, -1);
                assert_int_equal(objmapper_ping(om), -EOPNOTSUPP);
                assert_int_equal(objmapper_get_if_changed(om, "/a", 7, &o), 0);
                assert_int_equal(o.not_modified, 0);
                assert_object(o.fd, "/a");
        }
}

static void check_v1(void (*script)(struct server *), unsigned version)
{
        struct server s;
        struct objmapper *om;

        server_start(&s, script);
        om = connect_to(&s, .version = version);
        use_v1(om);
        objmapper_free(om);
        server_join(&s);
}

static void test_falls_back_when_hello_is_answered_in_v1(void **state)
{
        check_v1(only_v1, 0);
}

static void test_falls_back_when_hello_is_closed_upon(void **state)
{
        check_v1(closes_on_hello, 0);
}

static void test_version_1_skips_hello(void **state)
{
        check_v1(plain_v1, 1);
}

static void refuse_hello(struct server *s)
{
        uint8_t hello[OBJM_V3_HELLO];
        int sock = server_accept(s);

        CHECK(read_all(sock, hello, sizeof(hello)));
        respond_v1(sock, OBJM_STATUS_INVALID_MODE);
        close(sock);
}

static void test_version_3_does_not_fall_back(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .version = 3, .timeout_ms = 20000};
        struct objmapper *om;
        struct server s;

        server_start(&s, refuse_hello);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EPROTO);
        server_join(&s);
}

static void busy_once(struct server *s)
{
        int sock = server_accept(s);

        respond_v1(sock, OBJM_STATUS_UNAVAILABLE);
        close(sock);
        if (!atomic_load(&s->step))
                serve_v3(accept_v3(s, 256, 1));
}

static void test_status_14_is_busy_not_version_1(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .flags = OBJMAPPER_NO_RECONNECT, .timeout_ms = 20000};
        struct objmapper *om;
        struct server s;

        server_prepare(&s, busy_once);
        atomic_store(&s.step, 1);
        server_listen(&s);
        pthread_create(&s.thread, NULL, server_main, &s);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EBUSY);
        server_join(&s);
}

static void test_busy_server_is_tried_again(void **state)
{
        struct objmapper *om;
        struct server s;

        server_start(&s, busy_once);
        om = connect_to(&s);
        assert_int_equal(objmapper_protocol(om), 3);
        assert_int_equal(objmapper_ping(om), 0);
        objmapper_free(om);
        server_join(&s);
}

/* A refusal and a grant arrive in one receive: the descriptor belongs to the second. */
static void refusal_then_grant(struct server *s)
{
        uint8_t a[OBJM_URI_MAX], b[OBJM_URI_MAX];
        int sock = server_accept(s);
        size_t n;

        CHECK(read_v1(sock, a) && (n = read_v1(sock, b)));
        respond_v1(sock, OBJM_STATUS_NOT_FOUND);
        respond_v1_object(sock, b, n);
        atomic_store(&s->step, 1);
        await_end(sock);
}

static void test_plain_reply_before_descriptor(void **state)
{
        struct objmapper_completion c[2];
        struct objmapper *om;
        struct server s;

        server_start(&s, refusal_then_grant);
        om = connect_to(&s, .version = 1);
        assert_int_equal(objmapper_submit_get(om, "/none", 5, 0), 0);
        assert_int_equal(objmapper_submit_get(om, "/b", 2, 1), 0);
        assert_int_equal(objmapper_flush(om), 0);
        server_await(&s, 1);
        assert_int_equal(objmapper_reap(om, c, 2), 2);
        assert_int_equal(c[0].result, -ENOENT);
        assert_int_equal(c[0].object.fd, -1);
        assert_int_equal(c[1].result, 0);
        assert_int_equal(c[1].user_data, 1);
        assert_object(c[1].object.fd, "/b");
        objmapper_free(om);
        server_join(&s);
}

/* Size and time in metadata, the reply byte by byte, the descriptor with the last one. */
static void metadata_byte_by_byte(struct server *s)
{
        uint8_t uri[OBJM_URI_MAX], metadata[64], buf[128];
        struct objm_v1_response r = {.metadata = metadata};
        int sock = server_accept(s), fd;
        size_t len, n;

        n = objm_v1_metadata_put_u64(metadata, sizeof(metadata), 0, OBJM_V1_META_SIZE, 77);
        n = objm_v1_metadata_put(metadata, sizeof(metadata), n, OBJM_V1_META_ETAG, "e", 1);
        r.metadata_len = (uint16_t)objm_v1_metadata_put_u64(metadata, sizeof(metadata), n, OBJM_V1_META_MTIME, 1234);
        while ((len = read_v1(sock, uri))) {
                n = objm_v1_response_encode(buf, sizeof(buf), &r);
                for (size_t i = 0; i < n; i++)
                        send_bytes(sock, buf + i, 1);
                fd = make_object(uri, len);
                send_fds(sock, "X", 1, &fd, 1);
        }
        close(sock);
}

static void test_metadata_byte_by_byte(void **state)
{
        unsigned char instance[OBJMAPPER_INSTANCE];
        struct objmapper_object o;
        struct objmapper *om;
        struct server s;

        server_start(&s, metadata_byte_by_byte);
        om = connect_to(&s, .version = 1);
        for (int i = 0; i < 20; i++) {
                assert_int_equal(objmapper_get(om, "/a", &o), 0);
                assert_object(o.fd, "/a");
                assert_int_equal(o.size, 77);
                assert_int_equal(objmapper_stat(om, "/a", &o), 0);
                assert_int_equal(o.mtime, 1234);
        }
        assert_int_equal(objmapper_instance(om, instance), -EOPNOTSUPP);
        objmapper_free(om);
        server_join(&s);
}

/* What follows a grant must be the byte 0x58 with a descriptor, and a grant has no content. */
static void nonsense_in_v1(struct server *s)
{
        static const uint8_t content[11] = {0, 0, 0, 0, 0, 0, 0, 0, 5}, metadata[11] = {0, [9] = 0xff, 0xff};
        uint8_t uri[OBJM_URI_MAX];
        int fd = make_object("?", 1), sock;

        for (int i = 0; i < 4; i++) {
                sock = server_accept(s);
                CHECK(read_v1(sock, uri));
                if (i == 0) {
                        respond_v1(sock, 0);
                        send_fds(sock, "Y", 1, &fd, 1);
                } else if (i == 1) {
                        respond_v1(sock, 0);
                        send_bytes(sock, "X", 1);
                } else {
                        send_bytes(sock, i == 2 ? content : metadata, 11);
                }
                await_end(sock);
        }
        serve_v1(server_accept(s));
}

static void test_nonsense_in_v1_is_eproto(void **state)
{
        struct objmapper_object o;
        struct objmapper *om;
        struct server s;

        server_start(&s, nonsense_in_v1);
        om = connect_to(&s, .version = 1);
        for (int i = 0; i < 4; i++)
                assert_int_equal(objmapper_get(om, "/a", &o), -EPROTO);
        assert_int_equal(objmapper_get(om, "/a", &o), 0);
        assert_object(o.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

/* One request a connection, as a server that does not keep connections does. */
static void one_shot(struct server *s)
{
        uint8_t uri[OBJM_URI_MAX];
        size_t n;

        for (int i = 0; i < 20; i++) {
                int sock = server_accept(s);

                if ((n = read_v1(sock, uri)))
                        respond_v1_object(sock, uri, n);
                close(sock);
        }
}

static int check_object(void *userdata, size_t i, const struct objmapper_completion *c)
{
        const char *const *uris = userdata;

        assert_int_equal(c->result, 0);
        assert_object(c->object.fd, uris[i]);
        return 0;
}

static void test_pipelining_over_a_one_shot_server(void **state)
{
        const char *uris[20];
        struct objmapper *om;
        char names[20][16];
        struct server s;

        for (int i = 0; i < 20; i++) {
                snprintf(names[i], sizeof(names[i]), "/%d", i);
                uris[i] = names[i];
        }
        server_start(&s, one_shot);
        om = connect_to(&s, .version = 1, .depth = 4);
        assert_int_equal(objmapper_get_many(om, uris, 20, check_object, uris), 0);
        objmapper_free(om);
        server_join(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_falls_back_when_hello_is_answered_in_v1),
                counted_test(test_falls_back_when_hello_is_closed_upon),
                counted_test(test_version_1_skips_hello),
                counted_test(test_version_3_does_not_fall_back),
                counted_test(test_status_14_is_busy_not_version_1),
                counted_test(test_busy_server_is_tried_again),
                counted_test(test_plain_reply_before_descriptor),
                counted_test(test_metadata_byte_by_byte),
                counted_test(test_nonsense_in_v1_is_eproto),
                counted_test(test_pipelining_over_a_one_shot_server),
        };

        return cmocka_run_group_tests_name("client_v1", tests, NULL, NULL);
}
