/* SPDX-License-Identifier: MIT */
#include "concurrency/qsbr.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

struct thing {
        struct objm_qsbr_node node;
        int *freed;
};

static void free_thing(struct objm_qsbr_node *node)
{
        struct thing *t = objm_container_of(node, struct thing, node);

        (*t->freed)++;
        free(t);
}

static void retire_one(struct objm_qsbr *q, int *freed)
{
        struct thing *t = malloc(sizeof(*t));

        assert_non_null(t);
        t->freed = freed;
        objm_qsbr_retire(q, &t->node, free_thing);
}

static struct objm_qsbr *new_domain(void)
{
        struct objm_qsbr *q;

        assert_int_equal(objm_qsbr_new(&q), 0);
        return q;
}

static void frees_at_once_without_readers(void **state)
{
        struct objm_qsbr *q = new_domain();
        int freed = 0;

        retire_one(q, &freed);
        assert_int_equal(objm_qsbr_poll(q), 0);
        assert_int_equal(freed, 1);
        objm_qsbr_free(q);
}

static void waits_for_an_online_reader(void **state)
{
        struct objm_qsbr *q = new_domain();
        struct objm_qsbr_reader r;
        int freed = 0;

        objm_qsbr_register(q, &r);
        objm_qsbr_online(&r);
        retire_one(q, &freed);
        assert_int_equal(objm_qsbr_poll(q), 1);
        assert_int_equal(freed, 0);
        objm_qsbr_quiescent(&r);
        assert_int_equal(objm_qsbr_poll(q), 0);
        assert_int_equal(freed, 1);
        objm_qsbr_unregister(&r);
        objm_qsbr_free(q);
}

static void does_not_wait_for_offline_or_gone_readers(void **state)
{
        struct objm_qsbr *q = new_domain();
        struct objm_qsbr_reader a, b, c;
        int freed = 0;

        objm_qsbr_register(q, &a);
        objm_qsbr_register(q, &b);
        objm_qsbr_register(q, &c);
        objm_qsbr_online(&a);
        objm_qsbr_online(&b);
        retire_one(q, &freed);
        objm_qsbr_offline(&a);
        assert_int_equal(objm_qsbr_poll(q), 1);
        objm_qsbr_unregister(&b);
        assert_int_equal(objm_qsbr_poll(q), 0);
        assert_int_equal(freed, 1);
        objm_qsbr_unregister(&a);
        objm_qsbr_unregister(&c);
        objm_qsbr_free(q);
}

static void what_came_online_later_holds_nothing_older(void **state)
{
        struct objm_qsbr *q = new_domain();
        struct objm_qsbr_reader r;
        int freed = 0;

        objm_qsbr_register(q, &r);
        retire_one(q, &freed);
        objm_qsbr_online(&r);
        assert_int_equal(objm_qsbr_poll(q), 0);
        assert_int_equal(freed, 1);
        objm_qsbr_unregister(&r);
        objm_qsbr_free(q);
}

static void free_frees_what_is_left(void **state)
{
        struct objm_qsbr *q = new_domain();
        void *plain = malloc(10);
        int freed = 0;

        for (int i = 0; i < 5; i++)
                retire_one(q, &freed);
        assert_int_equal(objm_qsbr_retire_ptr(q, plain, free), 0);
        objm_qsbr_free(q);
        assert_int_equal(freed, 5);
}

/* A reader has been online for long, and much waits for it: no single retire() afterwards pays for all of it. */
static void a_backlog_is_worked_off_in_parts(void **state)
{
        struct objm_qsbr *q = new_domain();
        struct objm_qsbr_reader r;
        int freed = 0, most = 0;

        objm_qsbr_register(q, &r);
        objm_qsbr_online(&r);
        for (int i = 0; i < 10000; i++)
                retire_one(q, &freed);
        assert_int_equal(freed, 0);
        for (int i = 0; i < 10000; i++) {
                int before = freed;

                objm_qsbr_quiescent(&r);
                retire_one(q, &freed);
                most = freed - before > most ? freed - before : most;
        }
        assert_in_range(most, 1, 256);
        assert_in_range(freed, 19000, 20000);
        objm_qsbr_unregister(&r);
        objm_qsbr_free(q);
        assert_int_equal(freed, 20000);
}

/* Readers follow one pointer; a writer replaces what it points to, and the old value is destroyed when it is freed. */
struct hammer {
        struct objm_qsbr *q;
        _Atomic(int *) current;
        _Atomic bool stop;
        _Atomic int wrong;
};

#define GOOD 4711

static void poison(void *p)
{
        *(int *)p = 0;
        free(p);
}

static void *hammer_reader(void *arg)
{
        struct hammer *h = arg;
        struct objm_qsbr_reader r;

        objm_qsbr_register(h->q, &r);
        objm_qsbr_online(&r);
        for (unsigned n = 0; !atomic_load_explicit(&h->stop, memory_order_relaxed); n++) {
                if (*atomic_load_explicit(&h->current, memory_order_acquire) != GOOD)
                        atomic_fetch_add(&h->wrong, 1);
                if (n % 16 == 0) {
                        objm_qsbr_offline(&r);
                        objm_qsbr_online(&r);
                } else {
                        objm_qsbr_quiescent(&r);
                }
        }
        objm_qsbr_unregister(&r);
        return NULL;
}

static void readers_never_see_freed_memory(void **state)
{
        struct hammer h = {.q = new_domain()};
        int *first = malloc(sizeof(*first));
        pthread_t reader[3];

        *first = GOOD;
        atomic_init(&h.current, first);
        for (int i = 0; i < 3; i++)
                assert_int_equal(pthread_create(&reader[i], NULL, hammer_reader, &h), 0);
        for (int i = 0; i < 20000; i++) {
                int *fresh = malloc(sizeof(*fresh));

                *fresh = GOOD;
                assert_int_equal(objm_qsbr_retire_ptr(h.q, atomic_exchange(&h.current, fresh), poison), 0);
        }
        objm_qsbr_drain(h.q);
        assert_int_equal(objm_qsbr_poll(h.q), 0);
        atomic_store(&h.stop, true);
        for (int i = 0; i < 3; i++)
                pthread_join(reader[i], NULL);
        assert_int_equal(atomic_load(&h.wrong), 0);
        free(atomic_load(&h.current));
        objm_qsbr_free(h.q);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(frees_at_once_without_readers),
                cmocka_unit_test(waits_for_an_online_reader),
                cmocka_unit_test(does_not_wait_for_offline_or_gone_readers),
                cmocka_unit_test(what_came_online_later_holds_nothing_older),
                cmocka_unit_test(free_frees_what_is_left),
                cmocka_unit_test(a_backlog_is_worked_off_in_parts),
                cmocka_unit_test(readers_never_see_freed_memory),
        };

        return cmocka_run_group_tests_name("qsbr", tests, NULL, NULL);
}
