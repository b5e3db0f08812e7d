/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_REQUEST_H
#define OBJMAPPERD_REQUEST_H
/*
 * A request and its reply in the form that does not depend on protocol version or transport, and the table of
 * operations. To add one: an entry in the table and its handler.
 */
#include "base/peer.h"
#include "objmapperd/snapshot.h"
#include "storage/store.h"
#include <stdbool.h>
#include <stdint.h>

struct request {
        uint8_t op;     /* enum objm_v3_op; version 1 has GET alone */
        uint8_t mode;   /* enum objm_mode */
        uint8_t status; /* not OK: refused by the decoder, only to be answered */
        bool conditional, want_metadata;
        uint16_t uri_len;
        uint32_t id;
        uint64_t if_version; /* with conditional */
        uint64_t range_offset, range_length; /* of the body, bytes; length 0: to the end */
        uint32_t inline_limit; /* auto: objects up to this size come as bytes; 0: none */
        const uint8_t *uri;  /* borrowed */
        const uint8_t *extra; /* borrowed; of operations that have some */
        uint16_t extra_len;
};

struct reply {
        uint8_t op, mode, status;
        uint8_t asked; /* enum objm_mode of the request */
        bool not_modified, want_metadata;
        uint32_t id;
        int fd;           /* owned; -1: none. To be passed, unless body is set */
        bool body;        /* fd is to be read and its bytes sent: body_len from body_at on */
        bool kept;        /* with body: fd is lent by this thread's kept descriptors */
        const uint8_t *bytes; /* with kept: the whole object, lent until the next request; NULL: read fd */
        uint64_t body_at, body_len;
        const char *text; /* static, or stays until the reply is encoded; says more than the status; may be NULL */
        struct objm_object_info info; /* with status OK; version 0: none */
        uint64_t received_ns; /* of one that was worked out in another thread; 0: not known */
};

struct request_context {
        struct server *server;
        const struct snapshot *snapshot;
        const struct objm_peer *peer;
        bool nowait;     /* do not wait for a disk */
        bool refuse_fds; /* no descriptor can be passed at present */
        struct objm_kept *kept; /* of this thread; NULL: nothing is kept */
        const struct objm_store_name *expected; /* the URI, if objm_store_expect() has had it; else NULL */
        unsigned *found; /* with expected: raised when objm_store_find() has found it, for objm_store_found() */
};

enum {
        REQUEST_COLD = 1, /* with nowait: needs the disk, run it again in a thread that may wait */
        REQUEST_MAIN = 2, /* is the main thread's: hand it to control_start() */
};

/* True when the operation looks objects up; such requests run in a thread of their own under thread-per-request. */
bool request_uses_store(const struct request *rq);

/* True when the answer to @peer may be an object's bytes. */
bool request_may_have_body(const struct request *rq, const struct objm_peer *peer);

/* True when run() returns REQUEST_MAIN for those who may ask for it. */
bool request_is_for_main(const struct request *rq);

/* Runs it to completion. 0, or REQUEST_COLD or REQUEST_MAIN with *ret untouched. */
int request_run(const struct request_context *ctx, const struct request *rq, struct reply *ret) objm_must_check;

/* The same in a thread that may wait for a disk: ctx->nowait is false. */
struct reply request_run_waiting(const struct request_context *ctx, const struct request *rq) objm_must_check;

/* @r->body is to be sent: true when its descriptor is one of @kept, as it may have been before, and stays there. */
bool request_keep(const struct snapshot *snapshot, struct objm_kept *kept, const struct request *rq,
                  const struct reply *r) objm_must_check;

/* The reply that says no more than @status. */
struct reply request_refuse(const struct request *rq, uint8_t status, const char *text);

#endif
