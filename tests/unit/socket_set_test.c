/* SPDX-License-Identifier: MIT */
#include "objmapperd/socket_set.h"

#include "resources.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        OLD,
        NEW,
        N_SOCKETS,
};

static struct objm_loop loop;
static struct socket_set set;
static pthread_t thread;
static bool stopping;
static int ends[N_SOCKETS][2];
static atomic_uint seen[N_SOCKETS];
static sem_t heard;

static void on_events(struct objm_source *source, uint32_t events)
{
        unsigned i = source->fd == ends[NEW][0] ? NEW : OLD;
        char byte;

        seen[i]++;
        if (i == OLD && read(source->fd, &byte, 1) == 1)
                sem_post(&heard);
}

static void *run(void *arg)
{
        while (!stopping) {
                objm_loop_wait(&loop, -1);
                objm_loop_dispatch(&loop);
        }
        return NULL;
}

static int begin(void **state)
{
        count_before(state);
        for (unsigned i = 0; i < N_SOCKETS; i++) {
                seen[i] = 0;
                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends[i]) < 0)
                        return -1;
        }
        sem_init(&heard, 0, 0);
        stopping = false;
        if (objm_loop_init(&loop) < 0)
                return -1;
        socket_set_init(&set, &loop, on_events, NULL);
        return pthread_create(&thread, NULL, run, NULL);
}

static void on_stop(struct objm_mail *m)
{
        stopping = true;
}

static int end(void **state)
{
        struct objm_mail stop = {.deliver = on_stop};

        objm_loop_post(&loop, &stop);
        pthread_join(thread, NULL);
        socket_set_deinit(&set);
        objm_loop_deinit(&loop);
        sem_destroy(&heard);
        for (unsigned i = 0; i < N_SOCKETS; i++) {
                close(ends[i][0]);
                close(ends[i][1]);
        }
        return count_after(state);
}

static void add(unsigned i)
{
        const struct listening socket = {.transport = CONFIG_TRANSPORT_UNIX, .fd = ends[i][0]};

        assert_int_equal(socket_set_add(&set, &socket), 0);
}

/* A turn of the loop in which the old socket has something. */
static void speak(void)
{
        assert_int_equal(write(ends[OLD][1], "", 1), 1);
        while (sem_wait(&heard) < 0)
                continue;
}

static int watched;

/* What a listener does when descriptors have run out, and when it tries again. */
static void on_pause(struct objm_mail *m)
{
        watched = socket_set_watch(&set, 0);
        if (watched == 0)
                watched = socket_set_watch(&set, EPOLLIN);
}

static void the_end_of_a_pause_opened_sockets_that_a_reload_had_only_prepared(void **state)
{
        struct objm_mail pause = {.deliver = on_pause};

        add(OLD);
        assert_int_equal(socket_set_go(&set), 0);
        add(NEW);
        assert_int_equal(write(ends[NEW][1], "", 1), 1);
        objm_loop_post(&loop, &pause);
        for (int i = 0; i < 3; i++)
                speak();
        assert_int_equal(watched, 0);
        assert_int_equal(seen[NEW], 0);
        assert_int_equal(socket_set_go(&set), 0);
        for (int i = 0; i < 3; i++)
                speak();
        assert_true(seen[NEW] > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        the_end_of_a_pause_opened_sockets_that_a_reload_had_only_prepared, begin, end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
