/* SPDX-License-Identifier: MIT */
#include "objmapperd/sampling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define TURNS 100000

static void about_one_in_the_stride_is_picked(void **state)
{
        struct sampling s;
        unsigned since = 0, picked = 0, seen[2 * SAMPLING_STRIDE] = {0};

        sampling_init(&s, 1);
        for (unsigned i = 0; i < 20 * TURNS; i++) {
                bool pick = sampling_pick(&s);

                since++;
                assert_true(since < 2 * SAMPLING_STRIDE);
                if (!pick)
                        continue;
                seen[since]++;
                picked++;
                since = 0;
        }
        assert_in_range(picked, 20 * TURNS / SAMPLING_STRIDE * 9 / 10, 20 * TURNS / SAMPLING_STRIDE * 11 / 10);
        for (unsigned i = 1; i < 2 * SAMPLING_STRIDE; i++) /* every distance, none of them often */
                assert_in_range(seen[i], picked / (4 * SAMPLING_STRIDE), picked / SAMPLING_STRIDE);
}

/* The time is not left alone for many requests. */
static void large_turns_are_picked_sooner(void **state)
{
        struct sampling s;

        sampling_init(&s, 2);
        for (unsigned i = 0, since = 0; i < TURNS; i++) {
                if (sampling_pick(&s))
                        since = 0;
                sampling_add(&s, 500);
                since += 500;
                assert_true(since <= 2 * SAMPLING_STRIDE * SAMPLING_WORK + 500);
        }
}

/* Of the turns that come at a fixed distance the same share is measured as of all. */
static void no_phase_is_left_out(void **state)
{
        for (unsigned period = 2; period <= 64; period++) {
                struct sampling s;
                unsigned picked = 0, large = 0;

                sampling_init(&s, period);
                for (unsigned i = 0; i < TURNS; i++) {
                        bool pick = sampling_pick(&s);

                        picked += pick;
                        large += pick && i % period == 0;
                        sampling_add(&s, 1);
                }
                assert_in_range(large * period, picked / 2, picked * 2);
        }
}

static void the_sequence_is_the_seeds(void **state)
{
        struct sampling a, b;
        unsigned differ = 0;

        sampling_init(&a, 0);
        sampling_init(&b, 1234567);
        for (unsigned i = 0; i < 1000; i++)
                differ += sampling_pick(&a) != sampling_pick(&b);
        assert_true(differ > 10);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(about_one_in_the_stride_is_picked),
                cmocka_unit_test(large_turns_are_picked_sooner),
                cmocka_unit_test(no_phase_is_left_out),
                cmocka_unit_test(the_sequence_is_the_seeds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
