/* SPDX-License-Identifier: MIT */
/*
 * objmapper_udp_get() against a server that does as the test says: for each datagram that arrives a step of the script
 * is played, the last one for all that come after; /b is never found and /c too large. When this process is kept off
 * its CPU for long, requests are sent again: what a test says of single datagrams holds when all went quickly.
 */
#include "client/objmapper.h"

#include "base/fd.h"
#include "protocol/v3.h"
#include "resources.h"
#include "transport/udp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define COOKIE UINT64_C(0x1122334455667788)

enum step {
        SAY_NOTHING,
        SAY_OBJECT,
        SAY_IT_TWICE,
        SAY_NEED_COOKIE, /* 22, bare, with a cookie */
        SAY_TO_STREAM,
        SAY_NOT_FOUND,
        SAY_RUBBISH_FIRST, /* everything that must not be taken for the answer, then the answer */
};

struct server {
        int fd, stop[2];
        pthread_t thread;
        struct objm_inet address;
        const enum step *steps;
        size_t n_steps, n_asked;
        size_t length[64]; /* of each datagram that came */
        uint64_t cookie[64];
};

static const char object[] = "the object";

static void say(int fd, struct objm_udp_datagram *to, const struct objm_udp_response *r, size_t body)
{
        struct objm_v1_response v1 = {.status = r->status, .content_len = body};

        to->len = objm_udp_response_encode(to->data, sizeof(to->data), r);
        if (!r->bare) {
                to->len += objm_v1_response_encode(to->data + to->len, sizeof(to->data) - to->len, &v1);
                memcpy(to->data + to->len, object, body);
                to->len += body;
        }
        CHECK(objm_udp_send_one(fd, to));
}

static void say_rubbish(int fd, struct objm_udp_datagram *to, uint32_t id)
{
        struct objm_udp_response r = {.id = id, .cookie = 1};
        struct objm_inet elsewhere;
        int other;

        r.id = id + 1;
        say(fd, to, &r, 3); /* the answer to something else */
        r.id = id;
        say(fd, to, &r, 3);
        for (size_t len = 0; len < OBJM_UDP_HEADER; len++) { /* pieces of an answer */
                to->len = len;
                CHECK(objm_udp_send_one(fd, to));
        }
        to->len = OBJM_UDP_HEADER + 5;
        CHECK(objm_udp_send_one(fd, to));
        memset(to->data, 0xff, sizeof(to->data));
        to->len = sizeof(to->data);
        CHECK(objm_udp_send_one(fd, to));
        CHECK(objm_inet_parse("127.0.0.1", 0, &elsewhere) == 0 && objm_udp_bind(&elsewhere, &other) == 0);
        say(other, to, &r, 5); /* from somewhere else */
        objm_fd_close(other);
}

static void play(struct server *s, enum step step, struct objm_udp_datagram *d)
{
        struct objm_udp_request rq;
        struct objm_udp_response r = {.cookie = COOKIE};

        CHECK(objm_udp_request_decode(d->data, d->len, &rq) == 0);
        CHECK(rq.op == OBJM_V3_OP_GET && rq.mode == OBJM_MODE_COPY);
        if (rq.uri_len == 2 && rq.uri[1] != 'a')
                step = rq.uri[1] == 'b' ? SAY_NOT_FOUND : SAY_TO_STREAM;
        s->length[s->n_asked] = d->len;
        s->cookie[s->n_asked] = rq.cookie;
        r.id = rq.id;
        switch (step) {
        case SAY_NOTHING:
                return;
        case SAY_RUBBISH_FIRST:
                r.id = rq.id + 1;
                say(s->fd, d, &r, 3);
                say_rubbish(s->fd, d, rq.id + 2);
                r.id = rq.id;
                break;
        case SAY_IT_TWICE:
                say(s->fd, d, &r, sizeof(object) - 1);
                break;
        case SAY_NEED_COOKIE:
                r.status = OBJM_STATUS_CAPABILITY;
                r.cookie = COOKIE + 1;
                r.bare = true;
                break;
        case SAY_TO_STREAM:
                r.status = OBJM_STATUS_UNSUPPORTED;
                r.flags = OBJM_UDP_STREAM;
                break;
        case SAY_NOT_FOUND:
                r.status = OBJM_STATUS_NOT_FOUND;
                r.bare = true;
                break;
        case SAY_OBJECT:
                break;
        }
        say(s->fd, d, &r, r.status == OBJM_STATUS_OK ? sizeof(object) - 1 : 0);
}

