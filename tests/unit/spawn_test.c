/* SPDX-License-Identifier: MIT */
#include "concurrency/spawn.h"

#include "threads.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>

struct work {
        sem_t running, go;
        atomic_uint started, ended;
};

static void work_init(struct work *w)
{
        sem_init(&w->running, 0, 0);
        sem_init(&w->go, 0, 0);
        atomic_init(&w->started, 0);
        atomic_init(&w->ended, 0);
}

/* Until it is let go. */
static void stay(void *arg)
{
        struct work *w = arg;

        atomic_fetch_add(&w->started, 1);
        sem_post(&w->running);
        sem_wait(&w->go);
        atomic_fetch_add(&w->ended, 1);
}

static void end_at_once(void *arg)
{
        struct work *w = arg;

        atomic_fetch_add(&w->started, 1);
        atomic_fetch_add(&w->ended, 1);
}

static struct objm_spawner *new_spawner(unsigned max)
{
        struct objm_spawner *s;

        assert_int_equal(objm_spawner_new(max, "test", &s), 0);
        return s;
}

static void all_are_joined_by_free(void **state)
{
        struct objm_spawner *s = new_spawner(100);
        struct work w;

        work_init(&w);
        for (int i = 0; i < 20; i++)
                assert_int_equal(objm_spawner_spawn(s, stay, &w), 0);
        for (int i = 0; i < 20; i++)
                sem_wait(&w.running);
        assert_int_equal(objm_spawner_count(s), 20);
        assert_int_equal(atomic_load(&w.ended), 0);
        for (int i = 0; i < 20; i++)
                sem_post(&w.go);
        objm_spawner_free(s);
        assert_int_equal(atomic_load(&w.ended), 20);
        wait_for_threads_to_leave();
}

/* Full at max; one that ends makes room for just one. */
static void no_more_than_max(void **state)
{
        struct objm_spawner *s = new_spawner(3);
        struct work w;

        work_init(&w);
        for (int i = 0; i < 3; i++)
                assert_int_equal(objm_spawner_spawn(s, stay, &w), 0);
        for (int i = 0; i < 10; i++)
                assert_int_equal(objm_spawner_spawn(s, stay, &w), -EAGAIN);
        assert_int_equal(objm_spawner_count(s), 3);
        sem_post(&w.go);
        while (objm_spawner_spawn(s, stay, &w) == -EAGAIN)
                sched_yield();
        assert_int_equal(objm_spawner_count(s), 3);
        assert_int_equal(objm_spawner_spawn(s, stay, &w), -EAGAIN);
        for (int i = 0; i < 3; i++)
                sem_post(&w.go);
        objm_spawner_free(s);
        assert_int_equal(atomic_load(&w.started), 4);
        assert_int_equal(atomic_load(&w.ended), 4);
}

/* What has ended is joined as others are started, so that threads do not heap up. */
static void ended_threads_do_not_heap_up(void **state)
{
        struct objm_spawner *s = new_spawner(8);
        unsigned spawned = 0;
        struct work w;

        work_init(&w);
        while (spawned < 3000) {
                int r = objm_spawner_spawn(s, end_at_once, &w);

                assert_true(r == 0 || r == -EAGAIN);
                assert_true(objm_spawner_count(s) <= 8);
                if (r == 0)
                        spawned++;
                else
                        sched_yield();
        }
        objm_spawner_free(s);
        assert_int_equal(atomic_load(&w.ended), 3000);
        wait_for_threads_to_leave();
}

struct spawning {
        pthread_t thread;
        struct objm_spawner *spawner;
        struct work *work;
        unsigned ok;
};

static void *spawn_some(void *arg)
{
        struct spawning *s = arg;

        for (int i = 0; i < 500; i++) {
                int r = objm_spawner_spawn(s->spawner, end_at_once, s->work);

                CHECK(r == 0 || r == -EAGAIN);
                CHECK(objm_spawner_count(s->spawner) <= 5);
                s->ok += r == 0;
        }
        return NULL;
}

static void any_thread_may_spawn(void **state)
{
        struct objm_spawner *s = new_spawner(5);
        struct spawning by[4];
        unsigned ok = 0;
        struct work w;

        work_init(&w);
        for (int i = 0; i < 4; i++) {
                by[i] = (struct spawning){.spawner = s, .work = &w};
                assert_int_equal(pthread_create(&by[i].thread, NULL, spawn_some, &by[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
                pthread_join(by[i].thread, NULL);
                ok += by[i].ok;
        }
        objm_spawner_free(s);
        assert_true(ok > 0);
        assert_int_equal(atomic_load(&w.ended), ok);
}

static void spawn_from_within(void *arg)
{
        struct spawning *s = arg;

        CHECK(objm_spawner_spawn(s->spawner, end_at_once, s->work) == 0);
        sem_post(&s->work->running);
}

static void a_thread_may_spawn_another(void **state)
{
        struct objm_spawner *s = new_spawner(2);
        struct work w;

        work_init(&w);
        assert_int_equal(objm_spawner_spawn(s, spawn_from_within, &(struct spawning){.spawner = s, .work = &w}), 0);
        sem_wait(&w.running);
        objm_spawner_free(s);
        assert_int_equal(atomic_load(&w.ended), 1);
}

static void nothing_to_free(void **state)
{
        struct objm_spawner *s = new_spawner(0);
        struct work w;

        work_init(&w);
        assert_int_equal(objm_spawner_spawn(s, end_at_once, &w), -EAGAIN);
        assert_int_equal(objm_spawner_count(s), 0);
        objm_spawner_free(s);
        objm_spawner_free(NULL);
        assert_int_equal(atomic_load(&w.started), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(all_are_joined_by_free),       counted_test(no_more_than_max),
                counted_test(ended_threads_do_not_heap_up), counted_test(any_thread_may_spawn),
                counted_test(a_thread_may_spawn_another),   counted_test(nothing_to_free),
        };

        return cmocka_run_group_tests_name("spawn", tests, count_threads_at_rest, NULL);
}
