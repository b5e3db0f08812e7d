/* SPDX-License-Identifier: MIT */
#include "protocol/ring.h"

#include "vector.h"

static void attach_vectors_decode_and_encode(void **state)
{
        struct objm_ring_geometry g = {0};
        uint8_t out[OBJM_RING_ATTACH_EXTRA];
        struct vector v;

        vector_load(&v, "ring_attach.hex");
        for (size_t n = 0; n < v.len; n++)
                assert_false(objm_ring_attach_decode(v.bytes, n, &g));
        assert_true(objm_ring_attach_decode(v.bytes, v.len, &g));
        vector_assert_number(&v, "entries", g.entries);
        vector_assert_number(&v, "arena", g.arena);
        objm_ring_attach_encode(out, &g);
        assert_memory_equal(out, v.bytes, sizeof(out));
}

static void grant_vectors_decode_and_encode(void **state)
{
        struct objm_ring_geometry g;
        uint8_t out[OBJM_RING_GRANT];
        struct vector v;

        vector_load(&v, "ring_grant.hex");
        assert_int_equal(v.len, OBJM_RING_GRANT);
        assert_true(objm_ring_grant_decode(v.bytes, &g));
        vector_assert_number(&v, "entries", g.entries);
        vector_assert_number(&v, "arena", g.arena);
        vector_assert_number(&v, "size", objm_ring_memory_size(&g));
        vector_assert_number(&v, "arena_at", objm_ring_arena_at(&g));
        objm_ring_grant_encode(out, &g);
        assert_memory_equal(out, v.bytes, sizeof(out));
        vector_load(&v, "ring_grant_bad_size.hex");
        assert_false(objm_ring_grant_decode(v.bytes, &g));
}

/* Each number of a grant, bent by one bit, contradicts another or stays within bounds: memory is never too small. */
static void a_bent_grant_never_says_more_than_there_is(void **state)
{
        const struct objm_ring_geometry g = {.entries = 256, .arena = 262144};
        uint8_t body[OBJM_RING_GRANT];
        struct objm_ring_geometry got;

        for (unsigned bit = 0; bit < 24 * 8; bit++) {
                objm_ring_grant_encode(body, &g);
                body[bit / 8] ^= (uint8_t)(1 << bit % 8);
                if (objm_ring_grant_decode(body, &got))
                        assert_true(got.entries == g.entries && got.arena == g.arena);
        }
}

static void grants_are_powers_of_two_within_bounds(void **state)
{
        assert_int_equal(objm_ring_grant(0, 256, 8), 256);
        assert_int_equal(objm_ring_grant(0, 300, 8), 256);
        assert_int_equal(objm_ring_grant(100, 256, 8), 64);
        assert_int_equal(objm_ring_grant(1, 256, 8), 8);
        assert_int_equal(objm_ring_grant(UINT32_MAX, 256, 8), 256);
        assert_int_equal(objm_ring_grant(UINT32_MAX, UINT32_MAX, 8), 1u << 31);
}

static void geometry_out_of_bounds_is_none(void **state)
{
        static const struct objm_ring_geometry bad[] = {
                {0, 8192}, {4, 8192}, {12, 8192}, {8192, 8192}, {8, 0}, {8, 4096}, {8, 12288}, {8, 1u << 31},
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_false(objm_ring_geometry_good(&bad[i]));
        assert_true(objm_ring_geometry_good(&(struct objm_ring_geometry){8, 8192}));
        assert_true(objm_ring_geometry_good(&(struct objm_ring_geometry){4096, 64u << 20}));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(attach_vectors_decode_and_encode),
                cmocka_unit_test(grant_vectors_decode_and_encode),
                cmocka_unit_test(a_bent_grant_never_says_more_than_there_is),
                cmocka_unit_test(grants_are_powers_of_two_within_bounds),
                cmocka_unit_test(geometry_out_of_bounds_is_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
