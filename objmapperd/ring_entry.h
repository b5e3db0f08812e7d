/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RING_ENTRY_H
#define OBJMAPPERD_RING_ENTRY_H
/*
 * An entry of the request ring as a request, and a reply as an entry of the reply ring: what a dialect is to a socket.
 * Entries are the caller's own copies. Done for each request, hence inline.
 */
#include "base/clock.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/ring.h"

/* Its URI is in the entry. */
static inline bool ring_entry_is_short(const struct objm_ring_request *e)
{
        return e->flags & OBJM_RING_RQ_URI_SHORT && e->uri_len <= sizeof(e->uri);
}

static inline bool ring_entry_is_body_only(const struct objm_ring_request *e)
{
        return e->mode == OBJM_MODE_INLINE;
}

/* What the ring serves; the rest is for the socket, where also descriptors under way are counted. */
static inline bool ring_entry_is_served(const struct snapshot *snap, const struct objm_ring_request *e)
{
        if (e->op == OBJM_V3_OP_GET)
                return e->mode == OBJM_MODE_INLINE ||
                       (!snap->fds_limited && (e->mode == OBJM_MODE_FD || e->mode == OBJM_MODE_AUTO));
        return e->op == OBJM_V3_OP_STAT || e->op == OBJM_V3_OP_PING;
}

static inline uint32_t ring_entry_inline_limit(const struct ring *r, const struct objm_ring_request *e, bool plain)
{
        uint32_t limit = plain || !e->get.inline_limit ? OBJM_V3_INLINE_DEFAULT : e->get.inline_limit;

        return limit < r->end.shm.geometry.arena ? limit : r->end.shm.geometry.arena;
}

/*
 * The request that @e asks for; its URI is in @e, or is copied to @buf of OBJM_URI_MAX bytes. What the ring does not
 * serve, or cannot be read, has a status that is not OK.
 */
static inline void ring_entry_decode(const struct ring *r, const struct snapshot *snap,
                                     const struct objm_ring_request *e, uint8_t *buf, struct request *ret)
{
        bool plain = e->flags & OBJM_RING_RQ_URI_SHORT, range = !plain && e->flags & OBJM_RING_RQ_RANGE;

        *ret = (struct request){
                .op = e->op, .id = e->id, .uri_len = e->uri_len,
                .mode = ring_entry_is_body_only(e) ? OBJM_MODE_COPY : e->mode,
                .conditional = !plain && e->flags & OBJM_RING_RQ_IF_VERSION,
                .if_version = plain ? 0 : e->get.if_version,
                .range_offset = range ? e->get.range_offset : 0,
                .range_length = range ? e->get.range_length : plain ? e->length : 0,
                .inline_limit = ring_entry_inline_limit(r, e, plain),
        };
        if (!ring_entry_is_served(snap, e))
                ret->status = OBJM_STATUS_UNSUPPORTED;
        else if (!objm_ring_server_uri(&r->end, e, buf, &ret->uri) || (!e->uri_len && e->op != OBJM_V3_OP_PING))
                ret->status = OBJM_STATUS_INVALID_REQUEST;
}

/* What the reply says in the ring. */
static inline struct objm_ring_reply ring_entry_encode(const struct reply *reply)
{
        return (struct objm_ring_reply){
                .status = reply->status, .op = reply->op, .id = reply->id,
                .mode = reply->body ? OBJM_MODE_INLINE : reply->mode,
                .n_fds = reply->fd >= 0 && !reply->body,
                .flags = reply->not_modified ? OBJM_RING_RS_NOT_MODIFIED : 0,
                .size = reply->info.size, .version = reply->info.version,
                .mtime = reply->info.mtime_ns / (int64_t)OBJM_NS_PER_S,
                .body_len = reply->body ? (uint32_t)reply->body_len : 0,
        };
}

static inline uint8_t ring_entry_mode(const struct reply *reply)
{
        uint8_t mode = reply->mode ? reply->mode : reply->asked;

        if (objm_unlikely(reply->op != OBJM_V3_OP_GET))
                return metrics_mode_of_operation(reply->op);
        return mode == OBJM_MODE_COPY ? METRICS_INLINE : metrics_mode_of_get(mode);
}

/* What is counted of an object that was handed out. */
static inline struct metrics_record ring_entry_record_object(const struct reply *reply, enum metrics_mode mode,
                                                             uint64_t bytes)
{
        return (struct metrics_record){.id = reply->id, .size = reply->info.size, .bytes = bytes, .mode = (uint8_t)mode,
                                       .status = OBJM_STATUS_OK, .fallback = METRICS_N_FALLBACKS, .object = 1};
}

/* The same of any reply: bodies of rings are inline, and there is nothing else to fall back to than the socket. */
static inline struct metrics_record ring_entry_record(const struct reply *reply)
{
        return (struct metrics_record){
                .id = reply->id, .size = reply->info.size, .bytes = reply->body ? reply->body_len : 0,
                .mode = ring_entry_mode(reply), .status = reply->status, .fallback = METRICS_N_FALLBACKS,
                .object = reply->op == OBJM_V3_OP_GET && reply->mode && reply->status == OBJM_STATUS_OK};
}

#endif
