/* SPDX-License-Identifier: MIT */
#include "client_server.h"

#include <fcntl.h>
#include <sys/resource.h>

/* Answers one request wrongly, then serves the connection that must follow. */
static void misbehave(struct server *s, void (*wrong)(int sock, struct request *r))
{
        int sock = accept_v3(s, 256, 1);
        struct request r;

        CHECK(read_request(sock, &r));
        wrong(sock, &r);
        await_end(sock);
        serve_v3(accept_v3(s, 256, 2));
}

static void send_response_with(int sock, const struct objm_v3_response *r, size_t n_fds)
{
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        int fds[8];

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = make_object("?", 1);
        send_fds(sock, buf, encode_response(buf, r), fds, n_fds);
}

static void wrong_id(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.id ^= 1;
        response.n_fds = 1;
        send_response_with(sock, &response, 1);
}

static void wrong_generation(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.id ^= 1 << 16;
        send_response_with(sock, &response, 0);
}

static void wrong_op(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.op = OBJM_V3_OP_PING;
        send_response_with(sock, &response, 0);
}

static void extra_fd(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.n_fds = 1;
        send_response_with(sock, &response, 2);
}

static void two_fds(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.n_fds = 2;
        send_response_with(sock, &response, 2);
}

static void missing_fd(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.n_fds = 1;
        send_response_with(sock, &response, 0);
}

static void no_fd_granted(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        send_response_with(sock, &response, 0);
}

static void fd_with_refusal(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.status = OBJM_STATUS_NOT_FOUND;
        response.n_fds = 1;
        send_response_with(sock, &response, 1);
}

static void unasked_body(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.body_len = 10;
        response.n_fds = 1;
        send_response_with(sock, &response, 1);
}

static void unasked_not_modified(int sock, struct request *r)
{
        struct objm_v3_response response = response_to(r);

        response.flags = OBJM_V3_RS_NOT_MODIFIED;
        send_response_with(sock, &response, 0);
}

static void huge_metadata(int sock, struct request *r)
{
        uint8_t buf[OBJM_V3_RESPONSE_HEADER] = {0, r->v3.op, 0, 0};

        buf[10] = buf[11] = 0xff;
        send_bytes(sock, buf, sizeof(buf));
}

static void bad_metadata(int sock, struct request *r)
{
        static const uint8_t metadata[] = {OBJM_V1_META_MTIME, 0, 200, 1};
        struct objm_v3_response response = response_to(r);

        response.metadata = metadata;
        response.metadata_len = sizeof(metadata);
        send_response_with(sock, &response, 0);
}

static void (*current)(int sock, struct request *r);

static void run_current(struct server *s)
{
        misbehave(s, current);
}

/* Every misbehaviour ends that request with -EPROTO and the connection; the next request gets a new one. */
static void test_nonsense_is_eproto_and_costs_the_connection(void **state)
{
        static void (*const wrongs[])(int, struct request *) = {
                wrong_id,        wrong_generation, wrong_op,     extra_fd,             two_fds,       missing_fd,
                no_fd_granted,   fd_with_refusal,  unasked_body, unasked_not_modified, huge_metadata, bad_metadata,
        };
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        for (size_t i = 0; i < objm_array_len(wrongs); i++) {
                current = wrongs[i];
                server_start(&s, run_current);
                om = connect_to(&s);
                o.fd = -7;
                assert_int_equal(objmapper_get(om, "/a", &o), -EPROTO);
                assert_int_equal(o.fd, -7);
                assert_int_equal(objmapper_get(om, "/b", &o), 0);
                assert_object(o.fd, "/b");
                objmapper_free(om);
                server_join(&s);
        }
}

static void wrong_hello(struct server *s)
{
        uint8_t buf[OBJM_V3_HELLO_REPLY] = "OBJX";
        int sock = server_accept(s);

        CHECK(read_hello(sock));
        send_bytes(sock, buf, sizeof(buf));
        await_end(sock);
}

