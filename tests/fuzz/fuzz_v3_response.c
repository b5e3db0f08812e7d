/* SPDX-License-Identifier: MIT */
#include "fuzz.h"
#include "protocol/v3.h"

static struct objm_v3_response message;

static enum objm_decode decode(const void *buf, size_t len, size_t *ret_used)
{
        return objm_v3_response_decode(buf, len, &message, ret_used);
}

/* The bytes come back but for the reserved field, which is written as 0. */
static void check_round_trip(const uint8_t *data, size_t size)
{
        static const uint8_t zero[4];
        uint8_t out[OBJM_V3_RESPONSE_MAX];
        size_t used;

        decode(data, size, &used);
        FUZZ_CHECK(message.n_fds <= OBJM_V3_FDS_MAX);
        FUZZ_CHECK(fuzz_inside(message.metadata, message.metadata_len, data, used));
        FUZZ_CHECK(objm_v3_response_encode(out, sizeof(out), &message) == used);
        FUZZ_CHECK(memcmp(out, data, 12) == 0);
        FUZZ_CHECK(memcmp(out + 12, zero, 4) == 0);
        FUZZ_CHECK(memcmp(out + 16, data + 16, used - 16) == 0);
        FUZZ_CHECK(objm_v3_response_encode(out, used - 1, &message) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (fuzz_framing(decode, data, size, OBJM_V3_RESPONSE_MAX) == OBJM_DECODE_OK)
                check_round_trip(data, size);
        return 0;
}
