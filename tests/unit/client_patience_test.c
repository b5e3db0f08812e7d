/* SPDX-License-Identifier: MIT */
/* Servers, descriptors and signals that keep a client waiting: no call stays longer than its timeout. */
#include "client_server.h"

#include "base/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>

#define LIMIT_S 60 /* a call that never returns ends the test */

static uint64_t ms_since(uint64_t start)
{
        return (objm_clock_ns() - start) / OBJM_NS_PER_MS;
}

/* ---- what is awaited in vain ---- */

static void leaves_at_attach(struct server *s)
{
        int sock = server_accept(s);
        struct request r;

        CHECK(read_hello(sock));
        grant(sock, 256, 1, OBJM_V3_CAP_RING);
        CHECK(read_request(sock, &r) && r.v3.op == OBJM_V3_OP_RING_ATTACH);
        close(sock);
}

/* The handle is dead: waiting for it was nothing but a loop until the timeout. */
static void test_connection_lost_at_attach_is_the_end_under_no_reconnect(void **state)
{
        struct objmapper_options o = {.size = sizeof(o), .flags = OBJMAPPER_RING | OBJMAPPER_NO_RECONNECT,
                                      .timeout_ms = 20000};
        uint64_t start = objm_clock_ns();
        struct objmapper *om;
        struct server s;

        server_start(&s, leaves_at_attach);
        assert_int_equal(objmapper_connect(s.path, &o, &om), -ECONNRESET);
        assert_true(ms_since(start) < 10000);
        server_join(&s);
}

static void answers_on_the_second_connection(struct server *s)
{
        int silent = accept_v3(s, (uint32_t)atomic_load(&s->step), 1);

        serve_v3(accept_v3(s, 256, 2));
        await_end(silent);
}

/* All that may be in flight has been given up by its callers: what is asked then goes over a new connection. */
static void check_after_timeouts(unsigned depth, int granted)
{
        struct objmapper_completion c;
        struct objmapper_object o;
        struct objmapper *om;
        struct server s;

        server_start_at(&s, answers_on_the_second_connection, granted);
        om = connect_to(&s, .depth = depth, .timeout_ms = 50);
        for (int i = 0; i < 2; i++)
                assert_int_equal(objmapper_get(om, "/a", &o), -ETIMEDOUT);
        assert_int_equal(objmapper_submit_get(om, "/b", 2, 0), 0);
        assert_int_equal(objmapper_wait(om, &c, 1, 20000), 1);
        assert_int_equal(c.result, 0);
        assert_object(c.object.fd, "/b");
        objmapper_free(om);
        server_join(&s);
}

static void test_timeouts_do_not_use_up_the_depth(void **state)
{
        check_after_timeouts(2, 256);
}

static void test_timeouts_do_not_use_up_what_the_server_grants(void **state)
{
        check_after_timeouts(256, 2);
}

/* ---- what comes byte by byte ---- */

static void trickles(struct server *s)
{
        int sock = accept_v3(s, 256, 1);
        struct objm_v3_response response;
        struct request r;

        CHECK(read_request(sock, &r));
        response = response_to(&r);
        response.body_len = 1 << 20;
        respond(sock, &response);
        while (send(sock, "x", 1, MSG_NOSIGNAL) == 1)
                poll(NULL, 0, 20);
        close(sock);
}

static void test_stats_that_trickle_do_not_put_the_timeout_off(void **state)
{
        struct objmapper *om;
        struct server s;
        char *text;

        server_start(&s, trickles);
        om = connect_to(&s, .timeout_ms = 300);
        assert_int_equal(objmapper_control(om, OBJMAPPER_STATS, &text), -ETIMEDOUT);
        assert_null(text);
        objmapper_free(om);
        server_join(&s);
}

/* ---- signals ---- */

static atomic_uint ticks;

static void on_tick(int signal)
{
        if (atomic_fetch_add(&ticks, 1) > LIMIT_S * 50)
                abort();
}

/* Every 20 ms; 0: no more. */
static void tick(suseconds_t us)
{
        const struct itimerval every = {{.tv_usec = us}, {.tv_usec = us}};
        const struct sigaction action = {.sa_handler = on_tick};

        alarm(0);
        assert_int_equal(sigaction(SIGALRM, us ? &action : &(struct sigaction){.sa_handler = SIG_DFL}, NULL), 0);
        assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void sends_a_body(struct server *s)
{
        int sock = server_accept(s);
        struct objm_v3_response response;
        struct request r;

        CHECK(read_hello(sock));
        grant(sock, 256, 1, OBJM_V3_CAP_COPY);
        CHECK(read_request(sock, &r));
        response = response_to(&r);
        response.mode = OBJM_MODE_COPY;
        response.size = response.body_len = 4;
        respond(sock, &response);
        send_bytes(sock, "body", 4);
        await_end(sock);
}

static void fill_pipe(int pair[2])
{
        static const char zeroes[4096];

        assert_int_equal(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
        while (write(pair[1], zeroes, sizeof(zeroes)) > 0)
                ;
}

/* Each signal ended the wait for room and the next one began anew. */
static void test_signals_do_not_put_the_timeout_of_writing_off(void **state)
{
        const struct objmapper_read_options o = {.size = sizeof(o), .mode = OBJMAPPER_MODE_COPY};
        struct objmapper *om;
        struct server s;
        int pair[2];

        server_start(&s, sends_a_body);
        om = connect_to(&s, .timeout_ms = 300);
        fill_pipe(pair);
        tick(20000);
        assert_int_equal(objmapper_read_to_fd(om, "/a", pair[1], &o, NULL), -ETIMEDOUT);
        tick(0);
        close(pair[0]);
        close(pair[1]);
        objmapper_free(om);
        server_join(&s);
}

static int begin_test(void **state)
{
        alarm(LIMIT_S);
        return count_before(state);
}

#define patient_test(f) cmocka_unit_test_setup_teardown(f, begin_test, count_after)

int main(void)
{
        const struct CMUnitTest tests[] = {
                patient_test(test_connection_lost_at_attach_is_the_end_under_no_reconnect),
                patient_test(test_timeouts_do_not_use_up_the_depth),
                patient_test(test_timeouts_do_not_use_up_what_the_server_grants),
                patient_test(test_stats_that_trickle_do_not_put_the_timeout_off),
                patient_test(test_signals_do_not_put_the_timeout_of_writing_off),
        };

        return cmocka_run_group_tests_name("client_patience", tests, NULL, NULL);
}
