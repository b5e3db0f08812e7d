/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "client_server.h"

#include <sys/wait.h>

/* Closes in the middle of a reply, and again before it has said anything, then serves. */
static void closes_mid_reply(struct server *s)
{
        int sock = accept_v3(s, 256, 1), fd = make_object("half", 4);
        struct request r;

        CHECK(read_request(sock, &r));
        send_fds(sock, "\0\1", 2, &fd, 1); /* the beginning of a header, with a descriptor */
        close(sock);
        sock = accept_v3(s, 256, 2);
        CHECK(read_request(sock, &r));
        close(sock);
        serve_v3(accept_v3(s, 256, 3));
}

static void test_request_is_sent_again(void **state)
{
        unsigned char instance[OBJMAPPER_INSTANCE];
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, closes_mid_reply);
        om = connect_to(&s);
        assert_int_equal(objmapper_instance(om, instance), 0);
        assert_int_equal(instance[0], 1);
        assert_int_equal(objmapper_get(om, "/a", &o), 0);
        assert_object(o.fd, "/a");
        assert_int_equal(objmapper_instance(om, instance), 0);
        assert_int_equal(instance[0], 3);
        objmapper_free(om);
        server_join(&s);
}

static void test_no_reconnect_is_an_error(void **state)
{
        struct objmapper_completion c;
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, closes_mid_reply);
        om = connect_to(&s, .flags = OBJMAPPER_NO_RECONNECT);
        assert_int_equal(objmapper_get(om, "/a", &o), -ECONNRESET);
        assert_int_equal(objmapper_get(om, "/a", &o), -ECONNRESET);
        assert_int_equal(objmapper_submit_ping(om, 0), -ECONNRESET);
        assert_int_equal(objmapper_reap(om, &c, 1), -ECONNRESET);
        assert_int_equal(objmapper_fd(om), -1);
        objmapper_free(om);
        om = connect_to(&s); /* take the script to its end */
        assert_int_equal(objmapper_get(om, "/a", &o), 0);
        assert_object(o.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

/* ---- the server goes away and comes back ---- */

static void gone_and_back(struct server *s)
{
        int sock = accept_v3(s, 256, 1);
        struct request r;

        CHECK(read_request(sock, &r));
        server_unlisten(s);
        close(sock);
        server_await(s, 1);
        server_listen(s);
        serve_v3(accept_v3(s, 256, 2));
}

struct late {
        struct server *s;
        uint64_t back_at;
};

/* Lets the server come back once the client has had time to find it gone. */
static void *bring_back(void *arg)
{
        struct late *late = arg;

        while (access(late->s->path, F_OK) == 0)
                poll(NULL, 0, 1);
        poll(NULL, 0, 60);
        late->back_at = objm_clock_ns();
        atomic_store(&late->s->step, 1);
        return NULL;
}

static void test_server_gone_then_back(void **state)
{
        struct objmapper_object o;
        struct late late;
        struct server s;
        struct objmapper *om;
        pthread_t thread;

        server_start(&s, gone_and_back);
        om = connect_to(&s);
        late.s = &s;
        pthread_create(&thread, NULL, bring_back, &late);
        assert_int_equal(objmapper_get(om, "/a", &o), 0);
        pthread_join(thread, NULL);
        print_message("answered %.1f ms after the server was back\n",
                      (double)(objm_clock_ns() - late.back_at) / OBJM_NS_PER_MS);
        assert_object(o.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

static void test_server_gone_for_good(void **state)
{
        struct objmapper_completion c;
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, gone_and_back);
        om = connect_to(&s, .timeout_ms = 50);
        assert_int_equal(objmapper_get(om, "/a", &o), -ETIMEDOUT);
        assert_int_equal(objmapper_submit_ping(om, 9), 0);
        assert_int_equal(objmapper_wait(om, &c, 1, 30), 0);
        assert_int_equal(objmapper_fd(om), -1);
        assert_in_range(objmapper_timeout(om), 0, 20);
        atomic_store(&s.step, 1);
        assert_int_equal(objmapper_wait(om, &c, 1, 20000), 1);
        assert_int_equal(c.user_data, 9);
        assert_int_equal(c.result, 0);
        objmapper_free(om);
        server_join(&s);
}

/* Connected by poll alone, through the loss of the connection, without a blocking call. */
static void test_event_loop_reconnects(void **state)
{
        struct objmapper_completion c;
        struct pollfd pfd;
        struct server s;
        struct objmapper *om;
        int n = 0;

        server_start(&s, closes_mid_reply);
        om = connect_to(&s);
        assert_int_equal(objmapper_submit_get(om, "/a", 2, 5), 0);
        while (n == 0) {
                assert_int_equal(objmapper_flush(om), 0);
                n = objmapper_reap(om, &c, 1);
                pfd = (struct pollfd){objmapper_fd(om), objmapper_events(om), 0};
                if (n == 0)
                        assert_true(poll(&pfd, 1, objmapper_timeout(om) < 0 ? 20000 : objmapper_timeout(om)) >= 0);
        }
        assert_int_equal(n, 1);
        assert_int_equal(objmapper_generation(om), 3);
        assert_int_equal(c.result, 0);
        assert_int_equal(c.user_data, 5);
        assert_object(c.object.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

/* ---- a request that the server dies of ---- */

static void dies_of_every_request(struct server *s)
{
        struct request r;

        for (int i = 0; i < 16; i++) {
                int sock = accept_v3(s, 256, 1);

                CHECK(read_request(sock, &r));
                close(sock);
        }
        serve_v3(accept_v3(s, 256, 2));
}

static void test_deadly_request_is_given_up(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, dies_of_every_request);
        om = connect_to(&s);
        assert_int_equal(objmapper_get(om, "/deadly", &o), -ECONNRESET);
        assert_int_equal(objmapper_ping(om), 0);
        objmapper_free(om);
        server_join(&s);
}

/* ---- fork ---- */

static void serve_two(struct server *s)
{
        int a = accept_v3(s, 256, 1), b = accept_v3(s, 256, 2);
        struct request r;

        CHECK(read_request(b, &r)); /* the child's, on a connection of its own */
        respond_well(b, &r);
        await_end(b);
        CHECK(read_request(a, &r)); /* the parent's connection has heard nothing in between */
        CHECK(r.v3.uri_len == 7 && !memcmp(r.v3.uri, "/parent", 7));
        respond_well(a, &r);
        await_end(a);
}

static int use_as_child(struct objmapper *om)
{
        char buf[8] = "";
        struct objmapper_object o;

        if (objmapper_get(om, "/child", &o) != 0 || objmapper_read_all(o.fd, buf, 7, 0) != 6)
                return 1;
        objmapper_free(om);
        return strcmp(buf, "/child") != 0;
}

static void test_child_gets_its_own_connection(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;
        int status;
        pid_t pid;

        server_start(&s, serve_two);
        om = connect_to(&s);
        pid = fork();
        if (pid == 0)
                _exit(use_as_child(om));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(objmapper_get(om, "/parent", &o), 0);
        assert_object(o.fd, "/parent");
        objmapper_free(om);
        server_join(&s);
}

/* ---- a send that finds nobody, with SIGPIPE at its default ---- */

static void closes_at_once(struct server *s)
{
        close(accept_v3(s, 256, 1));
        atomic_store(&s->step, 1);
        serve_v3(accept_v3(s, 256, 2));
}

static void test_no_sigpipe(void **state)
{
        struct objmapper_object o;
        struct server s;
        struct objmapper *om;

        server_start(&s, closes_at_once);
        om = connect_to(&s);
        server_await(&s, 1);
        assert_int_equal(objmapper_get(om, "/a", &o), 0);
        assert_object(o.fd, "/a");
        objmapper_free(om);
        server_join(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_request_is_sent_again),
                counted_test(test_no_reconnect_is_an_error),
                counted_test(test_server_gone_then_back),
                counted_test(test_server_gone_for_good),
                counted_test(test_event_loop_reconnects),
                counted_test(test_deadly_request_is_given_up),
                counted_test(test_child_gets_its_own_connection),
                counted_test(test_no_sigpipe),
        };

        return cmocka_run_group_tests_name("client_reconnect", tests, NULL, NULL);
}
