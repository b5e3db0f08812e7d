/* SPDX-License-Identifier: MIT */
#include "base/tally.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define MANY 200000

static struct objm_tally t; /* zeroed by each test's set-up */

static int clear(void **state)
{
        t = (struct objm_tally){.sum = 0};
        return 0;
}

static void an_empty_tally_has_nothing(void **state)
{
        assert_int_equal(objm_tally_count(&t), 0);
        assert_int_equal(objm_tally_quantile(&t, 0.99), 0);
        assert_int_equal(objm_tally_between(&t, 0, OBJM_TALLY_MAX), 0);
}

/* Every value up to the octave's end, and the edges of each octave above. */
static void what_is_reported_is_little_above_what_was_recorded(void **state)
{
        for (unsigned bit = 0; bit <= OBJM_TALLY_BITS; bit++) {
                for (int off = -1; off <= 1; off++) {
                        uint64_t v = (UINT64_C(1) << bit) + (uint64_t)(int64_t)off, got;

                        if (v >= OBJM_TALLY_MAX)
                                continue;
                        clear(state);
                        objm_tally_record(&t, v, 1);
                        got = objm_tally_quantile(&t, 0.5);
                        assert_true(got >= v && got - v <= v / OBJM_TALLY_SUB);
                }
        }
}

static void buckets_do_not_decrease(void **state)
{
        unsigned last = 0;

        for (uint64_t v = 0; v < MANY; v++) {
                unsigned b = objm_tally_bucket(v);

                assert_true(b == last || b == last + 1);
                last = b;
        }
        assert_int_equal(objm_tally_bucket(OBJM_TALLY_MAX - 1), OBJM_TALLY_BUCKETS - 2);
        assert_int_equal(objm_tally_bucket(OBJM_TALLY_MAX), OBJM_TALLY_BUCKETS - 1);
        assert_int_equal(objm_tally_bucket(UINT64_MAX), OBJM_TALLY_BUCKETS - 1);
}

static void between_is_exact_at_powers_of_two(void **state)
{
        for (uint64_t v = 0; v < 4096; v++)
                objm_tally_record(&t, v, 1);
        for (unsigned bit = 0; bit <= 12; bit++)
                assert_int_equal(objm_tally_between(&t, 0, UINT64_C(1) << bit), UINT64_C(1) << bit);
        objm_tally_record(&t, UINT64_MAX, 3);
        assert_int_equal(objm_tally_between(&t, 0, OBJM_TALLY_MAX), 4096);
        assert_int_equal(objm_tally_between(&t, 1024, 2048), 1024);
        assert_int_equal(objm_tally_count(&t), 4099);
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
        for (uint64_t v = 1; v <= 1000; v++)
                objm_tally_record(&t, v * 1000, 1);
        assert_in_range(objm_tally_quantile(&t, 0.5), 500000, 535000);
        assert_in_range(objm_tally_quantile(&t, 0.99), 990000, 1055000);
        assert_in_range(objm_tally_quantile(&t, 0.999), 999000, 1065000);
        assert_in_range(objm_tally_quantile(&t, 1.0), 1000000, 1065000);
        assert_int_equal(objm_tally_get(&t.sum), 500500000);
}

static void merging_adds(void **state)
{
        static struct objm_tally other;

        objm_tally_record(&t, 5, 2);
        objm_tally_record(&other, 5, 3);
        objm_tally_record(&other, 1000, 1);
        objm_tally_merge(&t, &other);
        assert_int_equal(objm_tally_count(&t), 6);
        assert_int_equal(objm_tally_get(&t.sum), 1025);
        assert_int_equal(objm_tally_between(&t, 0, 8), 5);
}

static void *record_many(void *arg)
{
        for (uint64_t i = 0; i < MANY; i++)
                objm_tally_record(&t, i, 1);
        return NULL;
}

/* What a reader sees never decreases and ends at what was recorded. */
static void a_reader_beside_the_owner_sees_it_grow(void **state)
{
        pthread_t owner;
        uint64_t last = 0;

        assert_int_equal(pthread_create(&owner, NULL, record_many, NULL), 0);
        for (int i = 0; i < 100; i++) {
                uint64_t n = objm_tally_count(&t);

                assert_true(n >= last && n <= MANY);
                last = n;
        }
        assert_int_equal(pthread_join(owner, NULL), 0);
        assert_int_equal(objm_tally_count(&t), MANY);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(an_empty_tally_has_nothing, clear),
                cmocka_unit_test_setup(what_is_reported_is_little_above_what_was_recorded, clear),
                cmocka_unit_test_setup(buckets_do_not_decrease, clear),
                cmocka_unit_test_setup(between_is_exact_at_powers_of_two, clear),
                cmocka_unit_test_setup(quantiles_are_those_of_the_sorted_values, clear),
                cmocka_unit_test_setup(merging_adds, clear),
                cmocka_unit_test_setup(a_reader_beside_the_owner_sees_it_grow, clear),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
