/* SPDX-License-Identifier: MIT */
#include "protocol/v3.h"
#include "protocol/wire.h"
#include <assert.h>
#include <stdbool.h>

/* The layout of v3.h as structures of bytes, which have no padding and no alignment. */

struct preamble_wire {
        uint8_t magic[4], version, status, length[2];
};

struct hello_wire {
        struct preamble_wire pre;
        uint8_t capabilities[8], in_flight[4], inline_limit[4], reserved[8];
};

struct hello_reply_wire {
        struct preamble_wire pre;
        uint8_t capabilities[8], instance[OBJM_V3_INSTANCE], in_flight[4], uri_max[2], fds_max[2], inline_limit[4],
                reserved[4];
};

struct request_wire {
        uint8_t op, mode, flags[2], id[4], uri_len[2], extra_len[2], inline_limit[4], range_offset[8], range_length[8],
                if_version[8];
};

struct response_wire {
        uint8_t status, op, mode, n_fds, id[4], flags[2], metadata_len[2], reserved[4], size[8], version[8],
                body_len[8];
};

#define ASSERT_AT(type, field, at) static_assert(offsetof(struct type, field) == (at), #type " " #field)

static_assert(sizeof(struct preamble_wire) == 8, "preamble");
ASSERT_AT(preamble_wire, version, 4);
ASSERT_AT(preamble_wire, status, 5);
ASSERT_AT(preamble_wire, length, 6);

static_assert(sizeof(struct hello_wire) == OBJM_V3_HELLO, "hello");
ASSERT_AT(hello_wire, capabilities, 8);
ASSERT_AT(hello_wire, in_flight, 16);
ASSERT_AT(hello_wire, inline_limit, 20);
ASSERT_AT(hello_wire, reserved, 24);

static_assert(sizeof(struct hello_reply_wire) == OBJM_V3_HELLO_REPLY, "hello reply");
ASSERT_AT(hello_reply_wire, capabilities, 8);
ASSERT_AT(hello_reply_wire, instance, 16);
ASSERT_AT(hello_reply_wire, in_flight, 32);
ASSERT_AT(hello_reply_wire, uri_max, 36);
ASSERT_AT(hello_reply_wire, fds_max, 38);
ASSERT_AT(hello_reply_wire, inline_limit, 40);
ASSERT_AT(hello_reply_wire, reserved, 44);

static_assert(sizeof(struct request_wire) == OBJM_V3_REQUEST_HEADER, "request header");
ASSERT_AT(request_wire, mode, 1);
ASSERT_AT(request_wire, flags, 2);
ASSERT_AT(request_wire, id, 4);
ASSERT_AT(request_wire, uri_len, 8);
ASSERT_AT(request_wire, extra_len, 10);
ASSERT_AT(request_wire, inline_limit, 12);
ASSERT_AT(request_wire, range_offset, 16);
ASSERT_AT(request_wire, range_length, 24);
ASSERT_AT(request_wire, if_version, 32);

static_assert(sizeof(struct response_wire) == OBJM_V3_RESPONSE_HEADER, "response header");
ASSERT_AT(response_wire, op, 1);
ASSERT_AT(response_wire, mode, 2);
ASSERT_AT(response_wire, n_fds, 3);
ASSERT_AT(response_wire, id, 4);
ASSERT_AT(response_wire, flags, 8);
ASSERT_AT(response_wire, metadata_len, 10);
ASSERT_AT(response_wire, reserved, 12);
ASSERT_AT(response_wire, size, 16);
ASSERT_AT(response_wire, version, 24);
ASSERT_AT(response_wire, body_len, 32);

static enum objm_decode need(size_t bytes, size_t *ret_used)
{
        *ret_used = bytes;
        return OBJM_DECODE_MORE;
}

/* A wrong magic shows at its first wrong byte, so that a peer of another protocol is not waited for. */
static bool magic_fits(const void *buf, size_t len)
{
        return memcmp(buf, OBJM_V3_MAGIC, len < 4 ? len : 4) == 0;
}