static void *serve(void *arg)
{
        static struct objm_udp_batch b;
        struct server *s = arg;

        for (;;) {
                struct pollfd p[] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};

                CHECK(poll(p, 2, 60000) > 0);
                if (p[1].revents)
                        return NULL;
                CHECK(objm_udp_recv(s->fd, &b) == 0);
                for (size_t i = 0; i < b.n; i++, s->n_asked++) {
                        CHECK(s->n_asked < 64);
                        play(s, s->steps[s->n_asked < s->n_steps ? s->n_asked : s->n_steps - 1], &b.item[i]);
                }
        }
}

static void start(struct server *s, const enum step *steps, size_t n, int timeout_ms, struct objmapper_udp **ret)
{
        char text[OBJM_INET_PAIR];

        *s = (struct server){.steps = steps, .n_steps = n};
        assert_int_equal(objm_inet_parse("127.0.0.1", 0, &s->address), 0);
        assert_int_equal(objm_udp_bind(&s->address, &s->fd), 0);
        assert_int_equal(objm_udp_name(s->fd, &s->address), 0);
        assert_int_equal(pipe(s->stop), 0);
        assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
        objm_inet_format(&s->address, text);
        assert_int_equal(objmapper_udp_connect(text, timeout_ms, ret), 0);
}

static void stop(struct server *s, struct objmapper_udp *u)
{
        objm_fd_close(s->stop[1]);
        pthread_join(s->thread, NULL);
        objm_fd_close(s->stop[0]);
        objm_fd_close(s->fd);
        objmapper_udp_free(u);
}

#define START(timeout_ms, ...)                                          \
        static const enum step steps[] = {__VA_ARGS__};                 \
        struct objmapper_object o = {.fd = 99};                         \
        struct objmapper_udp *u;                                        \
        struct server s;                                                \
        char buf[64];                                                   \
        start(&s, steps, sizeof(steps) / sizeof(steps[0]), timeout_ms, &u)

#define PATIENT 20000

/* At least @n datagrams have come. True when no more have. */
static bool quick(const struct server *s, size_t n)
{
        assert_true(s->n_asked >= n);
        return s->n_asked == n;
}

static void assert_object(const char *buf, ssize_t n, const struct objmapper_object *o)
{
        assert_int_equal(n, sizeof(object) - 1);
        assert_memory_equal(buf, object, sizeof(object) - 1);
        assert_int_equal(o->size, sizeof(object) - 1);
        assert_int_equal(o->fd, -1);
}

static void the_first_request_is_padded_the_next_has_the_cookie(void **state)
{
        START(PATIENT, SAY_OBJECT);
        assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        assert_int_equal(objmapper_udp_get(u, "/a", buf, 3, NULL), 3);
        assert_int_equal(objmapper_udp_get(u, "/a", NULL, 0, &o), 0);
        stop(&s, u);
        assert_int_equal(s.length[0], OBJM_UDP_DATAGRAM_MAX);
        assert_true(s.cookie[0] == 0);
        for (size_t i = 1; quick(&s, 4) && i < 4; i++) {
                assert_int_equal(s.length[i], OBJM_UDP_HEADER + 5);
                assert_true(s.cookie[i] == COOKIE);
        }
}

static void an_old_cookie_costs_one_more_request(void **state)
{
        START(PATIENT, SAY_OBJECT, SAY_NEED_COOKIE, SAY_OBJECT, SAY_OBJECT);
        for (unsigned i = 0; i < 3; i++)
                assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        stop(&s, u);
        if (!quick(&s, 4))
                return;
        assert_int_equal(s.length[2], OBJM_UDP_DATAGRAM_MAX);
        assert_true(s.cookie[2] == COOKIE + 1);
        assert_int_equal(s.length[3], OBJM_UDP_HEADER + 5);
}

/* It does not go round in circles with a server that never has enough. */
static void who_always_wants_a_cookie_is_given_up(void **state)
{
        START(250, SAY_NEED_COOKIE);
        assert_int_equal(objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), -ETIMEDOUT);
        assert_int_equal(o.fd, 99);
        stop(&s, u);
        assert_in_range(s.n_asked, 1, 8);
}

static void what_is_lost_is_sent_again(void **state)
{
        START(PATIENT, SAY_NOTHING, SAY_NOTHING, SAY_NOTHING, SAY_OBJECT);
        assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        stop(&s, u);
        assert_true(s.n_asked >= 4);
}

