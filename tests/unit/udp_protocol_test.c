/* SPDX-License-Identifier: MIT */
#include "protocol/udp.h"
#include "protocol/v3.h"
#include "vector.h"

#include <errno.h>

static void check_request(const struct vector *v)
{
        struct objm_udp_request r;
        uint8_t out[OBJM_UDP_DATAGRAM_MAX];
        size_t padding = (size_t)vector_number(v, "padding", 0);

        memset(&r, 0xa5, sizeof(r));
        if (vector_is(v, "result", "bad")) {
                assert_int_equal(objm_udp_request_decode(v->bytes, v->len, &r), -EBADMSG);
                return;
        }
        assert_int_equal(objm_udp_request_decode(v->bytes, v->len, &r), 0);
        vector_assert_number(v, "op", r.op);
        vector_assert_number(v, "mode", r.mode);
        vector_assert_number(v, "id", r.id);
        vector_assert_number(v, "cookie", r.cookie);
        vector_assert_text(v, "uri", r.uri, r.uri_len);
        assert_int_equal(r.status, vector_number(v, "status", 0));
        for (size_t len = 0; r.status == OBJM_STATUS_OK && len < v->len - padding; len++)
                assert_int_equal(objm_udp_request_decode(v->bytes, len, &r), -EBADMSG);
        if (vector_is(v, "canonical", "no"))
                return;
        assert_int_equal(objm_udp_request_encode(out, sizeof(out), &r, padding ? v->len : 0), v->len);
        assert_memory_equal(out, v->bytes, v->len);
        assert_int_equal(objm_udp_request_encode(out, v->len - 1, &r, padding ? v->len : 0), 0);
}

/* The header is written by its encoder, the rest by version 1's and by hand. */
static size_t encode_response(uint8_t *out, size_t cap, const struct objm_udp_response *r)
{
        struct objm_v1_response v1 = {.status = r->status, .metadata = r->metadata, .metadata_len = r->metadata_len,
                                      .content_len = r->body_len};
        size_t len = objm_udp_response_encode(out, cap, r);

        assert_int_equal(len, OBJM_UDP_HEADER);
        if (r->bare)
                return len;
        len += objm_v1_response_encode(out + len, cap - len, &v1);
        memcpy(out + len, r->body, r->body_len);
        return len + r->body_len;
}

static void check_response(const struct vector *v)
{
        struct objm_udp_response r;
        uint8_t out[OBJM_UDP_DATAGRAM_MAX];

        memset(&r, 0xa5, sizeof(r));
        if (vector_is(v, "result", "bad")) {
                assert_int_equal(objm_udp_response_decode(v->bytes, v->len, &r), -EBADMSG);
                return;
        }
        assert_int_equal(objm_udp_response_decode(v->bytes, v->len, &r), 0);
        vector_assert_number(v, "status", r.status);
        vector_assert_number(v, "bare", r.bare);
        vector_assert_number(v, "flags", r.flags);
        vector_assert_number(v, "id", r.id);
        vector_assert_number(v, "cookie", r.cookie);
        vector_assert_hex(v, "metadata", r.metadata, r.metadata_len);
        vector_assert_hex(v, "body", r.body, r.body_len);
        assert_int_equal(encode_response(out, sizeof(out), &r), v->len);
        assert_memory_equal(out, v->bytes, v->len);
        assert_int_equal(objm_udp_response_encode(out, OBJM_UDP_HEADER - 1, &r), 0);
        for (size_t len = 0; len < v->len; len++)
                if (len != OBJM_UDP_HEADER)
                        assert_int_equal(objm_udp_response_decode(v->bytes, len, &r), -EBADMSG);
}

static void request_vectors(void **state)
{
        vector_each("udp_request", NULL, check_request);
}

static void response_vectors(void **state)
{
        vector_each("udp_response", NULL, check_response);
}

static void no_datagram_is_longer_than_the_limit(void **state)
{
        uint8_t uri[OBJM_URI_MAX], buf[2 * OBJM_UDP_DATAGRAM_MAX];
        struct objm_udp_request r = {.op = OBJM_V3_OP_GET, .mode = '2', .uri = uri}, got;
        size_t room = OBJM_UDP_DATAGRAM_MAX - OBJM_UDP_HEADER - OBJM_V1_REQUEST_HEADER;

        memset(uri, 'x', sizeof(uri));
        r.uri_len = (uint16_t)room;
        assert_int_equal(objm_udp_request_encode(buf, sizeof(buf), &r, 0), OBJM_UDP_DATAGRAM_MAX);
        assert_int_equal(objm_udp_request_decode(buf, OBJM_UDP_DATAGRAM_MAX, &got), 0);
        assert_int_equal(got.uri_len, room);
        assert_int_equal(objm_udp_request_decode(buf, OBJM_UDP_DATAGRAM_MAX + 1, &got), -EBADMSG);
        r.uri_len++;
        assert_int_equal(objm_udp_request_encode(buf, sizeof(buf), &r, 0), 0);
        r.uri_len = 1;
        assert_int_equal(objm_udp_request_encode(buf, sizeof(buf), &r, OBJM_UDP_DATAGRAM_MAX), OBJM_UDP_DATAGRAM_MAX);
        assert_int_equal(objm_udp_request_encode(buf, sizeof(buf), &r, OBJM_UDP_DATAGRAM_MAX + 1), 0);
}

/* What makes two servers that are aimed at each other fall silent. */
static void no_response_is_a_request(void **state)
{
        uint8_t buf[OBJM_UDP_DATAGRAM_MAX] = {0};
        struct objm_udp_response r = {.id = 0x4f424a51, .cookie = UINT64_C(0x4f424a514f424a51)};
        struct objm_udp_request got;

        for (unsigned status = 0; status < 256; status++) {
                r.status = (uint8_t)status;
                assert_int_equal(objm_udp_response_encode(buf, sizeof(buf), &r), OBJM_UDP_HEADER);
                for (size_t len = 0; len <= sizeof(buf); len++)
                        assert_int_equal(objm_udp_request_decode(buf, len, &got), -EBADMSG);
        }
}

/* So that the shortest answer is never longer. */
static void no_request_is_shorter_than_a_bare_response(void **state)
{
        uint8_t buf[OBJM_UDP_HEADER] = "OBJQ\1\3";
        struct objm_udp_request got;

        assert_int_equal(objm_udp_request_decode(buf, sizeof(buf), &got), 0);
        for (size_t len = 0; len < sizeof(buf); len++)
                assert_int_equal(objm_udp_request_decode(buf, len, &got), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(request_vectors),
                cmocka_unit_test(response_vectors),
                cmocka_unit_test(no_datagram_is_longer_than_the_limit),
                cmocka_unit_test(no_response_is_a_request),
                cmocka_unit_test(no_request_is_shorter_than_a_bare_response),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
