/* SPDX-License-Identifier: MIT */
#include "objmapperd/rate.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define START (1000 * OBJM_NS_PER_S)

static void a_bucket_holds_one_second_and_refills_at_its_rate(void **state)
{
        static const uint32_t rates[] = {1, 3, 10, 1000, 999999937, 1000000000};

        for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
                uint32_t per_s = rates[i];
                uint64_t each = OBJM_NS_PER_S / per_s;
                struct rate r = {0};

                assert_int_equal(rate_take(&r, per_s, UINT32_MAX, START), per_s);
                assert_int_equal(rate_take(&r, per_s, 1, START), 0);
                assert_int_equal(rate_take(&r, per_s, 1, START + each - 1), 0);
                assert_int_equal(rate_take(&r, per_s, 2, START + each), 1);
                assert_int_equal(rate_take(&r, per_s, UINT32_MAX, START + 3600 * OBJM_NS_PER_S), per_s);
        }
}

static void tokens_are_given_back(void **state)
{
        struct rate r = {0};
        struct rate_shared shared = {0};

        assert_int_equal(rate_take(&r, 10, 10, START), 10);
        rate_give(&r, 10, 4);
        assert_int_equal(rate_take(&r, 10, 10, START), 4);
        assert_int_equal(rate_shared_take(&shared, 10, 7, START), 7);
        rate_shared_give(&shared, 10, 2);
        assert_int_equal(rate_shared_take(&shared, 10, 10, START), 5);
        rate_give(&r, 10, 1000); /* a bucket of before a reload */
        assert_int_equal(rate_take(&r, 10, 1000, START), 10);
}

static void another_rate_holds_at_once(void **state)
{
        struct rate r = {0};

        assert_int_equal(rate_take(&r, 1000, 1000, START), 1000);
        assert_int_equal(rate_take(&r, 1, 10, START + OBJM_NS_PER_S / 2), 0);
        assert_int_equal(rate_take(&r, 1, 10, START + OBJM_NS_PER_S), 1);
}

static void a_shared_bucket_is_full_again_after_a_second(void **state)
{
        struct rate_shared r = {0};

        assert_true(rate_shared_is_full(&r, START));
        assert_int_equal(rate_shared_take(&r, 5, 5, START), 5);
        assert_false(rate_shared_is_full(&r, START + OBJM_NS_PER_S - 1));
        assert_true(rate_shared_is_full(&r, START + OBJM_NS_PER_S));
}

#define TAKERS 4
#define PER_S  100000

static struct rate_shared contested;

static void *take_all(void *arg)
{
        uint32_t *sum = arg, n;

        while ((n = rate_shared_take(&contested, PER_S, 7, START)) > 0)
                *sum += n;
        return NULL;
}

static void threads_take_no_token_twice(void **state)
{
        pthread_t threads[TAKERS];
        uint32_t taken[TAKERS] = {0}, sum = 0;

        for (int i = 0; i < TAKERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, take_all, &taken[i]), 0);
        for (int i = 0; i < TAKERS; i++) {
                pthread_join(threads[i], NULL);
                sum += taken[i];
        }
        assert_int_equal(sum, PER_S);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_bucket_holds_one_second_and_refills_at_its_rate),
                cmocka_unit_test(tokens_are_given_back),
                cmocka_unit_test(another_rate_holds_at_once),
                cmocka_unit_test(a_shared_bucket_is_full_again_after_a_second),
                cmocka_unit_test(threads_take_no_token_twice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
