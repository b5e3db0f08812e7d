/* SPDX-License-Identifier: MIT */
#include "objmapperd/dialect.h"

#include "protocol/v3.h"


static enum objm_decode next(const uint8_t *buf, size_t len, struct request *ret, size_t *ret_used)
{
        struct objm_v3_request rq;
        enum objm_decode d = objm_v3_request_decode(buf, len, &rq, ret_used);

        if (d == OBJM_DECODE_MORE)
                return d;
        *ret = (struct request){
                .op = rq.op, .mode = rq.mode, .status = rq.status, .id = rq.id,
                .uri = rq.uri, .uri_len = rq.uri_len, .if_version = rq.if_version,
                .conditional = rq.flags & OBJM_V3_RQ_IF_VERSION,
                .want_metadata = rq.flags & OBJM_V3_RQ_METADATA,
                .range_offset = rq.flags & OBJM_V3_RQ_RANGE ? rq.range_offset : 0,
                .range_length = rq.flags & OBJM_V3_RQ_RANGE ? rq.range_length : 0,
                .inline_limit = rq.inline_limit, .extra = rq.extra, .extra_len = rq.extra_len,
        };
        return d;
}

static size_t put_metadata(uint8_t *meta, size_t cap, const struct reply *r)
{
        return r->info.version ? dialect_put_times(meta, cap, 0, &r->info) : 0;
}

/* A text of its own length, in place of the few words that the others have: its array is not for their path. */
static __attribute__((noinline)) size_t encode_text(uint8_t *buf, size_t cap, struct objm_v3_response *rs,
                                                    const struct reply *r)
{
        uint8_t meta[OBJM_METADATA_MAX];
        size_t room = cap - OBJM_V3_RESPONSE_HEADER;

        rs->metadata = meta;
        rs->metadata_len = (uint16_t)dialect_put_text(meta, room < sizeof(meta) ? room : sizeof(meta), r);
        return objm_v3_response_encode(buf, cap, rs);
}

static size_t encode(uint8_t *buf, size_t cap, const struct reply *r)
{
        uint8_t meta[DIALECT_REPLY_MAX - OBJM_V3_RESPONSE_HEADER];
        struct objm_v3_response rs = {
                .status = r->status, .op = r->op, .mode = r->mode, .id = r->id, .n_fds = r->fd >= 0 && !r->body,
                .flags = r->not_modified ? OBJM_V3_RS_NOT_MODIFIED : 0,
                .size = r->info.size, .version = r->info.version, .metadata = meta,
                .body_len = r->body ? r->body_len : 0,
        };

        if (r->want_metadata && r->status != OBJM_STATUS_OK)
                return encode_text(buf, cap, &rs, r);
        if (r->want_metadata)
                rs.metadata_len = (uint16_t)put_metadata(meta, sizeof(meta), r);
        return objm_v3_response_encode(buf, cap, &rs);
}

const struct dialect dialect_v3 = {
        .next = next, .encode = encode, .send = objm_batch_send, .queue = objm_batch_queue, .ordered = false,
        .batch_limit = OBJM_V3_FDS_MAX,
};
