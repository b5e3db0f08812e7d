/* SPDX-License-Identifier: MIT */
#include "objmapperd/units.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define UNTOUCHED 77

static void number_takes_digits_only(void **state)
{
        static const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "0x10", "1.5", "1K", "one"};
        uint64_t v;

        assert_int_equal(units_parse_number("0", &v), 0);
        assert_int_equal(v, 0);
        assert_int_equal(units_parse_number("18446744073709551615", &v), 0);
        assert_true(v == UINT64_MAX);
        v = UNTOUCHED;
        assert_int_equal(units_parse_number("18446744073709551616", &v), -ERANGE);
        assert_int_equal(v, UNTOUCHED);
        for (size_t i = 0; i < objm_array_len(bad); i++)
                assert_int_equal(units_parse_number(bad[i], &v), -EINVAL);
        assert_int_equal(v, UNTOUCHED);
}

static void duration_knows_its_units(void **state)
{
        static const struct {
                const char *text;
                uint64_t ns;
        } good[] = {
                {"0", 0},
                {"2", UINT64_C(2000000000)},
                {"500ms", 500000000},
                {"60s", UINT64_C(60000000000)},
                {"5m", UINT64_C(300000000000)},
                {"1h", UINT64_C(3600000000000)},
        };
        static const char *const bad[] = {"", "s", "1 s", "1S", "1us", "1sm", "-1s", "1.5s"};
        uint64_t ns;

        for (size_t i = 0; i < objm_array_len(good); i++) {
                assert_int_equal(units_parse_duration(good[i].text, &ns), 0);
                assert_true(ns == good[i].ns);
        }
        for (size_t i = 0; i < objm_array_len(bad); i++)
                assert_int_equal(units_parse_duration(bad[i], &ns), -EINVAL);
        ns = UNTOUCHED;
        assert_int_equal(units_parse_duration("18446744074", &ns), -ERANGE);
        assert_int_equal(units_parse_duration("99999999999999999999h", &ns), -ERANGE);
        assert_int_equal(ns, UNTOUCHED);
}

static void size_counts_in_1024s(void **state)
{
        static const char *const bad[] = {"", "K", "1k", "1KB", "1 K", "-1K", "1T"};
        uint64_t v;

        assert_int_equal(units_parse_size("4096", &v), 0);
        assert_int_equal(v, 4096);
        assert_int_equal(units_parse_size("16K", &v), 0);
        assert_int_equal(v, 16384);
        assert_int_equal(units_parse_size("1M", &v), 0);
        assert_int_equal(v, 1048576);
        assert_int_equal(units_parse_size("2G", &v), 0);
        assert_true(v == UINT64_C(2147483648));
        for (size_t i = 0; i < objm_array_len(bad); i++)
                assert_int_equal(units_parse_size(bad[i], &v), -EINVAL);
        v = UNTOUCHED;
        assert_int_equal(units_parse_size("18446744073709551615K", &v), -ERANGE);
        assert_int_equal(v, UNTOUCHED);
}

static void mode_is_octal(void **state)
{
        static const char *const bad[] = {"", "8", "0668", "rw", "0660 ", "00660", "-660"};
        mode_t mode;

        assert_int_equal(units_parse_mode("0660", &mode), 0);
        assert_int_equal(mode, 0660);
        assert_int_equal(units_parse_mode("7", &mode), 0);
        assert_int_equal(mode, 7);
        assert_int_equal(units_parse_mode("0777", &mode), 0);
        assert_int_equal(mode, 0777);
        for (size_t i = 0; i < objm_array_len(bad); i++)
                assert_int_equal(units_parse_mode(bad[i], &mode), -EINVAL);
        assert_int_equal(units_parse_mode("1777", &mode), -ERANGE);
        assert_int_equal(mode, 0777);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(number_takes_digits_only),
                cmocka_unit_test(duration_knows_its_units),
                cmocka_unit_test(size_counts_in_1024s),
                cmocka_unit_test(mode_is_octal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
