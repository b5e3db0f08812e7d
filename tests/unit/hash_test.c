/* SPDX-License-Identifier: MIT */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct objm_hash_key new_key(void)
{
        struct objm_hash_key key;

        memset(&key, 0, sizeof(key));
        assert_int_equal(objm_hash_key_init(&key), 0);
        return key;
}

static void secrets_differ_and_are_filled(void **state)
{
        struct objm_hash_key a = new_key(), b = new_key();
        static const unsigned char zeros[16];

        assert_memory_not_equal(&a, &b, sizeof(a));
        for (size_t i = 0; i < sizeof(a.secret); i += sizeof(zeros))
                assert_memory_not_equal(a.secret + i, zeros, sizeof(zeros));
}

static void is_a_function_of_key_and_bytes(void **state)
{
        struct objm_hash_key key = new_key(), same = key;
        unsigned char data[600], copy[601];

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (unsigned char)(i * 7);
        memcpy(copy + 1, data, sizeof(data)); /* at another alignment */
        for (size_t len = 0; len <= sizeof(data); len++)
                assert_true(objm_hash(&key, data, len) == objm_hash(&same, copy + 1, len));
}

#ifdef OBJM_HASH_CONSTANT

static void differs_as_the_build_says(void **state)
{
        struct objm_hash_key a = new_key(), b = new_key();

        assert_true(objm_hash(&a, "a", 1) == objm_hash(&b, "bc", 2));
}

#else

/*
 * The lengths of every path in XXH3 (0, 1-3, 4-8, 9-16, 17-128, 129-240, more): the secret counts in each. The seeded
 * form would not do for up to 240 bytes.
 */
static void differs_as_the_build_says(void **state)
{
        struct objm_hash_key a = new_key(), b = new_key();
        unsigned char data[600] = {0};

        for (size_t len = 0; len <= sizeof(data); len++)
                assert_true(objm_hash(&a, data, len) != objm_hash(&b, data, len));
}

static int compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

/* Of 2^16 names a clash in 64 bits has a chance of one in 2^33. */
static void names_do_not_clash(void **state)
{
        static uint64_t hash[65536];
        struct objm_hash_key key = new_key();
        char name[32];

        for (int i = 0; i < 65536; i++)
                hash[i] = objm_hash(&key, name, (size_t)snprintf(name, sizeof(name), "/data/%d", i));
        qsort(hash, 65536, sizeof(hash[0]), compare);
        for (int i = 1; i < 65536; i++)
                assert_true(hash[i - 1] != hash[i]);
}

#endif

/* The values that the XXH3 specification's implementation gives: object versions must not change with a release. */
static void public_hash_never_changes(void **state)
{
        assert_true(objm_hash_public("", 0) == UINT64_C(0x2d06800538d394c2));
        assert_true(objm_hash_public("a", 1) == UINT64_C(0xe6c632b61e964e1f));
        assert_true(objm_hash_public("abc", 3) == UINT64_C(0x78af5f94892f3950));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(secrets_differ_and_are_filled), cmocka_unit_test(is_a_function_of_key_and_bytes),
                cmocka_unit_test(differs_as_the_build_says),     cmocka_unit_test(public_hash_never_changes),
#ifndef OBJM_HASH_CONSTANT
                cmocka_unit_test(names_do_not_clash),
#endif
        };

        return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
