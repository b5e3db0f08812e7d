/* SPDX-License-Identifier: MIT */
/*
 * The hello and the hello reply: the first byte of the input picks.
 */
#include "fuzz.h"
#include "protocol/v3.h"

static struct objm_v3_hello hello;
static struct objm_v3_hello_reply reply;

static enum objm_decode decode_hello(const void *buf, size_t len, size_t *ret_used)
{
        return objm_v3_hello_decode(buf, len, &hello, ret_used);
}

static enum objm_decode decode_reply(const void *buf, size_t len, size_t *ret_used)
{
        return objm_v3_hello_reply_decode(buf, len, &reply, ret_used);
}

/* The known fields come back; a longer hello, reserved fields and the hello's unused status byte do not. */
static void check_hello(const uint8_t *data)
{
        uint8_t out[OBJM_V3_HELLO];

        FUZZ_CHECK(hello.version >= OBJM_V3_VERSION && hello.status == OBJM_STATUS_OK);
        FUZZ_CHECK(objm_v3_hello_encode(out, sizeof(out), &hello) == sizeof(out));
        FUZZ_CHECK(memcmp(out, data, 5) == 0);
        FUZZ_CHECK(memcmp(out + 8, data + 8, 16) == 0);
        FUZZ_CHECK(objm_v3_hello_encode(out, sizeof(out) - 1, &hello) == 0);
}

static void check_reply(const uint8_t *data)
{
        uint8_t out[OBJM_V3_HELLO_REPLY];

        FUZZ_CHECK(objm_v3_hello_reply_encode(out, sizeof(out), &reply) == sizeof(out));
        FUZZ_CHECK(memcmp(out, data, 6) == 0);
        FUZZ_CHECK(memcmp(out + 8, data + 8, 36) == 0);
        FUZZ_CHECK(objm_v3_hello_reply_encode(out, sizeof(out) - 1, &reply) == 0);
}

static void test_hello(const uint8_t *data, size_t size)
{
        size_t used;

        switch (fuzz_framing(decode_hello, data, size, OBJM_V3_HELLO_MAX)) {
        case OBJM_DECODE_OK:
                decode_hello(data, size, &used);
                check_hello(data);
                break;
        case OBJM_DECODE_BAD:
                FUZZ_CHECK(hello.status == OBJM_STATUS_PROTOCOL || hello.status == OBJM_STATUS_VERSION);
                break;
        case OBJM_DECODE_MORE:
                break;
        }
}

static void test_reply(const uint8_t *data, size_t size)
{
        size_t used;

        if (fuzz_framing(decode_reply, data, size, OBJM_V3_HELLO_MAX) != OBJM_DECODE_OK)
                return;
        decode_reply(data, size, &used);
        check_reply(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        if (data[0] & 1)
                test_hello(data + 1, size - 1);
        else
                test_reply(data + 1, size - 1);
        return 0;
}
