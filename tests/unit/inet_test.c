/* SPDX-License-Identifier: MIT */
#include "transport/inet.h"

#include "base/attr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void pairs_come_out_as_they_went_in(void **state)
{
        static const char *const pairs[] = {
                "127.0.0.1:9999", "0.0.0.0:0",          "255.255.255.255:65535",
                "[::1]:1",        "[::]:0",             "[2001:db8::1]:443",
                "[fe80::1%lo]:8", "[::ffff:10.0.0.1]:5",
        };
        char text[OBJM_INET_PAIR];
        struct objm_inet a;

        for (size_t i = 0; i < objm_array_len(pairs); i++) {
                assert_int_equal(objm_inet_parse_pair(pairs[i], &a), 0);
                assert_string_equal(objm_inet_format(&a, text), pairs[i]);
        }
}

static void what_is_no_pair_is_refused(void **state)
{
        static const char *const bad[] = {
                "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+1", "127.0.0.1: 1", ":80",
                "::1:80", "[::1]", "[::1]80", "[::1:80", "[]:80", "[:80", "[127.0.0.1]:80", "localhost:1",
                "127.0.0.1:1x", "1.2.3:80", "[::1]:-1", "[::g]:1", "127.0.0.1:000001", "[::1]]:1", "[[::1]:1",
                "01.2.3.4.5:1", "[fe80::1%]:1",
        };
        struct objm_inet a = {.len = 77};

        for (size_t i = 0; i < objm_array_len(bad); i++) {
                int r = objm_inet_parse_pair(bad[i], &a);

                if (r != -EINVAL && r != -ENODEV)
                        fail_msg("\"%s\" is taken: %d", bad[i], r);
        }
        assert_int_equal(a.len, 77);
}

static void long_texts_are_refused(void **state)
{
        char text[400];
        struct objm_inet a;
        uint16_t port;

        for (size_t n = 1; n < sizeof(text); n++) {
                memset(text, '1', n);
                text[n] = '\0';
                assert_int_equal(objm_inet_parse(text, 1, &a), -EINVAL);
                memcpy(text + n - (n > 2 ? 2 : n), ":1", n > 2 ? 2 : n);
                assert_true(objm_inet_parse_pair(text, &a) < 0);
                assert_true(n < 20 || objm_inet_split(text, text, 16, &port) == -EINVAL);
        }
}

static void same_means_address_and_port(void **state)
{
        struct objm_inet a, b;

        assert_int_equal(objm_inet_parse("::1", 5, &a), 0);
        assert_int_equal(objm_inet_parse("0:0::1", 5, &b), 0);
        assert_true(objm_inet_same(&a, &b));
        assert_int_equal(objm_inet_parse("::1", 6, &b), 0);
        assert_false(objm_inet_same(&a, &b));
        assert_int_equal(objm_inet_parse("127.0.0.1", 5, &b), 0);
        assert_false(objm_inet_same(&a, &b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(pairs_come_out_as_they_went_in),
                cmocka_unit_test(what_is_no_pair_is_refused),
                cmocka_unit_test(long_texts_are_refused),
                cmocka_unit_test(same_means_address_and_port),
        };

        return cmocka_run_group_tests_name("inet", tests, NULL, NULL);
}
