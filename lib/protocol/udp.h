/* SPDX-License-Identifier: MIT */
#ifndef OBJM_PROTOCOL_UDP_H
#define OBJM_PROTOCOL_UDP_H
/*
 * Datagrams: one request each, one reply each, neither longer than OBJM_UDP_DATAGRAM_MAX, so that no path has to split
 * them. Big-endian; offsets in bytes:
 *
 *      request       0 "OBJQ" | 4 version u8 = 1 | 5 op u8 | 6 0 u16 | 8 id u32 | 12 cookie u64                   (20)
 *                    then, of GET and STAT, a request of version 1; then padding, whose content does not matter
 *      response      0 "OBJA" | 4 version u8 = 1 | 5 status u8 | 6 flags u16 | 8 id u32 | 12 cookie u64           (20)
 *                    then nothing (bare), or a response of version 1 and its content_len bytes, to the datagram's end
 *
 * The magics differ, so that no reply is ever taken for a request. The cookie of a request is 0 or that of an earlier
 * response to the same address and port. Without a good cookie the response is no longer than the request was: what
 * does not fit becomes bare, which no request is too short for, with OBJM_STATUS_CAPABILITY if there was more to say
 * than the status.
 *
 * Decoders look only at the bytes given, keep no state, allocate nothing; pointers they return point into the input.
 */
#include "protocol/v1.h"
#include <stdbool.h>

#define OBJM_UDP_REQUEST_MAGIC  "OBJQ"
#define OBJM_UDP_RESPONSE_MAGIC "OBJA"
#define OBJM_UDP_MAGIC          4
#define OBJM_UDP_VERSION        1
#define OBJM_UDP_HEADER         20 /* of either */
#define OBJM_UDP_DATAGRAM_MAX   1200

enum objm_udp_flag {
        OBJM_UDP_STREAM = 1 << 0, /* with status 05: too large for a datagram, ask over a stream */
};

struct objm_udp_request {
        uint8_t op;     /* enum objm_v3_op: GET, STAT, PING */
        uint8_t mode;   /* of version 1's request */
        uint8_t status; /* not on the wire. Not OK: whole but refused; answer with this */
        uint16_t uri_len;
        uint32_t id;
        uint64_t cookie; /* 0: none */
        const uint8_t *uri;
};

struct objm_udp_response {
        uint8_t status;
        bool bare; /* nothing follows the header */
        uint16_t flags, metadata_len, body_len;
        uint32_t id;
        uint64_t cookie; /* for the receiver's next requests */
        const uint8_t *metadata, *body;
};

/*
 * Decode a whole datagram. 0, or -EBADMSG: it is none of ours, to be dropped without a word. Refusals in a request's
 * status: another version (21, nothing but the id is set), an unknown operation (05), an unknown mode (03), an empty
 * URI (02).
 */
int objm_udp_request_decode(const void *buf, size_t len, struct objm_udp_request *ret);
int objm_udp_response_decode(const void *buf, size_t len, struct objm_udp_response *ret);

/*
 * Writes a request, with zeroes up to @padded bytes if it is shorter. Its length, or 0 when it does not fit in @cap or
 * in a datagram.
 */
size_t objm_udp_request_encode(void *buf, size_t cap, const struct objm_udp_request *r, size_t padded);

/* Writes the header alone. Its length, or 0 when it does not fit in @cap. */
size_t objm_udp_response_encode(void *buf, size_t cap, const struct objm_udp_response *r);

#endif
