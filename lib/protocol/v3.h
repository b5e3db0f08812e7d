/* SPDX-License-Identifier: MIT */
#ifndef OBJM_PROTOCOL_V3_H
#define OBJM_PROTOCOL_V3_H
/*
 * Version 3. Big-endian, fixed-size headers. This is the one place where the layout is written down; the numbers
 * below are offsets in bytes, and man/objmapper-protocol.7 and the golden vectors repeat them.
 *
 *      hello         0 "OBJM" | 4 version u8 = 3 | 5 0 u8 | 6 length u16 = 32 | 8 capabilities u64 |
 *                    16 in_flight u32 | 20 inline_limit u32 | 24 0 u64                                          (32)
 *      hello reply   0 "OBJM" | 4 version u8 = 3 | 5 status u8 | 6 length u16 = 48 | 8 capabilities u64 |
 *                    16 instance 16 bytes | 32 in_flight u32 | 36 uri_max u16 | 38 fds_max u16 |
 *                    40 inline_limit u32 | 44 0 u32                                                             (48)
 *      request       0 op u8 | 1 mode u8 | 2 flags u16 | 4 id u32 | 8 uri_len u16 | 10 extra_len u16 |
 *                    12 inline_limit u32 | 16 range_offset u64 | 24 range_length u64 | 32 if_version u64        (40)
 *                    then uri_len bytes of URI, then extra_len bytes whose meaning is the operation's
 *      response      0 status u8 | 1 op u8 | 2 mode u8 | 3 n_fds u8 | 4 id u32 | 8 flags u16 |
 *                    10 metadata_len u16 | 12 0 u32 | 16 size u64 | 24 version u64 | 32 body_len u64            (40)
 *                    then metadata_len bytes of metadata (entries as in version 1), then body_len bytes
 *
 * hello: a longer hello (up to OBJM_V3_HELLO_MAX) is taken and what is behind the known fields ignored; unknown
 * capability bits are ignored; reserved fields are sent as 0 and not looked at. A field of 0 in in_flight or
 * inline_limit asks for the server's default. The reply has what is granted.
 *
 * Replies come in any order; `id` is the client's and comes back unchanged. n_fds descriptors of those that have
 * arrived on the socket, in order, belong to a response. The kernel merges and splits messages: match descriptors to
 * responses by counting, never by what one recvmsg(2) returned.
 *
 * Decoders look only at the bytes given, keep no state, allocate nothing; pointers they return point into the input.
 */
#include "protocol/status.h"
#include <stddef.h>
#include <stdint.h>

#define OBJM_V3_MAGIC           "OBJM"
#define OBJM_V3_VERSION         3
#define OBJM_V3_HELLO           32
#define OBJM_V3_HELLO_MAX       256
#define OBJM_V3_HELLO_REPLY     48
#define OBJM_V3_REQUEST_HEADER  40
#define OBJM_V3_RESPONSE_HEADER 40
#define OBJM_V3_EXTRA_MAX       1024
#define OBJM_V3_REQUEST_MAX     (OBJM_V3_REQUEST_HEADER + OBJM_URI_MAX + OBJM_V3_EXTRA_MAX)
#define OBJM_V3_RESPONSE_MAX    (OBJM_V3_RESPONSE_HEADER + OBJM_METADATA_MAX) /* without the body */
#define OBJM_V3_INSTANCE        16
#define OBJM_V3_FDS_MAX         253   /* SCM_MAX_FD of the kernel (include/net/scm.h) */
#define OBJM_V3_INLINE_DEFAULT  16384

enum objm_v3_capability {
        OBJM_V3_CAP_FD_BATCH = 1 << 0, /* one message may carry many replies and up to fds_max descriptors */
        OBJM_V3_CAP_INLINE = 1 << 1,   /* GET auto may answer with the bytes */
        OBJM_V3_CAP_COPY = 1 << 2,     /* GET copy and splice */
        OBJM_V3_CAP_RING = 1 << 3,     /* RING_ATTACH */
};

enum objm_v3_op {
        OBJM_V3_OP_GET = 1,
        OBJM_V3_OP_STAT = 2,
        OBJM_V3_OP_PING = 3,
        OBJM_V3_OP_RING_ATTACH = 4,   /* extra bytes and body: protocol/ring.h */
        OBJM_V3_OP_RING_DOORBELL = 5, /* in responses only, unasked: look at the ring */
        /* 16.. content and names: PUT, COMMIT, DELETE, LIST, WATCH */
        /* 64.. control, for administrators; without URI or extra; STATS has a mode */
        OBJM_V3_OP_STATS = 64,  /* the body is text; the mode says of which form */
        OBJM_V3_OP_RELOAD = 65, /* answered when it is done; of one that failed the metadata say why */
        OBJM_V3_OP_DRAIN = 66,  /* answered when it begins */
};