/* The length of a hello or hello reply, or 0 when it is not in @min..OBJM_V3_HELLO_MAX. */
static size_t preamble_length(const struct preamble_wire *w, size_t min)
{
        size_t length = objm_wire_get_u16(w->length);

        return length >= min && length <= OBJM_V3_HELLO_MAX ? length : 0;
}

static void preamble_put(struct preamble_wire *w, uint8_t version, uint8_t status, uint16_t length)
{
        memcpy(w->magic, OBJM_V3_MAGIC, sizeof(w->magic));
        w->version = version;
        w->status = status;
        objm_wire_put_u16(w->length, length);
}

static enum objm_decode hello_refuse(struct objm_v3_hello *ret, uint8_t version, uint8_t status)
{
        *ret = (struct objm_v3_hello){.version = version, .status = status};
        return OBJM_DECODE_BAD;
}

enum objm_decode objm_v3_hello_decode(const void *buf, size_t len, struct objm_v3_hello *ret, size_t *ret_used)
{
        const struct hello_wire *w = buf;
        size_t length;

        if (len > 0 && !magic_fits(buf, len))
                return hello_refuse(ret, 0, OBJM_STATUS_PROTOCOL);
        if (len < sizeof(w->pre))
                return need(sizeof(w->pre), ret_used);
        if (w->pre.version < OBJM_V3_VERSION)
                return hello_refuse(ret, w->pre.version, OBJM_STATUS_VERSION);
        length = preamble_length(&w->pre, OBJM_V3_HELLO);
        if (length == 0)
                return hello_refuse(ret, w->pre.version, OBJM_STATUS_PROTOCOL);
        if (len < length)
                return need(length, ret_used);
        *ret = (struct objm_v3_hello){
                .version = w->pre.version,
                .capabilities = objm_wire_get_u64(w->capabilities),
                .in_flight = objm_wire_get_u32(w->in_flight),
                .inline_limit = objm_wire_get_u32(w->inline_limit),
        };
        *ret_used = length;
        return OBJM_DECODE_OK;
}

size_t objm_v3_hello_encode(void *buf, size_t cap, const struct objm_v3_hello *h)
{
        struct hello_wire *w = buf;

        if (cap < sizeof(*w))
                return 0;
        preamble_put(&w->pre, h->version, 0, sizeof(*w));
        objm_wire_put_u64(w->capabilities, h->capabilities);
        objm_wire_put_u32(w->in_flight, h->in_flight);
        objm_wire_put_u32(w->inline_limit, h->inline_limit);
        memset(w->reserved, 0, sizeof(w->reserved));
        return sizeof(*w);
}

static void hello_reply_get(const struct hello_reply_wire *w, struct objm_v3_hello_reply *ret)
{
        *ret = (struct objm_v3_hello_reply){
                .version = w->pre.version,
                .status = w->pre.status,
                .uri_max = objm_wire_get_u16(w->uri_max),
                .fds_max = objm_wire_get_u16(w->fds_max),
                .in_flight = objm_wire_get_u32(w->in_flight),
                .inline_limit = objm_wire_get_u32(w->inline_limit),
                .capabilities = objm_wire_get_u64(w->capabilities),
        };
        memcpy(ret->instance, w->instance, sizeof(ret->instance));
}

enum objm_decode objm_v3_hello_reply_decode(const void *buf, size_t len, struct objm_v3_hello_reply *ret,
                                            size_t *ret_used)
{
        const struct hello_reply_wire *w = buf;
        size_t length;

        if (len > 0 && !magic_fits(buf, len))
                return OBJM_DECODE_BAD;
        if (len < sizeof(w->pre))
                return need(sizeof(w->pre), ret_used);
        length = preamble_length(&w->pre, OBJM_V3_HELLO_REPLY);
        if (length == 0)
                return OBJM_DECODE_BAD;
        if (len < length)
                return need(length, ret_used);
        hello_reply_get(w, ret);
        *ret_used = length;
        return OBJM_DECODE_OK;
}

