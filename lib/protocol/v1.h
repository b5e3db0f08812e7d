/* SPDX-License-Identifier: MIT */
#ifndef OBJM_PROTOCOL_V1_H
#define OBJM_PROTOCOL_V1_H
/*
 * Version 1: what existing objmapper clients speak. Big-endian, byte for byte:
 *
 *      request    mode u8 | uri_len u16 | uri
 *      response   status u8 | content_len u64 | metadata_len u16 | metadata
 *
 * A granted descriptor follows the response as one byte 0x58 in a message of its own that carries SCM_RIGHTS: these
 * clients read() the response, and a descriptor on it would be lost.
 *
 * Decoders look only at the bytes given, keep no state, allocate nothing; pointers they return point into the input.
 */
#include "protocol/status.h"
#include <stddef.h>
#include <stdint.h>

#define OBJM_V1_REQUEST_HEADER  3
#define OBJM_V1_RESPONSE_HEADER 11
#define OBJM_V1_REQUEST_MAX     (OBJM_V1_REQUEST_HEADER + OBJM_URI_MAX)
#define OBJM_V1_RESPONSE_MAX    (OBJM_V1_RESPONSE_HEADER + OBJM_METADATA_MAX)
#define OBJM_V1_FD_BYTE         0x58

struct objm_v1_request {
        uint8_t mode;      /* as sent */
        uint8_t status;    /* not OK: answer with this, do not serve */
        uint16_t uri_len;
        const uint8_t *uri;
};

enum objm_v1_metadata_type {
        OBJM_V1_META_SIZE = 0x01,    /* u64, bytes */
        OBJM_V1_META_MTIME = 0x02,   /* u64, seconds since 1970 */
        OBJM_V1_META_ETAG = 0x03,    /* text */
        OBJM_V1_META_MIME = 0x04,    /* text */
        OBJM_V1_META_BACKEND = 0x05, /* u8 */
        OBJM_V1_META_LATENCY = 0x06, /* u32, microseconds spent in the server */
        OBJM_V1_META_ERROR = 0xff,   /* text for people */
};

struct objm_v1_response {
        uint8_t status;
        uint16_t metadata_len;
        uint64_t content_len;
        const uint8_t *metadata;
};

/*
 * Decodes the request at the start of @buf. OK: *ret is set and *ret_used bytes belong to it; ret->status is not OK for
 * a request that is whole but refused (an empty URI). BAD: ret->status says why (unknown mode, URI over
 * OBJM_URI_MAX). MORE: nothing is set but *ret_used = bytes needed for the next look.
 */
enum objm_decode objm_v1_request_decode(const void *buf, size_t len, struct objm_v1_request *ret, size_t *ret_used);

/* Writes a request; returns its length, or 0 when it does not fit in @cap or @uri_len is not 1..OBJM_URI_MAX. */
size_t objm_v1_request_encode(void *buf, size_t cap, uint8_t mode, const void *uri, size_t uri_len);

/* The response's fixed part. MORE until header and metadata are there; BAD when metadata_len > OBJM_METADATA_MAX. */
enum objm_decode objm_v1_response_decode(const void *buf, size_t len, struct objm_v1_response *ret, size_t *ret_used);

/* Writes header and metadata; returns the length, or 0 when it does not fit or the metadata is too long. */
size_t objm_v1_response_encode(void *buf, size_t cap, const struct objm_v1_response *r);

/* Append one metadata entry at @buf + @at; return the new end, or 0 when it does not fit in @cap. */
size_t objm_v1_metadata_put(void *buf, size_t cap, size_t at, uint8_t type, const void *data, size_t len);
size_t objm_v1_metadata_put_u64(void *buf, size_t cap, size_t at, uint8_t type, uint64_t value);

/*
 * Iterates: sets *ret_type, *ret_data, *ret_len from the entry at *@at and moves *@at behind it. 1: an entry; 0: the
 * end; -EBADMSG: an entry runs over the end.
 */
int objm_v1_metadata_next(const void *metadata, size_t len, size_t *at, uint8_t *ret_type, const uint8_t **ret_data,
                          size_t *ret_len);

/* Reads a big-endian number of 1, 4 or 8 bytes out of an entry. 0, or -EBADMSG for another length. */
int objm_v1_metadata_number(const uint8_t *data, size_t len, uint64_t *ret);

#endif
