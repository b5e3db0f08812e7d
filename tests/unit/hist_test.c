/* SPDX-License-Identifier: MIT */
#include "base/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct objm_hist h, other, both;

static int clear(void **state)
{
        objm_hist_init(&h);
        objm_hist_init(&other);
        objm_hist_init(&both);
        return 0;
}

static void test_empty(void **state)
{
        assert_int_equal(objm_hist_quantile(&h, 0.5), 0);
        assert_int_equal(h.count, 0);
}

/* A value alone in its histogram is its own median; with a larger one behind it, the bucket's edge shows. */
static void check_value(uint64_t v)
{
        uint64_t q;

        objm_hist_init(&h);
        objm_hist_record(&h, v);
        assert_true(objm_hist_quantile(&h, 0.5) == v);
        objm_hist_record(&h, UINT64_MAX);
        q = objm_hist_quantile(&h, 0);
        assert_true(q >= v);
        assert_true(q - v <= v / 31);
        assert_true(objm_hist_quantile(&h, 1) == UINT64_MAX);
}

static void test_every_octave_within_bounds(void **state)
{
        for (unsigned bit = 0; bit < 64; bit++) {
                check_value(UINT64_C(1) << bit);
                check_value((UINT64_C(1) << bit) - 1);
                check_value((UINT64_C(1) << bit) + ((UINT64_C(1) << bit) >> 1));
        }
        check_value(UINT64_MAX);
}

static void test_quantiles_of_a_ramp(void **state)
{
        for (uint64_t v = 1; v <= 100000; v++)
                objm_hist_record(&h, v);
        assert_in_range(objm_hist_quantile(&h, 0.5), 50000, 51700);
        assert_in_range(objm_hist_quantile(&h, 0.99), 99000, 100000);
        assert_int_equal(objm_hist_quantile(&h, 1), 100000);
        assert_int_equal(h.min, 1);
        assert_int_equal(h.max, 100000);
        assert_int_equal(h.sum, UINT64_C(100000) * 100001 / 2);
}

static void test_merge_is_as_if_recorded_together(void **state)
{
        for (uint64_t v = 0; v < 10000; v++) {
                objm_hist_record(v % 3 ? &h : &other, v * v);
                objm_hist_record(&both, v * v);
        }
        objm_hist_merge(&h, &other);
        assert_memory_equal(&h, &both, sizeof(h));
        objm_hist_init(&other);
        objm_hist_merge(&h, &other);
        assert_memory_equal(&h, &both, sizeof(h));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_empty, clear),
                cmocka_unit_test_setup(test_every_octave_within_bounds, clear),
                cmocka_unit_test_setup(test_quantiles_of_a_ramp, clear),
                cmocka_unit_test_setup(test_merge_is_as_if_recorded_together, clear),
        };

        return cmocka_run_group_tests_name("hist", tests, NULL, NULL);
}
