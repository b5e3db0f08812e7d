/* SPDX-License-Identifier: MIT */
#include "objmapperd/handover_image.h"

#include "objmapperd/connection.h"
#include "objmapperd/transfer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct handover_entry plain = {
        .cookie = UINT64_C(0x0123456789abcdef), .served = 7, .inline_limit = 100, .jobs_max = 3, .protocol = 3,
        .batch_limit = 5, .may_ring = true, .in_len = 4, .in = (const uint8_t *)"part",
};

/* An image of two entries, the second one empty; returns its length. */
static size_t two(uint8_t *buf, size_t cap)
{
        const struct handover_entry other = {.cookie = 2, .jobs_max = 1, .batch_limit = 1};
        size_t len = handover_image_put(buf, cap, 0, &plain);

        len = handover_image_put(buf, cap, len, &other);
        handover_image_finish(buf, len, 2);
        return len;
}

static void what_was_put_is_read(void **state)
{
        uint8_t buf[256];
        size_t len = two(buf, sizeof(buf)), at = HANDOVER_IMAGE_HEADER;
        struct handover_entry e;
        uint32_t count = 0;

        assert_int_equal(handover_image_check(buf, len, &count), 0);
        assert_int_equal(count, 2);
        assert_int_equal(handover_image_next(buf, len, &at, &e), 0);
        assert_true(e.cookie == plain.cookie && e.served == 7 && e.inline_limit == 100 && e.jobs_max == 3);
        assert_true(e.protocol == 3 && e.may_ring && e.batch_limit == 5);
        assert_true(e.in_len == 4 && memcmp(e.in, "part", 4) == 0);
        assert_int_equal(handover_image_next(buf, len, &at, &e), 0);
        assert_true(e.cookie == 2 && e.protocol == 0 && !e.may_ring && e.in_len == 0 && at == len);
        assert_int_equal(handover_image_next(buf, len, &at, &e), -EINVAL);
}

static void what_does_not_fit_is_not_put(void **state)
{
        uint8_t buf[HANDOVER_IMAGE_HEADER + HANDOVER_ENTRY + 4];

        assert_int_equal(handover_image_put(buf, sizeof(buf), 0, &plain), sizeof(buf));
        for (size_t cap = 0; cap < sizeof(buf); cap++)
                assert_int_equal(handover_image_put(buf, cap, 0, &plain), 0);
        assert_int_equal(handover_image_put(buf, sizeof(buf), sizeof(buf), &plain), 0);
}

static void no_bit_may_change_and_no_byte_be_missing(void **state)
{
        uint8_t buf[256];
        size_t len = two(buf, sizeof(buf));
        uint32_t count;

        for (size_t i = 0; i < len; i++) {
                if (i >= 12 && i < 16) /* the count: read_entries() compares it with what follows */
                        continue;
                buf[i] ^= 1;
                assert_true(handover_image_check(buf, len, &count) < 0);
                buf[i] ^= 1;
        }
        for (size_t n = 0; n < len; n++)
                assert_int_equal(handover_image_check(buf, n, &count), -EINVAL);
        assert_int_equal(handover_image_check(buf, len, &count), 0);
        buf[11]++;
        assert_int_equal(handover_image_check(buf, len, &count), -EPROTO);
}

static void impossible(struct handover_entry e)
{
        static uint8_t buf[2 * WORKER_RX_BYTES];
        size_t len = handover_image_put(buf, sizeof(buf), 0, &e), at = HANDOVER_IMAGE_HEADER;
        struct handover_entry ret;

        assert_int_not_equal(len, 0);
        assert_int_equal(handover_image_next(buf, len, &at, &ret), -EINVAL);
        assert_int_equal(at, HANDOVER_IMAGE_HEADER);
}

static void unknown_flags_are_refused(void **state)
{
        uint8_t buf[256];
        size_t len = two(buf, sizeof(buf)), at = HANDOVER_IMAGE_HEADER;
        struct handover_entry e;

        buf[HANDOVER_IMAGE_HEADER + 27] = 2;
        assert_int_equal(handover_image_next(buf, len, &at, &e), -EINVAL);
}

static void entries_have_bounds(void **state)
{
        static const uint8_t input[WORKER_RX_BYTES + 1];
        struct handover_entry e = plain;

        e.protocol = 2;
        impossible(e);
        e = plain;
        e.batch_limit = 0;
        impossible(e);
        e.batch_limit = CONNECTION_BATCH_MAX + 1;
        impossible(e);
        e = plain;
        e.jobs_max = 0;
        impossible(e);
        e.jobs_max = CONNECTION_JOBS_MAX + 1;
        impossible(e);
        e = plain;
        e.inline_limit = TRANSFER_INLINE_MAX + 1;
        impossible(e);
        e = plain;
        e.in = input;
        e.in_len = sizeof(input);
        impossible(e);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_put_is_read),
                cmocka_unit_test(what_does_not_fit_is_not_put),
                cmocka_unit_test(no_bit_may_change_and_no_byte_be_missing),
                cmocka_unit_test(entries_have_bounds),
                cmocka_unit_test(unknown_flags_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