size_t objm_v3_hello_reply_encode(void *buf, size_t cap, const struct objm_v3_hello_reply *h)
{
        struct hello_reply_wire *w = buf;

        if (cap < sizeof(*w))
                return 0;
        preamble_put(&w->pre, h->version, h->status, sizeof(*w));
        objm_wire_put_u64(w->capabilities, h->capabilities);
        memcpy(w->instance, h->instance, sizeof(w->instance));
        objm_wire_put_u32(w->in_flight, h->in_flight);
        objm_wire_put_u16(w->uri_max, h->uri_max);
        objm_wire_put_u16(w->fds_max, h->fds_max);
        objm_wire_put_u32(w->inline_limit, h->inline_limit);
        memset(w->reserved, 0, sizeof(w->reserved));
        return sizeof(*w);
}

static bool get_mode_is_known(uint8_t mode)
{
        return mode == OBJM_MODE_FD || mode == OBJM_MODE_COPY || mode == OBJM_MODE_SPLICE || mode == OBJM_MODE_AUTO;
}

/* What is wrong with a request that is whole. */
static uint8_t request_status(uint8_t op, uint8_t mode, size_t uri_len)
{
        switch ((enum objm_v3_op)op) {
        case OBJM_V3_OP_GET:
                if (uri_len == 0)
                        return OBJM_STATUS_INVALID_REQUEST;
                return get_mode_is_known(mode) ? OBJM_STATUS_OK : OBJM_STATUS_INVALID_MODE;
        case OBJM_V3_OP_STAT:
                return uri_len > 0 ? OBJM_STATUS_OK : OBJM_STATUS_INVALID_REQUEST;
        case OBJM_V3_OP_PING:
        case OBJM_V3_OP_RING_ATTACH:
        case OBJM_V3_OP_STATS:
        case OBJM_V3_OP_RELOAD:
        case OBJM_V3_OP_DRAIN:
                return OBJM_STATUS_OK;
        case OBJM_V3_OP_RING_DOORBELL:
                break;
        }
        return OBJM_STATUS_UNSUPPORTED;
}

static void request_get(const struct request_wire *w, struct objm_v3_request *ret)
{
        *ret = (struct objm_v3_request){
                .op = w->op,
                .mode = w->mode,
                .flags = objm_wire_get_u16(w->flags),
                .uri_len = objm_wire_get_u16(w->uri_len),
                .extra_len = objm_wire_get_u16(w->extra_len),
                .id = objm_wire_get_u32(w->id),
                .inline_limit = objm_wire_get_u32(w->inline_limit),
                .range_offset = objm_wire_get_u64(w->range_offset),
                .range_length = objm_wire_get_u64(w->range_length),
                .if_version = objm_wire_get_u64(w->if_version),
        };
        ret->status = request_status(ret->op, ret->mode, ret->uri_len);
        ret->uri = (const uint8_t *)(w + 1);
        ret->extra = ret->uri + ret->uri_len;
}

static enum objm_decode request_refuse(const struct request_wire *w, struct objm_v3_request *ret, uint8_t status)
{
        *ret = (struct objm_v3_request){
                .op = w->op,
                .mode = w->mode,
                .id = objm_wire_get_u32(w->id),
                .status = status,
        };
        return OBJM_DECODE_BAD;
}

enum objm_decode objm_v3_request_decode(const void *buf, size_t len, struct objm_v3_request *ret, size_t *ret_used)
{
        const struct request_wire *w = buf;
        size_t uri_len, extra_len, total;

        if (len < sizeof(*w))
                return need(sizeof(*w), ret_used);
        uri_len = objm_wire_get_u16(w->uri_len);
        extra_len = objm_wire_get_u16(w->extra_len);
        if (uri_len > OBJM_URI_MAX)
                return request_refuse(w, ret, OBJM_STATUS_URI_TOO_LONG);
        if (extra_len > OBJM_V3_EXTRA_MAX)
                return request_refuse(w, ret, OBJM_STATUS_INVALID_REQUEST);
        total = sizeof(*w) + uri_len + extra_len;
        if (len < total)
                return need(total, ret_used);
        request_get(w, ret);
        *ret_used = total;
        return OBJM_DECODE_OK;
}

