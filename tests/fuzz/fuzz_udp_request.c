/* SPDX-License-Identifier: MIT */
#include "fuzz.h"
#include "protocol/udp.h"
#include "protocol/v3.h"

#include <errno.h>

/* What was decoded, encoded again with as much padding, is the same but for reserved bits and the padding's content. */
static void check_round_trip(const uint8_t *data, size_t size, const struct objm_udp_request *r)
{
        uint8_t out[OBJM_UDP_DATAGRAM_MAX];
        size_t whole = OBJM_UDP_HEADER;

        if (r->op != OBJM_V3_OP_PING)
                whole += OBJM_V1_REQUEST_HEADER + r->uri_len;
        FUZZ_CHECK(whole <= size);
        FUZZ_CHECK(objm_udp_request_encode(out, sizeof(out), r, size) == size);
        FUZZ_CHECK(memcmp(out, data, 6) == 0);
        FUZZ_CHECK(memcmp(out + 8, data + 8, whole - 8) == 0);
        FUZZ_CHECK(objm_udp_request_encode(out, size - 1, r, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct objm_udp_request r = {0};
        struct objm_udp_response rs;
        int e = objm_udp_request_decode(data, size, &r);

        FUZZ_CHECK(e == 0 || e == -EBADMSG);
        if (e < 0)
                return 0;
        FUZZ_CHECK(size >= OBJM_UDP_HEADER && size <= OBJM_UDP_DATAGRAM_MAX);
        FUZZ_CHECK(objm_udp_response_decode(data, size, &rs) == -EBADMSG);
        if (r.uri)
                FUZZ_CHECK(fuzz_inside(r.uri, r.uri_len, data, size));
        if (r.status == OBJM_STATUS_OK)
                check_round_trip(data, size, &r);
        return 0;
}