/* The mode of STATS. Of others than these, the first is meant. */
enum objm_v3_stats {
        OBJM_V3_STATS_JSON = 0,
        OBJM_V3_STATS_CLIENTS = 'c', /* JSON, with each connection */
        OBJM_V3_STATS_TEXT = 'm',    /* OpenMetrics */
        OBJM_V3_STATS_TEXT_CLIENTS = 'M',
};

enum objm_v3_request_flag {
        OBJM_V3_RQ_RANGE = 1 << 0,      /* range_offset and range_length hold; for bodies only */
        OBJM_V3_RQ_IF_VERSION = 1 << 1, /* no descriptor, no body when the object's version equals if_version */
        OBJM_V3_RQ_METADATA = 1 << 2,   /* send metadata: mtime and ETag, or why it was refused */
};

enum objm_v3_response_flag {
        OBJM_V3_RS_NOT_MODIFIED = 1 << 0, /* the object's version is if_version */
};

struct objm_v3_hello {
        uint8_t version; /* as asked; the server answers with its own highest that is not above it */
        uint8_t status;  /* not on the wire. BAD: answer with this */
        uint64_t capabilities;
        uint32_t in_flight, inline_limit;
};

struct objm_v3_hello_reply {
        uint8_t version, status;
        uint16_t uri_max, fds_max;
        uint32_t in_flight, inline_limit;
        uint64_t capabilities;
        uint8_t instance[OBJM_V3_INSTANCE]; /* changes at each start of the server */
};

struct objm_v3_request {
        uint8_t op, mode;
        uint8_t status; /* not on the wire. Not OK: whole but refused; answer with this */
        uint16_t flags, uri_len, extra_len;
        uint32_t id, inline_limit;
        uint64_t range_offset, range_length, if_version;
        const uint8_t *uri, *extra;
};

struct objm_v3_response {
        uint8_t status, op, mode, n_fds;
        uint16_t flags, metadata_len;
        uint32_t id;
        uint64_t size, version, body_len;
        const uint8_t *metadata;
};

/*
 * Decode what stands at the start of @buf. OK: *ret is set and *ret_used bytes belong to it. MORE: *ret_used is the
 * number of bytes needed for the next look (more than @len). BAD: ret->status of a hello or request says why; close
 * after answering.
 */

/* BAD: wrong magic (20), version below 3 (21), length not OBJM_V3_HELLO..OBJM_V3_HELLO_MAX (20). */
enum objm_decode objm_v3_hello_decode(const void *buf, size_t len, struct objm_v3_hello *ret, size_t *ret_used);
/* BAD: wrong magic, or a length that is not OBJM_V3_HELLO_REPLY..OBJM_V3_HELLO_MAX. */
enum objm_decode objm_v3_hello_reply_decode(const void *buf, size_t len, struct objm_v3_hello_reply *ret,
                                            size_t *ret_used);
/*
 * BAD: URI over OBJM_URI_MAX (04), extra over OBJM_V3_EXTRA_MAX (02); ret->op and ret->id are set, so that the refusal
 * can name them. OK with a refusal in ret->status: unknown operation (05); GET or STAT without URI (02); GET with a
 * mode other than fd, copy, splice, auto (03).
 */
enum objm_decode objm_v3_request_decode(const void *buf, size_t len, struct objm_v3_request *ret, size_t *ret_used);
/* Header and metadata; the body follows. BAD: metadata over OBJM_METADATA_MAX, n_fds over OBJM_V3_FDS_MAX. */
enum objm_decode objm_v3_response_decode(const void *buf, size_t len, struct objm_v3_response *ret, size_t *ret_used);

/* Encode; return the length written, or 0 when it does not fit in @cap or a length is out of its range. */
size_t objm_v3_hello_encode(void *buf, size_t cap, const struct objm_v3_hello *h);
size_t objm_v3_hello_reply_encode(void *buf, size_t cap, const struct objm_v3_hello_reply *h);
size_t objm_v3_request_encode(void *buf, size_t cap, const struct objm_v3_request *r);
size_t objm_v3_response_encode(void *buf, size_t cap, const struct objm_v3_response *r);

#endif
