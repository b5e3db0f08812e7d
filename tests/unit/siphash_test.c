/* SPDX-License-Identifier: MIT */
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The key of the published vectors: bytes 00 to 0f. The message of length n is the bytes 00, 01 .. n - 1. */
static const struct objm_siphash_key published = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

/* Length 15 is the example of the paper's appendix A, the others are of the authors' table of 64. */
static const struct {
        size_t len;
        uint64_t hash;
} vectors[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},  {2, UINT64_C(0x0d6c8009d9a94f5a)},
        {3, UINT64_C(0x85676696d7fb7e2d)},  {4, UINT64_C(0xcf2794e0277187b7)},  {5, UINT64_C(0x18765564cd99a68d)},
        {6, UINT64_C(0xcbc9466e58fee3ce)},  {7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
        {9, UINT64_C(0x9e0082df0ba9e4b0)},  {15, UINT64_C(0xa129ca6149be45e5)}, {16, UINT64_C(0x3f2acc7f57c29bdb)},
        {17, UINT64_C(0x699ae9f52cbe4794)}, {23, UINT64_C(0xa80c038ccd5ccec8)}, {24, UINT64_C(0xb8ad50c6f649af94)},
        {31, UINT64_C(0x32d892fad841c342)}, {32, UINT64_C(0x7127512f72f27cce)}, {62, UINT64_C(0xe51b38608ef25f57)},
        {63, UINT64_C(0x958a324ceb064572)},
};

static void values_are_the_published_ones(void **state)
{
        uint8_t message[64];

        for (size_t i = 0; i < sizeof(message); i++)
                message[i] = (uint8_t)i;
        for (size_t i = 0; i < objm_array_len(vectors); i++)
                assert_true(objm_siphash(&published, message, vectors[i].len) == vectors[i].hash);
}

static void alignment_does_not_matter(void **state)
{
        uint8_t room[64 + 8];

        for (size_t shift = 0; shift < 8; shift++) {
                for (size_t i = 0; i < 63; i++)
                        room[shift + i] = (uint8_t)i;
                assert_true(objm_siphash(&published, room + shift, 63) == UINT64_C(0x958a324ceb064572));
        }
}

static void keys_are_drawn_anew(void **state)
{
        struct objm_siphash_key a, b;

        assert_int_equal(objm_siphash_key_init(&a), 0);
        assert_int_equal(objm_siphash_key_init(&b), 0);
        assert_memory_not_equal(&a, &b, sizeof(a));
        assert_true(objm_siphash(&a, "x", 1) != objm_siphash(&b, "x", 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_are_the_published_ones),
                cmocka_unit_test(alignment_does_not_matter),
                cmocka_unit_test(keys_are_drawn_anew),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
