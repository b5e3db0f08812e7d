/* SPDX-License-Identifier: MIT */
#include "fuzz.h"
#include "protocol/v1.h"

static struct objm_v1_request message;

static enum objm_decode decode(const void *buf, size_t len, size_t *ret_used)
{
        return objm_v1_request_decode(buf, len, &message, ret_used);
}

static void check_round_trip(const uint8_t *data, size_t size)
{
        uint8_t out[OBJM_V1_REQUEST_MAX];
        size_t used;

        decode(data, size, &used);
        FUZZ_CHECK(fuzz_inside(message.uri, message.uri_len, data, used));
        FUZZ_CHECK((message.status == OBJM_STATUS_OK) == (message.uri_len > 0));
        if (message.status != OBJM_STATUS_OK)
                return;
        FUZZ_CHECK(objm_v1_request_encode(out, sizeof(out), message.mode, message.uri, message.uri_len) == used);
        FUZZ_CHECK(memcmp(out, data, used) == 0);
        FUZZ_CHECK(objm_v1_request_encode(out, used - 1, message.mode, message.uri, message.uri_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        switch (fuzz_framing(decode, data, size, OBJM_V1_REQUEST_MAX)) {
        case OBJM_DECODE_OK:
                check_round_trip(data, size);
                break;
        case OBJM_DECODE_BAD:
                FUZZ_CHECK(message.status == OBJM_STATUS_INVALID_MODE || message.status == OBJM_STATUS_URI_TOO_LONG);
                break;
        case OBJM_DECODE_MORE:
                break;
        }
        return 0;
}
