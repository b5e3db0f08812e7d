/* SPDX-License-Identifier: MIT */
#include "client/wire.h"

#include "protocol/v3.h"

static size_t request_size(size_t uri_len)
{
        return OBJM_V3_REQUEST_HEADER + uri_len;
}

/* The server picks where it can do more than pass descriptors. */
static uint8_t mode(const struct objm_slot *s, uint64_t capabilities, bool remote)
{
        uint8_t fd = remote ? OBJM_MODE_NONE : OBJM_MODE_FD;

        if (s->op != OBJM_V3_OP_GET)
                return OBJM_MODE_FD; /* not that it matters */
        if (s->mode == OBJM_MODE_AUTO)
                return capabilities & (OBJM_V3_CAP_INLINE | OBJM_V3_CAP_COPY) ? OBJM_MODE_AUTO : fd;
        if (s->mode == OBJM_MODE_FD)
                return fd;
        return capabilities & OBJM_V3_CAP_COPY ? s->mode : OBJM_MODE_NONE;
}

static size_t encode(void *buf, size_t cap, const struct objm_slot *s, uint32_t id)
{
        struct objm_v3_request r = {
                .op = s->op,
                .mode = s->op == OBJM_V3_OP_GET ? s->asked : objm_slot_is_control(s) ? s->mode : OBJM_MODE_NONE,
                .id = id,
                .uri = (const uint8_t *)s->uri,
                .uri_len = s->uri_len,
                .if_version = s->if_version,
                .range_offset = s->range_offset,
                .range_length = s->range_length,
        };

        if (s->if_version)
                r.flags |= OBJM_V3_RQ_IF_VERSION;
        if (s->range_offset || s->range_length)
                r.flags |= OBJM_V3_RQ_RANGE;
        if (s->op == OBJM_V3_OP_STAT || objm_slot_is_control(s) || s->metadata)
                r.flags |= OBJM_V3_RQ_METADATA;
        return objm_v3_request_encode(buf, cap, &r);
}

static enum objm_decode decode(const uint8_t *buf, size_t len, const struct objm_slot *first, struct objm_reply *ret,
                               size_t *ret_used)
{
        struct objm_v3_response r;
        struct objm_reply reply;
        enum objm_decode d;
        size_t used;

        d = objm_v3_response_decode(buf, len, &r, &used);
        if (d != OBJM_DECODE_OK)
                return d;
        reply = (struct objm_reply){
                .status = r.status,
                .n_fds = r.n_fds,
                .mode = r.mode,
                .has_id = true,
                .op = r.op,
                .id = r.id,
                .has_size = true,
                .body_len = r.body_len,
                .object = {.fd = -1, .size = r.size, .version = r.version, .mtime = -1,
                           .not_modified = !!(r.flags & OBJM_V3_RS_NOT_MODIFIED)},
        };
        if (r.metadata_len && objm_wire_metadata(r.metadata, r.metadata_len, &reply) < 0)
                return OBJM_DECODE_BAD;
        *ret = reply;
        *ret_used = used;
        return OBJM_DECODE_OK;
}

const struct objm_wire objm_wire_v3 = {3, request_size, mode, encode, decode};