static void test_nonsense_after_hello(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .timeout_ms = 20000};
        struct objmapper *om;
        struct server s;

        server_start(&s, wrong_hello);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EPROTO);
        server_join(&s);
}

static void hello_with_fd(struct server *s)
{
        struct objm_v3_hello_reply reply = {.version = 3, .in_flight = 8};
        int sock = server_accept(s), fd = make_object("?", 1);
        uint8_t buf[OBJM_V3_HELLO_REPLY];

        CHECK(read_hello(sock) && objm_v3_hello_reply_encode(buf, sizeof(buf), &reply));
        send_fds(sock, buf, sizeof(buf), &fd, 1);
        await_end(sock);
}

/* It would be taken for the first reply's. */
static void test_descriptor_with_hello(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .timeout_ms = 20000};
        struct objmapper *om;
        struct server s;

        server_start(&s, hello_with_fd);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EPROTO);
        server_join(&s);
}

static void refusing_hello(struct server *s)
{
        static const uint8_t statuses[] = {OBJM_STATUS_UNAVAILABLE, OBJM_STATUS_VERSION, OBJM_STATUS_DENIED};

        for (size_t i = 0; i < objm_array_len(statuses); i++) {
                struct objm_v3_hello_reply reply = {.version = 3, .status = statuses[i]};
                uint8_t buf[OBJM_V3_HELLO_REPLY];
                int sock = server_accept(s);

                CHECK(read_hello(sock) && objm_v3_hello_reply_encode(buf, sizeof(buf), &reply));
                send_bytes(sock, buf, sizeof(buf));
                await_end(sock);
        }
}

/* The first refusal passes, the second is final; what hello says is an errno like any other status. */
static void test_hello_refused_in_version_3(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .timeout_ms = 20000};
        struct objmapper *om;
        struct server s;

        server_start(&s, refusing_hello);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EPROTONOSUPPORT);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -EACCES);
        server_join(&s);
}

static void talks_unasked(struct server *s)
{
        struct objm_v3_response response = {.op = OBJM_V3_OP_PING};
        int sock = accept_v3(s, 256, 1);

        server_await(s, 1);
        respond(sock, &response);
        await_end(sock);
        serve_v3(accept_v3(s, 256, 1));
}

static void test_reply_to_nothing(void **state)
{
        struct objmapper_completion c;
        struct pollfd pfd;
        struct objmapper *om;
        struct server s;

        server_start(&s, talks_unasked);
        om = connect_to(&s);
        atomic_store(&s.step, 1);
        while (objmapper_fd(om) >= 0) {
                pfd = (struct pollfd){objmapper_fd(om), objmapper_events(om), 0};
                poll(&pfd, 1, -1);
                assert_int_equal(objmapper_reap(om, &c, 1), 0);
        }
        assert_int_equal(objmapper_ping(om), 0);
        objmapper_free(om);
        server_join(&s);
}

/* More descriptors than requests in flight are closed, not hoarded. */
static void flood_of_fds(int sock, struct request *r)
{
        int fds[OBJM_FDPASS_MAX];

        for (size_t i = 0; i < objm_array_len(fds); i++)
                fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        send_fds(sock, r->buf, 1, fds, objm_array_len(fds));
}

static void test_flood_of_descriptors(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        current = flood_of_fds;
        server_start(&s, run_current);
        om = connect_to(&s, .depth = 2);
        assert_int_equal(objmapper_get(om, "/a", &o), -EPROTO);
        assert_int_equal(objmapper_get(om, "/b", &o), 0);
        assert_object(o.fd, "/b");
        objmapper_free(om);
        server_join(&s);
}

/* One byte a message; the descriptor rides on the first, where the kernel keeps it. */
static void byte_by_byte(struct server *s)
{
        int sock = accept_v3(s, 256, 1), fd;
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request r;
        size_t n;

        while (read_request(sock, &r)) {
                response = response_to(&r);
                response.n_fds = 1;
                n = encode_response(buf, &response);
                fd = make_object(r.v3.uri, r.v3.uri_len);
                send_fds(sock, buf, 1, &fd, 1);
                for (size_t i = 1; i < n; i++)
                        send_bytes(sock, buf + i, 1);
        }
        close(sock);
}

