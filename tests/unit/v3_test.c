/* SPDX-License-Identifier: MIT */
#include "protocol/v3.h"
#include "vector.h"

#define DECODE(kind, buf, len, r, used) (memset((r), 0xa5, sizeof(*(r))), objm_v3_##kind##_decode(buf, len, r, used))

/* Every prefix of a message says MORE, and how far to read on: never past the message. */
#define ASSERT_PREFIXES(kind, v, r)                                                                   \
        do {                                                                                          \
                size_t used_;                                                                         \
                for (size_t len_ = 0; len_ < (v)->len; len_++) {                                      \
                        assert_int_equal(DECODE(kind, (v)->bytes, len_, r, &used_), OBJM_DECODE_MORE); \
                        assert_in_range(used_, len_ + 1, (v)->len);                                   \
                }                                                                                     \
        } while (0)

/* Encoding what was decoded gives the vector again, and needs all of the room. */
#define ASSERT_ENCODES(kind, v, r)                                                             \
        do {                                                                                   \
                uint8_t out_[256];                                                             \
                assert_int_equal(objm_v3_##kind##_encode(out_, sizeof(out_), r), (v)->len);    \
                assert_memory_equal(out_, (v)->bytes, (v)->len);                               \
                assert_int_equal(objm_v3_##kind##_encode(out_, (v)->len - 1, r), 0);           \
        } while (0)

static void check_hello(const struct vector *v)
{
        struct objm_v3_hello h;
        size_t used;

        if (vector_is(v, "result", "bad")) {
                assert_int_equal(DECODE(hello, v->bytes, v->len, &h, &used), OBJM_DECODE_BAD);
                vector_assert_number(v, "status", h.status);
                return;
        }
        ASSERT_PREFIXES(hello, v, &h);
        assert_int_equal(DECODE(hello, v->bytes, v->len, &h, &used), OBJM_DECODE_OK);
        assert_int_equal(used, v->len);
        assert_int_equal(h.status, OBJM_STATUS_OK);
        vector_assert_number(v, "version", h.version);
        vector_assert_number(v, "capabilities", h.capabilities);
        vector_assert_number(v, "in_flight", h.in_flight);
        vector_assert_number(v, "inline_limit", h.inline_limit);
        if (!vector_is(v, "canonical", "no"))
                ASSERT_ENCODES(hello, v, &h);
}

static void check_hello_reply(const struct vector *v)
{
        struct objm_v3_hello_reply h;
        size_t used;

        ASSERT_PREFIXES(hello_reply, v, &h);
        assert_int_equal(DECODE(hello_reply, v->bytes, v->len, &h, &used), OBJM_DECODE_OK);
        assert_int_equal(used, v->len);
        vector_assert_number(v, "version", h.version);
        vector_assert_number(v, "status", h.status);
        vector_assert_number(v, "capabilities", h.capabilities);
        vector_assert_hex(v, "instance", h.instance, sizeof(h.instance));
        vector_assert_number(v, "in_flight", h.in_flight);
        vector_assert_number(v, "uri_max", h.uri_max);
        vector_assert_number(v, "fds_max", h.fds_max);
        vector_assert_number(v, "inline_limit", h.inline_limit);
        ASSERT_ENCODES(hello_reply, v, &h);
}

static void check_bad_request(const struct vector *v)
{
        struct objm_v3_request r;
        size_t used;

        assert_int_equal(DECODE(request, v->bytes, v->len, &r, &used), OBJM_DECODE_BAD);
        vector_assert_number(v, "status", r.status);
        vector_assert_number(v, "op", r.op);
        vector_assert_number(v, "id", r.id);
}

static void check_request(const struct vector *v)
{
        struct objm_v3_request r;
        size_t used;

        if (vector_is(v, "result", "bad")) {
                check_bad_request(v);
                return;
        }
        ASSERT_PREFIXES(request, v, &r);
        assert_int_equal(DECODE(request, v->bytes, v->len, &r, &used), OBJM_DECODE_OK);
        assert_int_equal(used, v->len);
        assert_int_equal(r.status, vector_number(v, "status", 0));
        vector_assert_number(v, "op", r.op);
        vector_assert_number(v, "mode", r.mode);
        vector_assert_number(v, "flags", r.flags);
        vector_assert_number(v, "id", r.id);
        vector_assert_number(v, "inline_limit", r.inline_limit);
        vector_assert_number(v, "range_offset", r.range_offset);
        vector_assert_number(v, "range_length", r.range_length);
        vector_assert_number(v, "if_version", r.if_version);
        vector_assert_text(v, "uri", r.uri, r.uri_len);
        vector_assert_hex(v, "extra", r.extra, r.extra_len);
        ASSERT_ENCODES(request, v, &r);
}

static void check_response(const struct vector *v)
{
        struct objm_v3_response r;
        size_t used;

        if (vector_is(v, "result", "bad")) {
                assert_int_equal(DECODE(response, v->bytes, v->len, &r, &used), OBJM_DECODE_BAD);
                return;
        }
        ASSERT_PREFIXES(response, v, &r);
        assert_int_equal(DECODE(response, v->bytes, v->len, &r, &used), OBJM_DECODE_OK);
        assert_int_equal(used, v->len);
        vector_assert_number(v, "status", r.status);
        vector_assert_number(v, "op", r.op);
        vector_assert_number(v, "mode", r.mode);
        vector_assert_number(v, "n_fds", r.n_fds);
        vector_assert_number(v, "id", r.id);
        vector_assert_number(v, "flags", r.flags);
        vector_assert_number(v, "size", r.size);
        vector_assert_number(v, "version", r.version);
        vector_assert_number(v, "body_len", r.body_len);
        vector_assert_hex(v, "metadata", r.metadata, r.metadata_len);
        if (!vector_is(v, "canonical", "no"))
                ASSERT_ENCODES(response, v, &r);
}

static void test_hello_vectors(void **state)
{
        vector_each("v3_hello", "v3_hello_reply", check_hello);
}

static void test_hello_reply_vectors(void **state)
{
        vector_each("v3_hello_reply", NULL, check_hello_reply);
}

static void test_request_vectors(void **state)
{
        vector_each("v3_request", NULL, check_request);
}

static void test_response_vectors(void **state)
{
        vector_each("v3_response", NULL, check_response);
}

static void test_hello_magic_shows_at_the_first_wrong_byte(void **state)
{
        struct objm_v3_hello h;
        size_t used;

        for (size_t wrong = 0; wrong < 4; wrong++) {
                uint8_t buf[OBJM_V3_HELLO] = "OBJM\3\0\0\40";

                buf[wrong] ^= 1;
                assert_int_equal(DECODE(hello, buf, wrong, &h, &used), OBJM_DECODE_MORE);
                assert_int_equal(DECODE(hello, buf, wrong + 1, &h, &used), OBJM_DECODE_BAD);
                assert_int_equal(h.status, OBJM_STATUS_PROTOCOL);
        }
}

static void test_hello_versions_and_lengths(void **state)
{
        uint8_t buf[OBJM_V3_HELLO_MAX + 1] = "OBJM\3";
        struct objm_v3_hello h;
        size_t used;

        for (unsigned version = 0; version < 256; version++) {
                buf[4] = (uint8_t)version;
                buf[7] = OBJM_V3_HELLO;
                assert_int_equal(DECODE(hello, buf, 32, &h, &used), version < 3 ? OBJM_DECODE_BAD : OBJM_DECODE_OK);
                assert_int_equal(h.status, version < 3 ? OBJM_STATUS_VERSION : OBJM_STATUS_OK);
                assert_int_equal(h.version, version);
        }
        for (unsigned length = 0; length < 600; length++) {
                bool good = length >= OBJM_V3_HELLO && length <= OBJM_V3_HELLO_MAX;

                buf[6] = (uint8_t)(length >> 8);
                buf[7] = (uint8_t)length;
                assert_int_equal(DECODE(hello, buf, sizeof(buf), &h, &used), good ? OBJM_DECODE_OK : OBJM_DECODE_BAD);
                assert_int_equal(good ? length : OBJM_STATUS_PROTOCOL, good ? used : h.status);
        }
}

static void test_hello_reply_refuses_what_is_none(void **state)
{
        uint8_t buf[OBJM_V3_HELLO_MAX + 1] = "OBJM\3\0\0\57"; /* 47 */
        struct objm_v3_hello_reply h;
        size_t used;

        assert_int_equal(DECODE(hello_reply, buf, sizeof(buf), &h, &used), OBJM_DECODE_BAD);
        buf[6] = 1; /* 256 + 47 */
        assert_int_equal(DECODE(hello_reply, buf, sizeof(buf), &h, &used), OBJM_DECODE_BAD);
        buf[0] = 0;
        assert_int_equal(DECODE(hello_reply, buf, 1, &h, &used), OBJM_DECODE_BAD);
}

static void test_request_limits(void **state)
{
        static uint8_t data[OBJM_URI_MAX + 1], buf[OBJM_V3_REQUEST_MAX + 1];
        struct objm_v3_request r = {.op = OBJM_V3_OP_STAT, .uri = data, .extra = data}, got;
        size_t used;

        memset(data, 'x', sizeof(data));
        r.uri_len = OBJM_URI_MAX;
        r.extra_len = OBJM_V3_EXTRA_MAX;
        assert_int_equal(objm_v3_request_encode(buf, sizeof(buf), &r), OBJM_V3_REQUEST_MAX);
        assert_int_equal(DECODE(request, buf, sizeof(buf), &got, &used), OBJM_DECODE_OK);
        assert_int_equal(used, OBJM_V3_REQUEST_MAX);
        assert_ptr_equal(got.extra, buf + OBJM_V3_REQUEST_HEADER + OBJM_URI_MAX);
        assert_int_equal(objm_v3_request_encode(buf, OBJM_V3_REQUEST_MAX - 1, &r), 0);
        r.extra_len++;
        assert_int_equal(objm_v3_request_encode(buf, sizeof(buf), &r), 0);
        r.extra_len = 0;
        r.uri_len++;
        assert_int_equal(objm_v3_request_encode(buf, sizeof(buf), &r), 0);
}

static void test_request_operations_and_modes(void **state)
{
        uint8_t buf[OBJM_V3_REQUEST_HEADER + 1] = {[9] = 1};
        struct objm_v3_request r;
        size_t used;

        for (unsigned op = 0; op < 256; op++) {
                buf[0] = (uint8_t)op;
                buf[1] = '1';
                assert_int_equal(DECODE(request, buf, sizeof(buf), &r, &used), OBJM_DECODE_OK);
                assert_int_equal(r.status, (op >= 1 && op <= 4) || (op >= 64 && op <= 66) ? OBJM_STATUS_OK
                                                                                         : OBJM_STATUS_UNSUPPORTED);
        }
        buf[0] = OBJM_V3_OP_GET;
        for (unsigned mode = 0; mode < 256; mode++) {
                bool known = mode != 0 && strchr("123a", (int)mode) != NULL;

                buf[1] = (uint8_t)mode;
                assert_int_equal(DECODE(request, buf, sizeof(buf), &r, &used), OBJM_DECODE_OK);
                assert_int_equal(r.status, known ? OBJM_STATUS_OK : OBJM_STATUS_INVALID_MODE);
        }
}

static void test_response_limits(void **state)
{
        static uint8_t metadata[OBJM_METADATA_MAX + 1], buf[OBJM_V3_RESPONSE_MAX + 1];
        struct objm_v3_response r = {.n_fds = OBJM_V3_FDS_MAX, .metadata = metadata}, got;
        size_t used;

        r.metadata_len = OBJM_METADATA_MAX;
        assert_int_equal(objm_v3_response_encode(buf, sizeof(buf), &r), OBJM_V3_RESPONSE_MAX);
        assert_int_equal(DECODE(response, buf, sizeof(buf), &got, &used), OBJM_DECODE_OK);
        assert_int_equal(used, OBJM_V3_RESPONSE_MAX);
        r.metadata_len++;
        assert_int_equal(objm_v3_response_encode(buf, sizeof(buf), &r), 0);
        r.metadata_len = 0;
        r.n_fds++;
        assert_int_equal(objm_v3_response_encode(buf, sizeof(buf), &r), 0);
}

static void test_more_sets_nothing_but_the_need(void **state)
{
        uint8_t buf[OBJM_V3_REQUEST_HEADER] = {[0] = OBJM_V3_OP_STAT, [9] = 5};
        struct objm_v3_request r, before;
        size_t used = 0;

        memset(&before, 0xa5, sizeof(before));
        assert_int_equal(DECODE(request, buf, sizeof(buf), &r, &used), OBJM_DECODE_MORE);
        assert_int_equal(used, OBJM_V3_REQUEST_HEADER + 5);
        assert_memory_equal(&r, &before, sizeof(r));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hello_vectors),
                cmocka_unit_test(test_hello_reply_vectors),
                cmocka_unit_test(test_request_vectors),
                cmocka_unit_test(test_response_vectors),
                cmocka_unit_test(test_hello_magic_shows_at_the_first_wrong_byte),
                cmocka_unit_test(test_hello_versions_and_lengths),
                cmocka_unit_test(test_hello_reply_refuses_what_is_none),
                cmocka_unit_test(test_request_limits),
                cmocka_unit_test(test_request_operations_and_modes),
                cmocka_unit_test(test_response_limits),
                cmocka_unit_test(test_more_sets_nothing_but_the_need),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
