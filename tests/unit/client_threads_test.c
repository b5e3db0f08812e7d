/* SPDX-License-Identifier: MIT */
#include "client_server.h"

/*
 * The thread rule: a handle belongs to one thread, handles share nothing. Several threads with a handle each, against a
 * server with a thread for each; meant to run under the thread sanitizer.
 */

#define THREADS  4
#define REQUESTS 500

static void *serve_one(void *arg)
{
        int sock = (int)(intptr_t)arg;

        CHECK(read_hello(sock));
        say_hello(sock, 64, 1);
        serve_v3(sock);
        return NULL;
}

static void thread_a_connection(struct server *s)
{
        pthread_t thread[THREADS];

        for (int i = 0; i < THREADS; i++)
                CHECK(pthread_create(&thread[i], NULL, serve_one, (void *)(intptr_t)server_accept(s)) == 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(thread[i], NULL);
}

static int read_back(void *userdata, size_t i, const struct objmapper_completion *c)
{
        const char *const *uris = userdata;
        char buf[32] = "";

        CHECK(c->result == 0 && objmapper_read_all(c->object.fd, buf, sizeof(buf) - 1, 0) > 0);
        CHECK(!strcmp(buf, uris[i]));
        close(c->object.fd);
        return 0;
}

static void *use_handle(void *arg)
{
        struct objmapper_options o = {.size = sizeof(o), .depth = 16, .timeout_ms = 60000};
        const char *uris[REQUESTS];
        char name[REQUESTS][16];
        struct objmapper_object object;
        struct objmapper *om;

        for (int i = 0; i < REQUESTS; i++) {
                snprintf(name[i], sizeof(name[i]), "/%d", i);
                uris[i] = name[i];
        }
        CHECK(objmapper_connect(arg, &o, &om) == 0);
        CHECK(objmapper_get_many(om, uris, REQUESTS, read_back, uris) == 0);
        for (int i = 0; i < 50; i++) {
                CHECK(objmapper_get(om, uris[i], &object) == 0);
                close(object.fd);
        }
        objmapper_free(om);
        return NULL;
}

static void test_a_handle_per_thread(void **state)
{
        pthread_t thread[THREADS];
        struct server s;

        server_start(&s, thread_a_connection);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&thread[i], NULL, use_handle, s.path), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(thread[i], NULL);
        server_join(&s);
}

static struct objmapper *handed_over;

static void *continue_with(void *arg)
{
        struct objmapper_object o;

        for (int i = 0; i < 50; i++) {
                CHECK(objmapper_get(handed_over, "/b", &o) == 0);
                close(o.fd);
        }
        return NULL;
}

static void one_connection(struct server *s)
{
        serve_v3(accept_v3(s, 256, 1));
}

static void test_a_handle_moves_between_threads(void **state)
{
        struct objmapper_object o;
        pthread_t thread;
        struct server s;

        server_start(&s, one_connection);
        handed_over = connect_to(&s);
        assert_int_equal(objmapper_get(handed_over, "/a", &o), 0);
        close(o.fd);
        assert_int_equal(pthread_create(&thread, NULL, continue_with, NULL), 0);
        pthread_join(thread, NULL);
        assert_int_equal(objmapper_get(handed_over, "/c", &o), 0);
        assert_object(o.fd, "/c");
        objmapper_free(handed_over);
        server_join(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_a_handle_per_thread),
                counted_test(test_a_handle_moves_between_threads),
        };

        return cmocka_run_group_tests_name("client_threads", tests, NULL, NULL);
}