static int check_many(void *userdata, size_t i, const struct objmapper_completion *c)
{
        const char *const *uris = userdata;

        assert_int_equal(c->result, 0);
        assert_object(c->object.fd, uris[i]);
        return 0;
}

static void test_replies_byte_by_byte(void **state)
{
        const char *uris[] = {"/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"};
        struct server s;
        struct objmapper *om;

        server_start(&s, byte_by_byte);
        om = connect_to(&s, .depth = 4);
        assert_int_equal(objmapper_get_many(om, uris, 10, check_many, uris), 0);
        objmapper_free(om);
        server_join(&s);
}

/* Replies of all kinds in one stream, cut anywhere: descriptors go with the message that holds their reply's start. */
static void random_mix(struct server *s)
{
        int sock = accept_v3(s, 64, 1), fd;
        unsigned seed = 12345;
        struct request r;

        while (read_request(sock, &r)) {
                struct objm_v3_response response = response_to(&r);
                uint8_t buf[OBJM_V3_RESPONSE_MAX];
                size_t n, cut;

                if (r.v3.op == OBJM_V3_OP_GET && (r.v3.uri[r.v3.uri_len - 1] & 3) == 0)
                        response.status = OBJM_STATUS_NOT_FOUND;
                response.n_fds = r.v3.op == OBJM_V3_OP_GET && !response.status;
                n = encode_response(buf, &response);
                cut = 1 + (size_t)rand_r(&seed) % n;
                fd = response.n_fds ? make_object(r.v3.uri, r.v3.uri_len) : -1;
                send_fds(sock, buf, cut, &fd, response.n_fds);
                if (cut < n)
                        send_bytes(sock, buf + cut, n - cut);
        }
        close(sock);
}

static void check_completion(const struct objmapper_completion *c)
{
        char uri[32];

        snprintf(uri, sizeof(uri), "/%u", (unsigned)c->user_data);
        if (c->user_data % 5 == 0) {
                assert_int_equal(c->result, 0);
                assert_int_equal(c->object.fd, -1);
        } else if ((uri[strlen(uri) - 1] & 3) == 0) {
                assert_int_equal(c->result, -ENOENT);
                assert_int_equal(c->object.fd, -1);
        } else {
                assert_int_equal(c->result, 0);
                assert_object(c->object.fd, uri);
        }
}

static int submit_numbered(struct objmapper *om, unsigned i)
{
        char uri[32];
        int n = snprintf(uri, sizeof(uri), "/%u", i);

        return i % 5 == 0 ? objmapper_submit_stat(om, uri, (size_t)n, i) : objmapper_submit_get(om, uri, (size_t)n, i);
}

static void test_every_descriptor_belongs_to_its_reply(void **state)
{
        const unsigned total = 20000;
        struct objmapper_completion c[16];
        unsigned sent = 0, done = 0;
        struct server s;
        struct objmapper *om;

        server_start(&s, random_mix);
        om = connect_to(&s, .depth = 64);
        while (done < total) {
                while (sent < total && submit_numbered(om, sent) == 0)
                        sent++;
                int n = objmapper_wait(om, c, 16, 20000);

                assert_true(n > 0);
                for (int i = 0; i < n; i++)
                        check_completion(&c[i]);
                done += (unsigned)n;
        }
        objmapper_free(om);
        server_join(&s);
}

/* ---- no free descriptor in this process ---- */

static void grants_without_end(struct server *s)
{
        int sock = -1, fd = make_object("x", 1);
        struct objm_v3_response response;
        uint8_t buf[OBJM_V3_RESPONSE_MAX];
        struct request r;

        while (atomic_load(&s->step) == 0) {
                sock = accept_v3(s, 256, 1);
                while (read_request(sock, &r)) {
                        response = response_to(&r);
                        response.n_fds = 1;
                        if (objm_fdpass_send(sock, buf, encode_response(buf, &response), &fd, 1) < 0)
                                break;
                }
                close(sock);
        }
        close(fd);
}

