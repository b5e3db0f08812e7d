/* SPDX-License-Identifier: MIT */
#include "fuzz.h"
#include "protocol/v3.h"
#include <stdbool.h>

static struct objm_v3_request message;

static enum objm_decode decode(const void *buf, size_t len, size_t *ret_used)
{
        return objm_v3_request_decode(buf, len, &message, ret_used);
}

static bool is_operation(uint8_t op)
{
        return (op >= OBJM_V3_OP_GET && op <= OBJM_V3_OP_RING_ATTACH) ||
               (op >= OBJM_V3_OP_STATS && op <= OBJM_V3_OP_DRAIN);
}

static void check_refusal(void)
{
        switch (message.status) {
        case OBJM_STATUS_OK:
                FUZZ_CHECK(is_operation(message.op));
                FUZZ_CHECK(message.uri_len > 0 || message.op >= OBJM_V3_OP_PING);
                break;
        case OBJM_STATUS_UNSUPPORTED:
                FUZZ_CHECK(!is_operation(message.op));
                break;
        case OBJM_STATUS_INVALID_REQUEST:
                FUZZ_CHECK(message.uri_len == 0 && message.op <= OBJM_V3_OP_STAT);
                break;
        default:
                FUZZ_CHECK(message.status == OBJM_STATUS_INVALID_MODE && message.op == OBJM_V3_OP_GET);
        }
}

static void check_round_trip(const uint8_t *data, size_t size)
{
        uint8_t out[OBJM_V3_REQUEST_MAX];
        size_t used;

        decode(data, size, &used);
        FUZZ_CHECK(fuzz_inside(message.uri, message.uri_len, data, used));
        FUZZ_CHECK(fuzz_inside(message.extra, message.extra_len, data, used));
        check_refusal();
        FUZZ_CHECK(objm_v3_request_encode(out, sizeof(out), &message) == used);
        FUZZ_CHECK(memcmp(out, data, used) == 0);
        FUZZ_CHECK(objm_v3_request_encode(out, used - 1, &message) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        switch (fuzz_framing(decode, data, size, OBJM_V3_REQUEST_MAX)) {
        case OBJM_DECODE_OK:
                check_round_trip(data, size);
                break;
        case OBJM_DECODE_BAD:
                FUZZ_CHECK(message.status == OBJM_STATUS_URI_TOO_LONG || message.status == OBJM_STATUS_INVALID_REQUEST);
                FUZZ_CHECK(message.op == data[0]);
                FUZZ_CHECK(message.id == ((uint32_t)data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7]));
                break;
        case OBJM_DECODE_MORE:
                break;
        }
        return 0;
}