size_t objm_v3_request_encode(void *buf, size_t cap, const struct objm_v3_request *r)
{
        struct request_wire *w = buf;
        uint8_t *end;

        if (r->uri_len > OBJM_URI_MAX || r->extra_len > OBJM_V3_EXTRA_MAX)
                return 0;
        if (cap < sizeof(*w) + r->uri_len + r->extra_len)
                return 0;
        w->op = r->op;
        w->mode = r->mode;
        objm_wire_put_u16(w->flags, r->flags);
        objm_wire_put_u32(w->id, r->id);
        objm_wire_put_u16(w->uri_len, r->uri_len);
        objm_wire_put_u16(w->extra_len, r->extra_len);
        objm_wire_put_u32(w->inline_limit, r->inline_limit);
        objm_wire_put_u64(w->range_offset, r->range_offset);
        objm_wire_put_u64(w->range_length, r->range_length);
        objm_wire_put_u64(w->if_version, r->if_version);
        end = objm_wire_put_bytes((uint8_t *)(w + 1), r->uri, r->uri_len);
        end = objm_wire_put_bytes(end, r->extra, r->extra_len);
        return (size_t)(end - (uint8_t *)buf);
}

static void response_get(const struct response_wire *w, struct objm_v3_response *ret)
{
        *ret = (struct objm_v3_response){
                .status = w->status,
                .op = w->op,
                .mode = w->mode,
                .n_fds = w->n_fds,
                .flags = objm_wire_get_u16(w->flags),
                .metadata_len = objm_wire_get_u16(w->metadata_len),
                .id = objm_wire_get_u32(w->id),
                .size = objm_wire_get_u64(w->size),
                .version = objm_wire_get_u64(w->version),
                .body_len = objm_wire_get_u64(w->body_len),
                .metadata = (const uint8_t *)(w + 1),
        };
}

enum objm_decode objm_v3_response_decode(const void *buf, size_t len, struct objm_v3_response *ret, size_t *ret_used)
{
        const struct response_wire *w = buf;
        size_t metadata_len;

        if (len < sizeof(*w))
                return need(sizeof(*w), ret_used);
        metadata_len = objm_wire_get_u16(w->metadata_len);
        if (metadata_len > OBJM_METADATA_MAX || w->n_fds > OBJM_V3_FDS_MAX)
                return OBJM_DECODE_BAD;
        if (len < sizeof(*w) + metadata_len)
                return need(sizeof(*w) + metadata_len, ret_used);
        response_get(w, ret);
        *ret_used = sizeof(*w) + metadata_len;
        return OBJM_DECODE_OK;
}

size_t objm_v3_response_encode(void *buf, size_t cap, const struct objm_v3_response *r)
{
        struct response_wire *w = buf;

        if (r->metadata_len > OBJM_METADATA_MAX || r->n_fds > OBJM_V3_FDS_MAX || cap < sizeof(*w) + r->metadata_len)
                return 0;
        w->status = r->status;
        w->op = r->op;
        w->mode = r->mode;
        w->n_fds = r->n_fds;
        objm_wire_put_u32(w->id, r->id);
        objm_wire_put_u16(w->flags, r->flags);
        objm_wire_put_u16(w->metadata_len, r->metadata_len);
        memset(w->reserved, 0, sizeof(w->reserved));
        objm_wire_put_u64(w->size, r->size);
        objm_wire_put_u64(w->version, r->version);
        objm_wire_put_u64(w->body_len, r->body_len);
        objm_wire_put_bytes((uint8_t *)(w + 1), r->metadata, r->metadata_len);
        return sizeof(*w) + r->metadata_len;
}