static rlim_t fd_limit(void)
{
        struct rlimit limit;

        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        return limit.rlim_cur;
}

static void unlimit_fds(rlim_t was)
{
        struct rlimit limit;

        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = was;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void test_no_free_descriptor(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;
        rlim_t was;

        server_start(&s, grants_without_end);
        om = connect_to(&s);
        assert_int_equal(objmapper_ping(om), -EPROTO); /* this script has nothing but grants */
        assert_int_equal(objmapper_get(om, "/x", &o), 0);
        close(o.fd);
        was = fd_limit();
        limit_fds(0);
        for (int i = 0; i < 1000; i++) {
                o.fd = -7;
                assert_int_equal(objmapper_get(om, "/x", &o), -EMFILE);
                assert_int_equal(o.fd, -7);
        }
        unlimit_fds(was);
        assert_int_equal(objmapper_get(om, "/x", &o), 0);
        assert_object(o.fd, "x");
        atomic_store(&s.step, 1);
        objmapper_free(om);
        server_join(&s);
}

/* Answers two requests with one message. Opens nothing: it shares the limit with the client. */
static bool answer_pair(int sock, int object)
{
        uint8_t buf[2 * OBJM_V3_RESPONSE_MAX];
        int fds[2] = {object, object};
        struct objm_v3_response response;
        static struct request r;
        size_t n = 0;

        for (int i = 0; i < 2; i++) {
                if (!read_request(sock, &r))
                        return false;
                response = response_to(&r);
                response.n_fds = 1;
                n += encode_response(buf + n, &response);
        }
        return objm_fdpass_send(sock, buf, n, fds, 2) == (ssize_t)n;
}

static void pipelined_batches(struct server *s)
{
        int object = make_object("x", 1), sock;

        while (atomic_load(&s->step) == 0) {
                sock = accept_v3(s, 8, 1);
                while (answer_pair(sock, object))
                        ;
                close(sock);
        }
        close(object);
}

/*
 * Two replies a message and room for five descriptors in the process: some replies lose theirs. Whatever ends well has
 * a descriptor, what does not says -EMFILE, and afterwards all is in step.
 */
static void test_lost_descriptors_amid_pipelining(void **state)
{
        struct objmapper_completion c[8];
        unsigned done = 0, lost = 0;
        struct server s;
        struct objmapper *om;
        rlim_t was;
        int held[64], n_held = 0;

        server_start(&s, pipelined_batches);
        om = connect_to(&s, .depth = 8);
        was = fd_limit();
        limit_fds(5);
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(submit_numbered(om, i * 5 + 1), 0);
        while (done < 8) {
                int n = objmapper_wait(om, c, 8, 20000);

                assert_true(n > 0);
                for (int i = 0; i < n; i++) {
                        assert_true(c[i].result == 0 ? c[i].object.fd >= 0 : c[i].object.fd == -1);
                        if (c[i].result == 0)
                                held[n_held++] = c[i].object.fd;
                        else
                                assert_int_equal(c[i].result, -EMFILE);
                        lost += c[i].result != 0;
                }
                done += (unsigned)n;
        }
        assert_true(lost > 0);
        unlimit_fds(was);
        objm_fd_close_many(held, (size_t)n_held);
        atomic_store(&s.step, 1);
        objmapper_free(om);
        server_join(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_nonsense_is_eproto_and_costs_the_connection),
                counted_test(test_nonsense_after_hello),
                counted_test(test_descriptor_with_hello),
                counted_test(test_hello_refused_in_version_3),
                counted_test(test_reply_to_nothing),
                counted_test(test_flood_of_descriptors),
                counted_test(test_replies_byte_by_byte),
                counted_test(test_every_descriptor_belongs_to_its_reply),
                counted_test(test_no_free_descriptor),
                counted_test(test_lost_descriptors_amid_pipelining),
        };

        return cmocka_run_group_tests_name("client_hostile", tests, NULL, NULL);
}
