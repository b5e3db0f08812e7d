/* SPDX-License-Identifier: MIT */
#include "protocol/v1.h"
#include "vector.h"

static enum objm_decode decode_request(const void *buf, size_t len, struct objm_v1_request *r, size_t *used)
{
        memset(r, 0xa5, sizeof(*r));
        *used = 12345;
        return objm_v1_request_decode(buf, len, r, used);
}

static enum objm_decode decode_response(const void *buf, size_t len, struct objm_v1_response *r, size_t *used)
{
        memset(r, 0xa5, sizeof(*r));
        *used = 12345;
        return objm_v1_response_decode(buf, len, r, used);
}

static void check_request(const struct vector *v)
{
        struct objm_v1_request r;
        uint8_t out[64];
        size_t used;

        if (vector_is(v, "result", "bad")) {
                assert_int_equal(decode_request(v->bytes, v->len, &r, &used), OBJM_DECODE_BAD);
                vector_assert_number(v, "status", r.status);
                return;
        }
        assert_int_equal(decode_request(v->bytes, v->len, &r, &used), OBJM_DECODE_OK);
        assert_int_equal(used, v->len);
        assert_int_equal(r.status, vector_number(v, "status", 0));
        vector_assert_number(v, "mode", r.mode);
        vector_assert_text(v, "uri", r.uri, r.uri_len);
        for (size_t len = 0; len < v->len; len++) {
                assert_int_equal(decode_request(v->bytes, len, &r, &used), OBJM_DECODE_MORE);
                assert_in_range(used, len + 1, v->len);
        }
        decode_request(v->bytes, v->len, &r, &used);
        if (r.uri_len == 0)
                return;
        assert_int_equal(objm_v1_request_encode(out, sizeof(out), r.mode, r.uri, r.uri_len), v->len);
        assert_memory_equal(out, v->bytes, v->len);
        assert_int_equal(objm_v1_request_encode(out, v->len - 1, r.mode, r.uri, r.uri_len), 0);
}

static void check_response(const struct vector *v)
{
        struct objm_v1_response r;
        uint8_t out[128];
        size_t used;

        if (vector_is(v, "result", "bad")) {
                assert_int_equal(decode_response(v->bytes, v->len, &r, &used), OBJM_DECODE_BAD);
                return;
        }
        for (size_t len = 0; len < v->len; len++) {
                assert_int_equal(decode_response(v->bytes, len, &r, &used), OBJM_DECODE_MORE);
                assert_in_range(used, len + 1, v->len);
        }
        assert_int_equal(decode_response(v->bytes, v->len, &r, &used), OBJM_DECODE_OK);
        assert_int_equal(used, v->len);
        vector_assert_number(v, "status", r.status);
        vector_assert_number(v, "content_len", r.content_len);
        vector_assert_hex(v, "metadata", r.metadata, r.metadata_len);
        assert_int_equal(objm_v1_response_encode(out, sizeof(out), &r), v->len);
        assert_memory_equal(out, v->bytes, v->len);
        assert_int_equal(objm_v1_response_encode(out, v->len - 1, &r), 0);
}

static void test_request_vectors(void **state)
{
        vector_each("v1_request", NULL, check_request);
}

static void test_response_vectors(void **state)
{
        vector_each("v1_response", NULL, check_response);
}

static void test_longest_uri(void **state)
{
        uint8_t uri[OBJM_URI_MAX + 1], buf[OBJM_V1_REQUEST_MAX + 1];
        struct objm_v1_request r;
        size_t used;

        memset(uri, 'x', sizeof(uri));
        assert_int_equal(objm_v1_request_encode(buf, sizeof(buf), '1', uri, OBJM_URI_MAX), OBJM_V1_REQUEST_MAX);
        assert_int_equal(decode_request(buf, sizeof(buf), &r, &used), OBJM_DECODE_OK);
        assert_int_equal(used, OBJM_V1_REQUEST_MAX);
        assert_int_equal(r.uri_len, OBJM_URI_MAX);
        assert_int_equal(objm_v1_request_encode(buf, sizeof(buf), '1', uri, OBJM_URI_MAX + 1), 0);
        assert_int_equal(objm_v1_request_encode(buf, sizeof(buf), '1', uri, 0), 0);
        assert_int_equal(objm_v1_request_encode(buf, sizeof(buf), '1', uri, SIZE_MAX), 0);
}

