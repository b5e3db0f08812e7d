/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_DIALECT_H
#define OBJMAPPERD_DIALECT_H
/*
 * How a protocol version reads requests and writes replies; the rest of the daemon knows neither. The first byte of a
 * connection decides: 'O' begins the hello of version 3, anything else is version 1.
 */
#include "objmapperd/request.h"
#include "protocol/status.h"
#include "transport/batch.h"
#include <stdbool.h>
#include <stddef.h>

struct dialect {
        /* As objm_v1_request_decode(): OK, MORE or BAD. ret->uri points into @buf. */
        enum objm_decode (*next)(const uint8_t *buf, size_t len, struct request *ret, size_t *ret_used);
        /*
         * Writes all of the reply but descriptor and body; at most DIALECT_REPLY_MAX bytes, but for those with a text
         * that is not static. Returns how many.
         */
        size_t (*encode)(uint8_t *buf, size_t cap, const struct reply *r);
        /* As objm_batch_send() and objm_batch_queue(). */
        int (*send)(struct objm_batch *b, int sock, struct objm_outq *q);
        int (*queue)(struct objm_batch *b, struct objm_outq *q);
        bool ordered;         /* replies leave in the order of the requests */
        unsigned batch_limit; /* replies in a batch */
};

/* Appends to the batch, which has room, and takes the reply's descriptor. */
void dialect_put(const struct dialect *d, struct objm_batch *b, const struct reply *r);

extern const struct dialect dialect_v1, dialect_v3;

/* Appends mtime (s) and ETag at @at of @meta, in the entries of version 1 that both versions use; returns the end. */
size_t dialect_put_times(uint8_t *meta, size_t cap, size_t at, const struct objm_object_info *info);

/* The entry for people that goes with a status other than OK. */
size_t dialect_put_text(uint8_t *meta, size_t cap, const struct reply *r);

/* The most that one reply takes of a batch. */
#define DIALECT_REPLY_MAX 128

#endif
