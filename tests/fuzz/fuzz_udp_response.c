/* SPDX-License-Identifier: MIT */
#include "fuzz.h"
#include "protocol/udp.h"

#include <errno.h>

static void check_round_trip(const uint8_t *data, size_t size, const struct objm_udp_response *r)
{
        uint8_t out[OBJM_UDP_DATAGRAM_MAX];
        struct objm_v1_response v1 = {.status = r->status, .metadata = r->metadata, .metadata_len = r->metadata_len,
                                      .content_len = r->body_len};
        size_t len = objm_udp_response_encode(out, sizeof(out), r);

        FUZZ_CHECK(len == OBJM_UDP_HEADER);
        if (!r->bare) {
                FUZZ_CHECK(fuzz_inside(r->metadata, r->metadata_len, data, size));
                FUZZ_CHECK(fuzz_inside(r->body, r->body_len, data, size));
                len += objm_v1_response_encode(out + len, sizeof(out) - len, &v1);
                FUZZ_CHECK(len + r->body_len == size);
        }
        FUZZ_CHECK(memcmp(out, data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct objm_udp_response r = {0};
        struct objm_udp_request rq;
        int e = objm_udp_response_decode(data, size, &r);

        FUZZ_CHECK(e == 0 || e == -EBADMSG);
        if (e < 0)
                return 0;
        FUZZ_CHECK(objm_udp_request_decode(data, size, &rq) == -EBADMSG);
        check_round_trip(data, size, &r);
        return 0;
}
