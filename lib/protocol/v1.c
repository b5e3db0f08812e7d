/* SPDX-License-Identifier: MIT */
#include "protocol/v1.h"
#include "protocol/wire.h"
#include <assert.h>
#include <errno.h>

struct request_wire {
        uint8_t mode, uri_len[2];
};

struct response_wire {
        uint8_t status, content_len[8], metadata_len[2];
};

struct entry_wire {
        uint8_t type, len[2];
};

static_assert(sizeof(struct request_wire) == OBJM_V1_REQUEST_HEADER, "request header");
static_assert(offsetof(struct request_wire, uri_len) == 1, "uri_len");
static_assert(sizeof(struct response_wire) == OBJM_V1_RESPONSE_HEADER, "response header");
static_assert(offsetof(struct response_wire, content_len) == 1, "content_len");
static_assert(offsetof(struct response_wire, metadata_len) == 9, "metadata_len");
static_assert(sizeof(struct entry_wire) == 3, "metadata entry");
static_assert(OBJM_URI_MAX <= UINT16_MAX && OBJM_METADATA_MAX <= UINT16_MAX, "lengths fit their fields");

static enum objm_decode need(size_t bytes, size_t *ret_used)
{
        *ret_used = bytes;
        return OBJM_DECODE_MORE;
}

static enum objm_decode refuse(struct objm_v1_request *ret, uint8_t mode, uint8_t status)
{
        *ret = (struct objm_v1_request){.mode = mode, .status = status};
        return OBJM_DECODE_BAD;
}

static int mode_is_known(uint8_t mode)
{
        return mode == OBJM_MODE_FD || mode == OBJM_MODE_COPY || mode == OBJM_MODE_SPLICE;
}

enum objm_decode objm_v1_request_decode(const void *buf, size_t len, struct objm_v1_request *ret, size_t *ret_used)
{
        const struct request_wire *w = buf;
        size_t uri_len;

        if (len >= 1 && !mode_is_known(w->mode))
                return refuse(ret, w->mode, OBJM_STATUS_INVALID_MODE);
        if (len < sizeof(*w))
                return need(sizeof(*w), ret_used);
        uri_len = objm_wire_get_u16(w->uri_len);
        if (uri_len > OBJM_URI_MAX)
                return refuse(ret, w->mode, OBJM_STATUS_URI_TOO_LONG);
        if (len < sizeof(*w) + uri_len)
                return need(sizeof(*w) + uri_len, ret_used);
        *ret = (struct objm_v1_request){
                .mode = w->mode,
                .status = uri_len > 0 ? OBJM_STATUS_OK : OBJM_STATUS_INVALID_REQUEST,
                .uri_len = (uint16_t)uri_len,
                .uri = (const uint8_t *)buf + sizeof(*w),
        };
        *ret_used = sizeof(*w) + uri_len;
        return OBJM_DECODE_OK;
}

size_t objm_v1_request_encode(void *buf, size_t cap, uint8_t mode, const void *uri, size_t uri_len)
{
        struct request_wire *w = buf;

        if (uri_len < 1 || uri_len > OBJM_URI_MAX || cap < sizeof(*w) + uri_len)
                return 0;
        w->mode = mode;
        objm_wire_put_u16(w->uri_len, (uint16_t)uri_len);
        memcpy(w + 1, uri, uri_len);
        return sizeof(*w) + uri_len;
}

enum objm_decode objm_v1_response_decode(const void *buf, size_t len, struct objm_v1_response *ret, size_t *ret_used)
{
        const struct response_wire *w = buf;
        size_t metadata_len;

        if (len < sizeof(*w))
                return need(sizeof(*w), ret_used);
        metadata_len = objm_wire_get_u16(w->metadata_len);
        if (metadata_len > OBJM_METADATA_MAX)
                return OBJM_DECODE_BAD;
        if (len < sizeof(*w) + metadata_len)
                return need(sizeof(*w) + metadata_len, ret_used);
        *ret = (struct objm_v1_response){
                .status = w->status,
                .metadata_len = (uint16_t)metadata_len,
                .content_len = objm_wire_get_u64(w->content_len),
                .metadata = (const uint8_t *)buf + sizeof(*w),
        };
        *ret_used = sizeof(*w) + metadata_len;
        return OBJM_DECODE_OK;
}

size_t objm_v1_response_encode(void *buf, size_t cap, const struct objm_v1_response *r)
{
        struct response_wire *w = buf;

        if (r->metadata_len > OBJM_METADATA_MAX || cap < sizeof(*w) + r->metadata_len)
                return 0;
        w->status = r->status;
        objm_wire_put_u64(w->content_len, r->content_len);
        objm_wire_put_u16(w->metadata_len, r->metadata_len);
        objm_wire_put_bytes((uint8_t *)(w + 1), r->metadata, r->metadata_len);
        return sizeof(*w) + r->metadata_len;
}

size_t objm_v1_metadata_put(void *buf, size_t cap, size_t at, uint8_t type, const void *data, size_t len)
{
        struct entry_wire *w;

        if (len > UINT16_MAX || at > cap || cap - at < sizeof(*w) + len)
                return 0;
        w = (struct entry_wire *)((uint8_t *)buf + at);
        w->type = type;
        objm_wire_put_u16(w->len, (uint16_t)len);
        objm_wire_put_bytes((uint8_t *)(w + 1), data, len);
        return at + sizeof(*w) + len;
}

size_t objm_v1_metadata_put_u64(void *buf, size_t cap, size_t at, uint8_t type, uint64_t value)
{
        uint8_t data[8];

        objm_wire_put_u64(data, value);
        return objm_v1_metadata_put(buf, cap, at, type, data, sizeof(data));
}

int objm_v1_metadata_next(const void *metadata, size_t len, size_t *at, uint8_t *ret_type, const uint8_t **ret_data,
                          size_t *ret_len)
{
        const struct entry_wire *w;
        size_t data_len;

        if (*at == len)
                return 0;
        if (*at > len || len - *at < sizeof(*w))
                return -EBADMSG;
        w = (const struct entry_wire *)((const uint8_t *)metadata + *at);
        data_len = objm_wire_get_u16(w->len);
        if (len - *at - sizeof(*w) < data_len)
                return -EBADMSG;
        *ret_type = w->type;
        *ret_data = (const uint8_t *)(w + 1);
        *ret_len = data_len;
        *at += sizeof(*w) + data_len;
        return 1;
}

int objm_v1_metadata_number(const uint8_t *data, size_t len, uint64_t *ret)
{
        switch (len) {
        case 1:
                *ret = data[0];
                return 0;
        case 4:
                *ret = objm_wire_get_u32(data);
                return 0;
        case 8:
                *ret = objm_wire_get_u64(data);
                return 0;
        default:
                return -EBADMSG;
        }
}
