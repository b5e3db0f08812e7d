/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_METRICS_RECORD_H
#define OBJMAPPERD_METRICS_RECORD_H
/*
 * What is kept of a reply for the metrics. Made for each request, hence inline.
 */
#include "objmapperd/metrics.h"
#include "objmapperd/request.h"
#include "objmapperd/transfer.h"
#include "protocol/v3.h"

static inline uint8_t metrics_mode_of_get(uint8_t mode)
{
        switch (mode) {
        case OBJM_MODE_FD:
                return METRICS_FD;
        case OBJM_MODE_COPY:
                return METRICS_COPY;
        case OBJM_MODE_SPLICE:
                return METRICS_SPLICE;
        case OBJM_MODE_INLINE:
                return METRICS_INLINE;
        case OBJM_MODE_AUTO:
                return METRICS_AUTO;
        default:
                return METRICS_OTHER;
        }
}

/* Of other operations than GET. */
uint8_t metrics_mode_of_operation(uint8_t op);

static inline uint8_t metrics_fallback_of(const struct reply *r)
{
        if (r->mode == OBJM_MODE_SPLICE && r->body_len < TRANSFER_SPLICE_MIN)
                return METRICS_SPLICE_COPIED;
        return r->mode == OBJM_MODE_COPY && r->asked == OBJM_MODE_AUTO ? METRICS_NO_DESCRIPTORS : METRICS_N_FALLBACKS;
}

static inline struct metrics_record metrics_record_of(const struct reply *r)
{
        bool get = r->op == OBJM_V3_OP_GET;

        return (struct metrics_record){
                .id = r->id, .size = r->info.size, .bytes = r->body ? r->body_len : 0,
                .mode = objm_likely(get) ? metrics_mode_of_get(r->mode ? r->mode : r->asked)
                                         : metrics_mode_of_operation(r->op),
                .status = r->status, .fallback = metrics_fallback_of(r),
                .object = get && r->mode && r->status == OBJM_STATUS_OK};
}

#endif
