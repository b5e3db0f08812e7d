/* SPDX-License-Identifier: MIT */
#include "objmapperd/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct metrics_all all;
static struct metrics *m;

static int begin(void **state)
{
        metrics_all_init(&all);
        m = metrics_begin(&all);
        return m ? 0 : -1;
}

static int end(void **state)
{
        metrics_end(&all, m);
        metrics_all_deinit(&all);
        return 0;
}

static const struct metrics_record records[] = {
        {.size = 1000, .bytes = 1000, .mode = METRICS_INLINE, .fallback = METRICS_N_FALLBACKS, .object = 1},
        {.size = 3000, .bytes = 3000, .mode = METRICS_INLINE, .fallback = METRICS_N_FALLBACKS, .object = 1},
        {.size = 5, .mode = METRICS_STAT, .fallback = METRICS_N_FALLBACKS},
};

static struct metrics_class *class_of(enum metrics_mode mode)
{
        return atomic_load(&m->class[METRICS_RING][mode]);
}

/* What nobody has timed is counted all the same, and is no 0 in the histogram. */
static void requests_without_a_time(void **state)
{
        struct metrics_class *c;

        assert_int_equal(metrics_count(m, METRICS_RING, records, 3, 0, 0), 4000);
        c = class_of(METRICS_INLINE);
        assert_int_equal(objm_tally_get(&c->requests[0]), 2);
        assert_int_equal(objm_tally_get(&c->bytes), 4000);
        assert_int_equal(objm_tally_count(&c->latency), 0);
        assert_int_equal(objm_tally_get(&c->latency.sum), 0);
        assert_int_equal(objm_tally_get(&class_of(METRICS_STAT)->requests[0]), 1);
        assert_int_equal(objm_tally_count(atomic_load(&m->object_size)), 2);
        assert_int_equal(metrics_count(m, METRICS_RING, records, 2, 100, 130), 4000);
        assert_int_equal(objm_tally_get(&c->requests[0]), 4);
        assert_int_equal(objm_tally_count(&c->latency), 2);
        assert_int_equal(objm_tally_get(&c->latency.sum), 60);
}

/* What nobody has kept a record of. */
static void requests_without_a_record(void **state)
{
        const struct metrics_class *c;

        for (uint64_t size = 0; size < 3; size++)
                metrics_hand_out(m, size * 1000);
        metrics_count_ok(m, METRICS_RING, METRICS_INLINE, 3, 2500);
        metrics_count_ok(m, METRICS_RING, METRICS_INLINE, 1, 0);
        metrics_count_ok(m, METRICS_RING, METRICS_STAT, 7, 0);
        c = atomic_load(&m->class[METRICS_RING][METRICS_INLINE]);
        assert_int_equal(objm_tally_get(&c->requests[0]), 4);
        assert_int_equal(objm_tally_get(&c->bytes), 2500);
        assert_int_equal(objm_tally_count(&c->latency), 0);
        assert_int_equal(objm_tally_get(&atomic_load(&m->class[METRICS_RING][METRICS_STAT])->requests[0]), 7);
        assert_int_equal(objm_tally_count(atomic_load(&m->object_size)), 3);
        assert_int_equal(objm_tally_get(&atomic_load(&m->object_size)->sum), 3000);
        for (unsigned i = 0; i < METRICS_N_FALLBACKS; i++)
                assert_int_equal(objm_tally_get(&m->fallbacks[i]), 0);
}

static void assert_times(uint64_t working, uint64_t polling, uint64_t sleeping)
{
        assert_int_equal(objm_tally_get(&m->time[METRICS_WORKING]), working);
        assert_int_equal(objm_tally_get(&m->time[METRICS_POLLING]), polling);
        assert_int_equal(objm_tally_get(&m->time[METRICS_SLEEPING]), sleeping);
}

/* Turns that are not timed count as long as the last one that was, and no longer than what has passed. */
static void time_of_turns_without_a_time(void **state)
{
        metrics_enter(m, METRICS_WORKING, 1000);
        metrics_enter(m, METRICS_POLLING, 1300);
        for (unsigned i = 0; i < 3; i++)
                metrics_pass(m, i);
        metrics_pass(m, 2);
        metrics_pass(m, 1);
        metrics_enter(m, METRICS_WORKING, 5300);
        assert_int_equal(objm_tally_get(&atomic_load(&m->ready)->bucket[1]), 2);
        assert_int_equal(objm_tally_get(&atomic_load(&m->ready)->bucket[2]), 2);
        assert_int_equal(objm_tally_count(atomic_load(&m->ready)), 4);
        assert_int_equal(objm_tally_get(&m->turns), 5);
        assert_times(300 + 5 * 300, 4000 - 5 * 300, 0);
        metrics_enter(m, METRICS_POLLING, 5700);
        metrics_enter(m, METRICS_SLEEPING, 6700); /* none */
        assert_times(1800 + 400, 2500 + 1000, 0);
        metrics_enter(m, METRICS_WORKING, 8700);
        metrics_enter(m, METRICS_POLLING, 9200);
        for (int i = 0; i < 5; i++)
                metrics_pass(m, 1);
        metrics_turn(m, 1);
        metrics_enter(m, METRICS_SLEEPING, 10000);
        assert_int_equal(objm_tally_get(&m->turns), 11);
        assert_times(2200 + 500 + 800, 3500, 2000);
        metrics_leave(m, 11000);
        assert_times(3500, 3500, 3000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(requests_without_a_time, begin, end),
                cmocka_unit_test_setup_teardown(requests_without_a_record, begin, end),
                cmocka_unit_test_setup_teardown(time_of_turns_without_a_time, begin, end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
