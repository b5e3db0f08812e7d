/* SPDX-License-Identifier: MIT */
#include "client/wire.h"

#include "protocol/v1.h"
#include "protocol/v3.h"

static size_t request_size(size_t uri_len)
{
        return OBJM_V1_REQUEST_HEADER + uri_len;
}

/* There are no ranges; a caller that wants less than all leaves the rest. */
static uint8_t mode(const struct objm_slot *s, uint64_t capabilities, bool remote)
{
        if (objm_slot_is_control(s))
                return OBJM_MODE_FD; /* not that it matters */
        if (s->mode == OBJM_MODE_FD || (s->mode == OBJM_MODE_AUTO && !remote))
                return remote ? OBJM_MODE_NONE : OBJM_MODE_FD;
        if (s->range_offset)
                return OBJM_MODE_NONE;
        return s->mode == OBJM_MODE_AUTO ? OBJM_MODE_COPY : s->mode;
}

/* Version 1 has nothing but GET: stat asks for the descriptor as well, and nothing else exists. */
static size_t encode(void *buf, size_t cap, const struct objm_slot *s, uint32_t id)
{
        if (s->op != OBJM_V3_OP_GET && s->op != OBJM_V3_OP_STAT)
                return 0;
        return objm_v1_request_encode(buf, cap, s->asked, s->uri, s->uri_len);
}

/* A granted descriptor comes with one more byte, in a message of its own; with that byte the reply is whole. */
static enum objm_decode take_fd_byte(const uint8_t *buf, size_t len, struct objm_reply *reply, size_t *used)
{
        if (*used == len)
                return OBJM_DECODE_MORE;
        if (buf[(*used)++] != OBJM_V1_FD_BYTE)
                return OBJM_DECODE_BAD;
        reply->n_fds = 1;
        return OBJM_DECODE_OK;
}

static void take_body(const struct objm_v1_response *r, struct objm_reply *reply)
{
        reply->body_len = r->content_len;
        reply->object.size = r->content_len;
        reply->has_size = true;
}

static enum objm_decode decode(const uint8_t *buf, size_t len, const struct objm_slot *first, struct objm_reply *ret,
                               size_t *ret_used)
{
        bool body = first && first->asked != OBJM_MODE_FD;
        struct objm_reply reply = {.object = {.fd = -1, .mtime = -1}};
        struct objm_v1_response r;
        enum objm_decode d;
        size_t used;

        d = objm_v1_response_decode(buf, len, &r, &used);
        if (d != OBJM_DECODE_OK)
                return d;
        if ((r.content_len && (!body || r.status != OBJM_STATUS_OK)) ||
            objm_wire_metadata(r.metadata, r.metadata_len, &reply) < 0)
                return OBJM_DECODE_BAD;
        if (r.status == OBJM_STATUS_OK && body)
                take_body(&r, &reply);
        else if (r.status == OBJM_STATUS_OK)
                d = take_fd_byte(buf, len, &reply, &used);
        if (d != OBJM_DECODE_OK)
                return d;
        reply.status = r.status;
        *ret = reply;
        *ret_used = used;
        return OBJM_DECODE_OK;
}

const struct objm_wire objm_wire_v1 = {1, request_size, mode, encode, decode};
