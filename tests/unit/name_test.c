/* SPDX-License-Identifier: MIT */
#include "storage/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int check(const char *path)
{
        return (int)objm_name_check(path, strlen(path));
}

static void good_names(void **state)
{
        static const char *const good[] = {"a",   "a/b",   "...", "..a", "a..",       ".a",
                                           "..a", "a/...", " ",   "\n",  "\xff/\xfe", "%2e%2e"};

        for (size_t i = 0; i < objm_array_len(good); i++)
                assert_int_equal(check(good[i]), OBJM_STORE_OK);
}

static void bad_names(void **state)
{
        static const char *const bad[] = {"",    "/",   ".",    "..",   "/a",     "a/", "a//b", "a/./b",
                                          "./a", "a/.", "../a", "a/..", "a/../b", "//", "a/b/"};

        for (size_t i = 0; i < objm_array_len(bad); i++)
                assert_int_equal(check(bad[i]), OBJM_STORE_INVALID);
        assert_int_equal(objm_name_check("a\0b", 3), OBJM_STORE_INVALID);
        assert_int_equal(objm_name_check("\0", 1), OBJM_STORE_INVALID);
        assert_int_equal(objm_name_check("a\0", 2), OBJM_STORE_INVALID);
}

static void long_segments_are_not_found_unless_worse_follows(void **state)
{
        char path[600];

        memset(path, 'n', sizeof(path));
        path[255] = '/';
        assert_int_equal(objm_name_check(path, 255), OBJM_STORE_OK);
        assert_int_equal(objm_name_check(path, 511), OBJM_STORE_OK);
        assert_int_equal(objm_name_check(path, 512), OBJM_STORE_NOT_FOUND);
        path[300] = 0;
        assert_int_equal(objm_name_check(path, 512), OBJM_STORE_INVALID);
        path[300] = '/';
        path[301] = '/';
        assert_int_equal(objm_name_check(path, 600), OBJM_STORE_INVALID);
        path[255] = 'n';
        path[301] = 'n';
        assert_int_equal(objm_name_check(path, 400), OBJM_STORE_NOT_FOUND);
}

/* The rule said once more, slowly: split at each '/', look at each part. */
static int model(const char *path, size_t len)
{
        size_t start = 0;

        for (size_t i = 0; i <= len; i++) {
                if (i < len && path[i] == 0)
                        return OBJM_STORE_INVALID;
                if (i < len && path[i] != '/')
                        continue;
                if (i == start || strncmp(path + start, "./", i - start + 1) == 0 ||
                    (i - start == 1 && path[start] == '.') ||
                    (i - start == 2 && path[start] == '.' && path[start + 1] == '.'))
                        return OBJM_STORE_INVALID;
                start = i + 1;
        }
        return OBJM_STORE_OK;
}

static void random_names_agree_with_the_model(void **state)
{
        int valid = 0;

        srandom(3);
        for (int i = 0; i < 300000; i++) {
                char path[9] = {0};
                size_t len = (size_t)random() % 8;

                for (size_t k = 0; k < len; k++)
                        path[k] = "a./.ab/\0"[random() % 8];
                assert_int_equal(objm_name_check(path, len), model(path, len));
                valid += model(path, len) == OBJM_STORE_OK;
        }
        assert_in_range(valid, 1000, 299000);
}

static void escapes_fit_and_are_printable(void **state)
{
        char out[16];

        objm_name_escape("a\nb\\\xff", 5, out, sizeof(out));
        assert_string_equal(out, "a\\x0ab\\x5c\\xff");
        objm_name_escape("aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 29, out, sizeof(out));
        assert_in_range(strlen(out), 10, 15);
        objm_name_escape("\1\1\1\1\1\1\1", 7, out, sizeof(out));
        assert_string_equal(out, "\\x01\\x01\\x01");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good_names),
                cmocka_unit_test(bad_names),
                cmocka_unit_test(long_segments_are_not_found_unless_worse_follows),
                cmocka_unit_test(random_names_agree_with_the_model),
                cmocka_unit_test(escapes_fit_and_are_printable),
        };

        return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