static void test_only_three_modes_are_known(void **state)
{
        struct objm_v1_request r;
        size_t used;

        for (unsigned mode = 0; mode < 256; mode++) {
                uint8_t buf[] = {(uint8_t)mode, 0, 1, '/'};
                bool known = mode >= '1' && mode <= '3';

                assert_int_equal(decode_request(buf, sizeof(buf), &r, &used), known ? OBJM_DECODE_OK : OBJM_DECODE_BAD);
                assert_int_equal(r.mode, mode);
                assert_int_equal(r.status, known ? OBJM_STATUS_OK : OBJM_STATUS_INVALID_MODE);
        }
}

static void test_more_sets_nothing_but_the_need(void **state)
{
        const uint8_t buf[] = {'1', 0, 9, '/'};
        struct objm_v1_request r, before;
        size_t used;

        memset(&before, 0xa5, sizeof(before));
        assert_int_equal(decode_request(buf, sizeof(buf), &r, &used), OBJM_DECODE_MORE);
        assert_int_equal(used, 12);
        assert_memory_equal(&r, &before, sizeof(r));
}

static void test_pipelined_requests(void **state)
{
        uint8_t buf[64];
        size_t len = 0, at = 0, used;
        struct objm_v1_request r;

        for (unsigned i = 0; i < 4; i++)
                len += objm_v1_request_encode(buf + len, sizeof(buf) - len, '1', "/abc", 1 + i);
        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(decode_request(buf + at, len - at, &r, &used), OBJM_DECODE_OK);
                assert_int_equal(r.uri_len, 1 + i);
                assert_ptr_equal(r.uri, buf + at + 3);
                at += used;
        }
        assert_int_equal(at, len);
}

static void test_response_metadata_limit(void **state)
{
        uint8_t metadata[OBJM_METADATA_MAX + 1] = {0}, buf[OBJM_V1_RESPONSE_MAX + 1];
        struct objm_v1_response r = {.metadata = metadata, .metadata_len = OBJM_METADATA_MAX}, got;
        size_t used;

        assert_int_equal(objm_v1_response_encode(buf, sizeof(buf), &r), OBJM_V1_RESPONSE_MAX);
        assert_int_equal(decode_response(buf, sizeof(buf), &got, &used), OBJM_DECODE_OK);
        assert_int_equal(used, OBJM_V1_RESPONSE_MAX);
        r.metadata_len++;
        assert_int_equal(objm_v1_response_encode(buf, sizeof(buf), &r), 0);
}

static void test_metadata_put_and_next(void **state)
{
        uint8_t buf[64];
        const uint8_t *data;
        size_t at = 0, end, len;
        uint64_t number;
        uint8_t type;

        end = objm_v1_metadata_put_u64(buf, sizeof(buf), 0, OBJM_V1_META_SIZE, 300);
        assert_int_equal(end, 11);
        end = objm_v1_metadata_put(buf, sizeof(buf), end, OBJM_V1_META_ETAG, "abc", 3);
        assert_int_equal(end, 17);
        end = objm_v1_metadata_put(buf, sizeof(buf), end, OBJM_V1_META_ERROR, NULL, 0);
        assert_int_equal(end, 20);

        assert_int_equal(objm_v1_metadata_next(buf, end, &at, &type, &data, &len), 1);
        assert_int_equal(type, OBJM_V1_META_SIZE);
        assert_int_equal(objm_v1_metadata_number(data, len, &number), 0);
        assert_int_equal(number, 300);
        assert_int_equal(objm_v1_metadata_next(buf, end, &at, &type, &data, &len), 1);
        assert_int_equal(type, OBJM_V1_META_ETAG);
        assert_int_equal(len, 3);
        assert_memory_equal(data, "abc", 3);
        assert_int_equal(objm_v1_metadata_next(buf, end, &at, &type, &data, &len), 1);
        assert_int_equal(type, OBJM_V1_META_ERROR);
        assert_int_equal(len, 0);
        assert_int_equal(objm_v1_metadata_next(buf, end, &at, &type, &data, &len), 0);
}

