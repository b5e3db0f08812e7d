/* SPDX-License-Identifier: MIT */
#include "objmapperd/dialect.h"

#include "protocol/v1.h"
#include "protocol/v3.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static enum objm_decode next(const uint8_t *buf, size_t len, struct request *ret, size_t *ret_used)
{
        struct objm_v1_request rq;
        enum objm_decode d = objm_v1_request_decode(buf, len, &rq, ret_used);

        if (d == OBJM_DECODE_OK)
                *ret = (struct request){.op = OBJM_V3_OP_GET, .mode = rq.mode, .status = rq.status,
                                        .uri = rq.uri, .uri_len = rq.uri_len};
        else if (d == OBJM_DECODE_BAD)
                *ret = (struct request){.op = OBJM_V3_OP_GET, .status = rq.status};
        return d;
}

size_t dialect_put_times(uint8_t *meta, size_t cap, size_t at, const struct objm_object_info *info)
{
        char etag[19];

        snprintf(etag, sizeof(etag), "\"%016llx\"", (unsigned long long)info->version);
        at = objm_v1_metadata_put_u64(meta, cap, at, OBJM_V1_META_MTIME, (uint64_t)(info->mtime_ns / 1000000000));
        return objm_v1_metadata_put(meta, cap, at, OBJM_V1_META_ETAG, etag, sizeof(etag) - 1);
}

size_t dialect_put_text(uint8_t *meta, size_t cap, const struct reply *r)
{
        const char *text = r->text ? r->text : objm_status_text(r->status);

        return objm_v1_metadata_put(meta, cap, 0, OBJM_V1_META_ERROR, text, strnlen(text, cap - 3));
}

static size_t put_metadata(uint8_t *meta, size_t cap, const struct reply *r)
{
        size_t at;

        if (r->status != OBJM_STATUS_OK)
                return dialect_put_text(meta, cap, r);
        at = objm_v1_metadata_put_u64(meta, cap, 0, OBJM_V1_META_SIZE, r->info.size);
        return dialect_put_times(meta, cap, at, &r->info);
}

void dialect_put(const struct dialect *d, struct objm_batch *b, const struct reply *r)
{
        size_t n = d->encode(b->data + b->len, objm_batch_room(b), r);

        assert(n);
        b->len += n;
        if (r->fd >= 0)
                objm_batch_add_fd(b, r->fd);
}

static size_t encode(uint8_t *buf, size_t cap, const struct reply *r)
{
        uint8_t meta[DIALECT_REPLY_MAX - OBJM_V1_RESPONSE_HEADER];
        struct objm_v1_response rs = {.status = r->status, .metadata = meta, .content_len = r->body ? r->body_len : 0};

        rs.metadata_len = (uint16_t)put_metadata(meta, sizeof(meta), r);
        return objm_v1_response_encode(buf, cap, &rs);
}

static int send_apart(struct objm_batch *b, int sock, struct objm_outq *q)
{
        return objm_batch_send_apart(b, OBJM_V1_FD_BYTE, sock, q);
}

static int queue_apart(struct objm_batch *b, struct objm_outq *q)
{
        return objm_batch_queue_apart(b, OBJM_V1_FD_BYTE, q);
}

const struct dialect dialect_v1 = {
        .next = next, .encode = encode, .send = send_apart, .queue = queue_apart, .ordered = true, .batch_limit = 1,
};
