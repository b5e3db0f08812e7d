/* SPDX-License-Identifier: MIT */
#include "objmapperd/cookie.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PERIOD (COOKIE_PERIOD_S * OBJM_NS_PER_S)

static const struct objm_siphash_key key = {1, 2};

static struct objm_inet at(const char *host, uint16_t port)
{
        struct objm_inet a;

        assert_int_equal(objm_inet_parse(host, port, &a), 0);
        return a;
}

static void it_is_good_in_its_period_and_the_next(void **state)
{
        struct objm_inet a = at("192.0.2.1", 5000), b = at("2001:db8::1", 5000);

        for (uint64_t now = 0; now < 5 * PERIOD; now += PERIOD / 3) {
                uint64_t made = cookie_make(&key, &a, now), made6 = cookie_make(&key, &b, now);
                uint64_t left = 2 * PERIOD - now % PERIOD;

                assert_true(cookie_is_good(&key, &a, now, made));
                assert_true(cookie_is_good(&key, &b, now, made6));
                assert_true(cookie_is_good(&key, &a, now + PERIOD, made));
                assert_true(cookie_is_good(&key, &a, now + left - 1, made));
                assert_false(cookie_is_good(&key, &a, now + left, made));
                assert_false(cookie_is_good(&key, &b, now + left, made6));
                assert_false(cookie_is_good(&key, &a, now + 100 * PERIOD, made));
        }
}

static void a_cookie_of_the_future_is_not_good(void **state)
{
        struct objm_inet a = at("192.0.2.1", 5000);

        assert_false(cookie_is_good(&key, &a, 7 * PERIOD - 1, cookie_make(&key, &a, 7 * PERIOD)));
}

static void it_is_of_one_sender_alone(void **state)
{
        const struct objm_inet senders[] = {
                at("192.0.2.1", 5000), at("192.0.2.1", 5001), at("192.0.2.2", 5000), at("2001:db8::1", 5000),
                at("2001:db8::1", 5001), at("2001:db8::2", 5000), at("::ffff:192.0.2.1", 5000),
        };

        for (size_t i = 0; i < objm_array_len(senders); i++) {
                uint64_t made = cookie_make(&key, &senders[i], PERIOD);

                for (size_t j = 0; j < objm_array_len(senders); j++)
                        assert_int_equal(cookie_is_good(&key, &senders[j], PERIOD, made), i == j);
        }
}

static void it_takes_the_key(void **state)
{
        struct objm_inet a = at("192.0.2.1", 5000);
        struct objm_siphash_key other = {1, 3};

        assert_false(cookie_is_good(&other, &a, PERIOD, cookie_make(&key, &a, PERIOD)));
}

static void no_bit_of_it_may_differ(void **state)
{
        struct objm_inet a = at("192.0.2.1", 5000);
        uint64_t made = cookie_make(&key, &a, PERIOD);

        assert_true(made != 0);
        assert_false(cookie_is_good(&key, &a, PERIOD, 0));
        for (unsigned bit = 0; bit < 64; bit++)
                assert_false(cookie_is_good(&key, &a, PERIOD, made ^ UINT64_C(1) << bit));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_is_good_in_its_period_and_the_next),
                cmocka_unit_test(a_cookie_of_the_future_is_not_good),
                cmocka_unit_test(it_is_of_one_sender_alone),
                cmocka_unit_test(it_takes_the_key),
                cmocka_unit_test(no_bit_of_it_may_differ),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