static void test_metadata_put_refuses_what_does_not_fit(void **state)
{
        uint8_t buf[16];

        memset(buf, 0x5a, sizeof(buf));
        assert_int_equal(objm_v1_metadata_put(buf, 10, 0, 1, "abcdefgh", 8), 0);
        assert_int_equal(objm_v1_metadata_put(buf, 8, 9, 1, NULL, 0), 0);
        assert_int_equal(objm_v1_metadata_put(buf, 8, 6, 1, NULL, 0), 0);
        assert_int_equal(objm_v1_metadata_put(buf, SIZE_MAX, 0, 1, buf, UINT16_MAX + 1), 0);
        assert_int_equal(objm_v1_metadata_put_u64(buf, 10, 0, 1, 1), 0);
        for (size_t i = 0; i < sizeof(buf); i++)
                assert_int_equal(buf[i], 0x5a);
}

static void test_metadata_that_runs_over_is_refused(void **state)
{
        const uint8_t buf[] = {0x03, 0x00, 0x02, 'a', 'b', 0x03, 0x00, 0x01};
        const uint8_t *data = NULL;
        size_t at = 0, len = 0;
        uint8_t type = 0;

        assert_int_equal(objm_v1_metadata_next(buf, sizeof(buf), &at, &type, &data, &len), 1);
        for (size_t end = at + 1; end <= sizeof(buf); end++) {
                size_t here = at;

                assert_int_equal(objm_v1_metadata_next(buf, end, &here, &type, &data, &len), -EBADMSG);
                assert_int_equal(here, at);
        }
        at = 99;
        assert_int_equal(objm_v1_metadata_next(buf, sizeof(buf), &at, &type, &data, &len), -EBADMSG);
}

static void test_metadata_numbers(void **state)
{
        const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8};
        uint64_t n = 77;

        assert_int_equal(objm_v1_metadata_number(data, 1, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(objm_v1_metadata_number(data, 4, &n), 0);
        assert_int_equal(n, 0x01020304);
        assert_int_equal(objm_v1_metadata_number(data, 8, &n), 0);
        assert_true(n == UINT64_C(0x0102030405060708));
        for (size_t len = 0; len < 12; len++)
                if (len != 1 && len != 4 && len != 8)
                        assert_int_equal(objm_v1_metadata_number(data, len, &n), -EBADMSG);
        assert_true(n == UINT64_C(0x0102030405060708));
}

static void test_every_status_has_a_text(void **state)
{
        static const uint8_t known[] = {0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 20, 21, 22};
        const char *unknown = objm_status_text(255);
        unsigned n = 0;

        for (unsigned status = 0; status < 256; status++) {
                assert_non_null(objm_status_text((uint8_t)status));
                n += strcmp(objm_status_text((uint8_t)status), unknown) != 0;
        }
        assert_int_equal(n, sizeof(known));
        for (size_t i = 0; i < sizeof(known); i++)
                assert_string_not_equal(objm_status_text(known[i]), unknown);
        assert_string_equal(objm_status_text(OBJM_STATUS_NOT_FOUND), "not found");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request_vectors),
                cmocka_unit_test(test_response_vectors),
                cmocka_unit_test(test_longest_uri),
                cmocka_unit_test(test_only_three_modes_are_known),
                cmocka_unit_test(test_more_sets_nothing_but_the_need),
                cmocka_unit_test(test_pipelined_requests),
                cmocka_unit_test(test_response_metadata_limit),
                cmocka_unit_test(test_metadata_put_and_next),
                cmocka_unit_test(test_metadata_put_refuses_what_does_not_fit),
                cmocka_unit_test(test_metadata_that_runs_over_is_refused),
                cmocka_unit_test(test_metadata_numbers),
                cmocka_unit_test(test_every_status_has_a_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