static void silence_ends_at_the_timeout(void **state)
{
        START(400, SAY_NOTHING);
        assert_int_equal(objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), -ETIMEDOUT);
        stop(&s, u);
        assert_in_range(s.n_asked, 1, 4); /* at 0, 50, 150 and 350 ms */
}

static void nothing_but_the_answer_is_taken_for_it(void **state)
{
        START(PATIENT, SAY_RUBBISH_FIRST);
        for (unsigned i = 0; i < 5; i++)
                assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        stop(&s, u);
        for (size_t i = 1; quick(&s, 5) && i < 5; i++)
                assert_true(s.cookie[i] == COOKIE); /* nor is a cookie out of something else */
}

static void an_answer_that_comes_twice_is_one(void **state)
{
        START(PATIENT, SAY_IT_TWICE);
        assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        assert_int_equal(objmapper_udp_get(u, "/b", buf, sizeof(buf), &o), -ENOENT);
        assert_object(buf, objmapper_udp_get(u, "/a", buf, sizeof(buf), &o), &o);
        assert_int_equal(objmapper_udp_get(u, "/c", buf, sizeof(buf), &o), -EMSGSIZE);
        stop(&s, u);
}

static void uris_that_do_not_fit_are_not_sent(void **state)
{
        static char uri[OBJMAPPER_URI_MAX + 2];

        START(PATIENT, SAY_OBJECT);
        memset(uri, 'x', sizeof(uri) - 1);
        assert_int_equal(objmapper_udp_get(u, "", buf, sizeof(buf), &o), -EINVAL);
        assert_int_equal(objmapper_udp_get(u, NULL, buf, sizeof(buf), &o), -EINVAL);
        assert_int_equal(objmapper_udp_get(u, uri, buf, sizeof(buf), &o), -ENAMETOOLONG);
        uri[OBJM_UDP_DATAGRAM_MAX - OBJM_UDP_HEADER - OBJM_V1_REQUEST_HEADER + 1] = 0;
        assert_int_equal(objmapper_udp_get(u, uri, buf, sizeof(buf), &o), -EMSGSIZE);
        uri[OBJM_UDP_DATAGRAM_MAX - OBJM_UDP_HEADER - OBJM_V1_REQUEST_HEADER] = 0;
        assert_object(buf, objmapper_udp_get(u, uri, buf, sizeof(buf), &o), &o);
        stop(&s, u);
        for (size_t i = 0; i < s.n_asked; i++)
                assert_int_equal(s.length[i], OBJM_UDP_DATAGRAM_MAX);
}

static void nobody_there(void **state)
{
        char text[OBJM_INET_PAIR], buf[8];
        struct objm_inet a;
        struct objmapper_udp *u;
        int fd;

        assert_int_equal(objm_inet_parse("127.0.0.1", 0, &a), 0);
        assert_int_equal(objm_udp_bind(&a, &fd), 0);
        assert_int_equal(objm_udp_name(fd, &a), 0);
        objm_inet_format(&a, text);
        objm_fd_close(fd);
        assert_int_equal(objmapper_udp_connect(text, 150, &u), 0);
        assert_int_equal(objmapper_udp_get(u, "/a", buf, sizeof(buf), NULL), -ECONNREFUSED);
        objmapper_udp_free(u);
        objmapper_udp_free(NULL);
}

static void only_addresses_are_taken(void **state)
{
        struct objmapper_udp *u = NULL;

        assert_int_equal(objmapper_udp_connect("localhost:9998", 0, &u), -EINVAL);
        assert_int_equal(objmapper_udp_connect("127.0.0.1", 0, &u), -EINVAL);
        assert_int_equal(objmapper_udp_connect(NULL, 0, &u), -EINVAL);
        assert_null(u);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, count_before, count_after)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(the_first_request_is_padded_the_next_has_the_cookie),
                TEST(an_old_cookie_costs_one_more_request),
                TEST(who_always_wants_a_cookie_is_given_up),
                TEST(what_is_lost_is_sent_again),
                TEST(silence_ends_at_the_timeout),
                TEST(nothing_but_the_answer_is_taken_for_it),
                TEST(an_answer_that_comes_twice_is_one),
                TEST(uris_that_do_not_fit_are_not_sent),
                TEST(nobody_there),
                TEST(only_addresses_are_taken),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
