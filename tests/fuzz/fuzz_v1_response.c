/* SPDX-License-Identifier: MIT */
#include "fuzz.h"
#include "protocol/v1.h"
#include <errno.h>

static struct objm_v1_response message;

static enum objm_decode decode(const void *buf, size_t len, size_t *ret_used)
{
        return objm_v1_response_decode(buf, len, &message, ret_used);
}

/* Walks the entries, writes each again, and compares what was written with what was read. */
static void check_metadata(const uint8_t *metadata, size_t len)
{
        uint8_t out[OBJM_METADATA_MAX], type;
        const uint8_t *data;
        size_t at = 0, end = 0, data_len;
        uint64_t number;
        int r;

        while ((r = objm_v1_metadata_next(metadata, len, &at, &type, &data, &data_len)) > 0) {
                FUZZ_CHECK(fuzz_inside(data, data_len, metadata, len));
                r = objm_v1_metadata_number(data, data_len, &number);
                FUZZ_CHECK(r == (data_len == 1 || data_len == 4 || data_len == 8 ? 0 : -EBADMSG));
                end = objm_v1_metadata_put(out, sizeof(out), end, type, data, data_len);
                FUZZ_CHECK(end == at);
        }
        FUZZ_CHECK(r == 0 || r == -EBADMSG);
        FUZZ_CHECK(r != 0 || at == len);
        FUZZ_CHECK(memcmp(out, metadata, end) == 0);
}

static void check_round_trip(const uint8_t *data, size_t size)
{
        uint8_t out[OBJM_V1_RESPONSE_MAX];
        size_t used;

        decode(data, size, &used);
        FUZZ_CHECK(fuzz_inside(message.metadata, message.metadata_len, data, used));
        FUZZ_CHECK(objm_v1_response_encode(out, sizeof(out), &message) == used);
        FUZZ_CHECK(memcmp(out, data, used) == 0);
        FUZZ_CHECK(objm_v1_response_encode(out, used - 1, &message) == 0);
        check_metadata(message.metadata, message.metadata_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (fuzz_framing(decode, data, size, OBJM_V1_RESPONSE_MAX) == OBJM_DECODE_OK)
                check_round_trip(data, size);
        return 0;
}
