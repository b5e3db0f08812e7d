/* SPDX-License-Identifier: MIT */
#include "objmapperd/request.h"

#include "base/fd.h"
#include "objmapperd/access.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/server.h"
#include "objmapperd/stats.h"
#include "protocol/v3.h"
#include "storage/kept.h"

#include <errno.h>

#define LINK           "a symbolic link, which the export does not follow (follow_symlinks)"
#define NO_DESCRIPTORS "a descriptor cannot cross TCP: ask for copy or splice"

struct operation {
        int (*run)(const struct request_context *ctx, const struct request *rq, struct reply *ret);
        bool uses_store; /* has a URI, whose length is limited by the configuration */
        bool control;    /* for administrators */
};

struct reply request_refuse(const struct request *rq, uint8_t status, const char *text)
{
        return (struct reply){.op = rq->op, .id = rq->id, .want_metadata = rq->want_metadata, .status = status,
                              .asked = rq->mode, .fd = -1, .text = text};
}

static uid_t uid_of(const struct request_context *ctx)
{
        return ctx->peer->remote ? LOG_NO_UID : ctx->peer->uid;
}

static struct reply refuse_for_want_of(const struct request_context *ctx, const struct request *rq, uint8_t status,
                                       const char *text)
{
        log_refused(LOG_REFUSED_RESOURCES, uid_of(ctx), "request refused: %s", text);
        return request_refuse(rq, status, text);
}

/* Errors of the kernel: what the client can do about it decides the status. */
static struct reply from_errno(const struct request_context *ctx, const struct request *rq, int error)
{
        switch (error) {
        case -EMFILE:
        case -ENFILE:
                return refuse_for_want_of(ctx, rq, OBJM_STATUS_UNAVAILABLE, "out of descriptors");
        case -ENOMEM:
                return refuse_for_want_of(ctx, rq, OBJM_STATUS_NO_MEMORY, "out of memory");
        case -EIO:
        case -ENOSPC:
        case -EUCLEAN:
                return request_refuse(rq, OBJM_STATUS_STORAGE, NULL);
        default:
                return request_refuse(rq, OBJM_STATUS_INTERNAL, NULL);
        }
}

/* Every condition of the store but COLD. */
static struct reply from_store(const struct request_context *ctx, const struct request *rq, int condition)
{
        switch (condition) {
        case OBJM_STORE_NOT_FOUND:
                return request_refuse(rq, OBJM_STATUS_NOT_FOUND, NULL);
        case OBJM_STORE_NO_EXPORT:
                return request_refuse(rq, OBJM_STATUS_NOT_FOUND, "no export has a prefix that it begins with");
        case OBJM_STORE_INVALID:
                return request_refuse(rq, OBJM_STATUS_INVALID_REQUEST, "it has an empty part, '.', '..' or a NUL byte");
        case OBJM_STORE_DENIED:
                return request_refuse(rq, OBJM_STATUS_DENIED, NULL);
        case OBJM_STORE_LINK:
                return request_refuse(rq, OBJM_STATUS_DENIED, LINK);
        case OBJM_STORE_UNREADABLE:
                return request_refuse(rq, OBJM_STATUS_DENIED, "the daemon has no permission to read it");
        case OBJM_STORE_NOT_REGULAR:
                return request_refuse(rq, OBJM_STATUS_UNSUPPORTED, "not a regular file");
        case OBJM_STORE_BUSY:
                return request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "object is busy");
        default:
                return from_errno(ctx, rq, condition);
        }
}

static unsigned store_flags(const struct request_context *ctx)
{
        return ctx->nowait ? OBJM_STORE_NOWAIT : 0;
}

static bool find_expected(const struct request_context *ctx, struct objm_object_info *ret)
{
        if (!ctx->expected || !objm_store_find(ctx->snapshot->store, ctx->peer, ctx->expected, ret))
                return false;
        ++*ctx->found;
        return true;
}

static int run_stat(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        struct objm_object_info info;
        int r = 0;

        if (!find_expected(ctx, &info))
                r = objm_store_stat(ctx->snapshot->store, ctx->peer, rq->uri, rq->uri_len, store_flags(ctx), &info);
        if (r == OBJM_STORE_COLD)
                return REQUEST_COLD;
        *ret = r == 0 ? request_refuse(rq, OBJM_STATUS_OK, NULL) : from_store(ctx, rq, r);
        if (r == 0)
                ret->info = info;
        return 0;
}

/* Descriptors that are only kept are the first to go. */
static int open_object(const struct request_context *ctx, const struct request *rq, int *ret_fd,
                       struct objm_object_info *ret_info)
{
        struct objm_store *s = ctx->snapshot->store;
        int r = objm_store_open(s, ctx->peer, rq->uri, rq->uri_len, store_flags(ctx), ret_fd, ret_info);

        if ((r != -EMFILE && r != -ENFILE) || !ctx->kept || !ctx->kept->n)
                return r;
        objm_kept_squeeze(ctx->kept->budget);
        objm_kept_clear(ctx->kept);
        return objm_store_open(s, ctx->peer, rq->uri, rq->uri_len, store_flags(ctx), ret_fd, ret_info);
}

/* @refuse_fds concerns what is to be passed; of auto that is not known before the object is. */
static int grant(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        struct objm_object_info info;
        int fd, r;

        if (ctx->refuse_fds && rq->mode != OBJM_MODE_COPY && rq->mode != OBJM_MODE_SPLICE) {
                *ret = refuse_for_want_of(ctx, rq, OBJM_STATUS_UNAVAILABLE, "too many descriptors in flight");
                return 0;
        }
        r = open_object(ctx, rq, &fd, &info);
        if (r == OBJM_STORE_COLD)
                return REQUEST_COLD;
        *ret = r == 0 ? request_refuse(rq, OBJM_STATUS_OK, NULL) : from_store(ctx, rq, r);
        if (r == 0) {
                ret->fd = fd;
                ret->mode = OBJM_MODE_FD;
                ret->info = info;
        }
        return 0;
}

/* The object is opened all the same: what the index says of it may be a moment old. */
static void withhold_known(const struct request *rq, struct reply *r)
{
        if (r->status != OBJM_STATUS_OK || r->info.version != rq->if_version)
                return;
        r->fd = objm_fd_close(r->fd);
        r->mode = OBJM_MODE_NONE;
        r->not_modified = true;
}

/* The bytes from the range's start, as many as there are. */
static void make_body(const struct request *rq, uint8_t mode, struct reply *r)
{
        uint64_t size = r->info.size, at = rq->range_offset < size ? rq->range_offset : size;

        r->mode = mode;
        r->body = true;
        r->body_at = at;
        r->body_len = rq->range_length && rq->range_length < size - at ? rq->range_length : size - at;
}

/*
 * Small objects cost less as bytes than as a descriptor that has to be read. Where no descriptor can go the rest is
 * copied, not spliced: the client has not said that it can do with a file that changes on the way.
 */
static uint8_t pick_mode(const struct request_context *ctx, const struct request *rq, const struct reply *r)
{
        if (rq->mode != OBJM_MODE_AUTO)
                return rq->mode;
        if (rq->inline_limit && r->info.size <= rq->inline_limit)
                return OBJM_MODE_INLINE;
        return ctx->peer->remote ? OBJM_MODE_COPY : OBJM_MODE_FD;
}

/* True: it will be answered with bytes, if the object is small. */
static bool asks_for_bytes(const struct request *rq)
{
        return rq->mode == OBJM_MODE_COPY || rq->mode == OBJM_MODE_SPLICE ||
               (rq->mode == OBJM_MODE_AUTO && rq->inline_limit);
}

/* An object that this thread has open already. A condition is answered by what the tree says. */
static bool run_kept(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        struct reply r = request_refuse(rq, OBJM_STATUS_OK, NULL);
        bool automatic = rq->mode == OBJM_MODE_AUTO;
        struct objm_kept_object o;

        if (!ctx->kept || rq->conditional || !asks_for_bytes(rq) ||
            !objm_store_find_kept(ctx->snapshot->store, ctx->kept, ctx->peer, rq->uri, rq->uri_len, &o) ||
            (automatic && o.info.size > rq->inline_limit))
                return false;
        r.fd = o.fd;
        r.bytes = o.bytes;
        r.info = o.info;
        r.kept = true;
        make_body(rq, automatic ? OBJM_MODE_INLINE : rq->mode, &r);
        *ret = r;
        return true;
}

bool request_keep(const struct snapshot *snapshot, struct objm_kept *kept, const struct request *rq,
                  const struct reply *r)
{
        return r->kept || objm_store_keep(snapshot->store, kept, rq->uri, rq->uri_len, r->fd, &r->info);
}

static int run_get(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        uint8_t mode;
        int r;

        if (ctx->peer->remote && rq->mode == OBJM_MODE_FD) {
                *ret = request_refuse(rq, OBJM_STATUS_INVALID_MODE, NO_DESCRIPTORS);
                return 0;
        }
        if (run_kept(ctx, rq, ret))
                return 0;
        r = grant(ctx, rq, ret);
        if (r != 0 || ret->status != OBJM_STATUS_OK)
                return r;
        if (rq->conditional)
                withhold_known(rq, ret);
        mode = pick_mode(ctx, rq, ret);
        if (ret->fd >= 0 && mode != OBJM_MODE_FD)
                make_body(rq, mode, ret);
        return 0;
}

static int run_ping(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        *ret = request_refuse(rq, OBJM_STATUS_OK, NULL);
        return 0;
}

static int run_stats(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        uint64_t len;
        int fd, r = stats_open(ctx->server, ctx->snapshot, rq->mode, &fd, &len);

        *ret = r == 0 ? request_refuse(rq, OBJM_STATUS_OK, NULL) : from_errno(ctx, rq, r);
        if (r == 0) {
                ret->fd = fd;
                ret->body = true;
                ret->body_len = len;
        }
        return 0;
}

static int run_in_main(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        return REQUEST_MAIN;
}

static const struct operation operations[] = {
        [OBJM_V3_OP_GET] = {run_get, .uses_store = true},
        [OBJM_V3_OP_STAT] = {run_stat, .uses_store = true},
        [OBJM_V3_OP_PING] = {.run = run_ping},
        [OBJM_V3_OP_STATS] = {run_stats, .control = true},
        [OBJM_V3_OP_RELOAD] = {run_in_main, .control = true},
        [OBJM_V3_OP_DRAIN] = {run_in_main, .control = true},
};

static const struct operation *find(const struct request *rq)
{
        const struct operation *op = rq->op < objm_array_len(operations) ? &operations[rq->op] : NULL;

        return op && op->run ? op : NULL;
}

bool request_uses_store(const struct request *rq)
{
        const struct operation *op = find(rq);

        return rq->status == OBJM_STATUS_OK && op && op->uses_store;
}

bool request_may_have_body(const struct request *rq, const struct objm_peer *peer)
{
        return rq->op == OBJM_V3_OP_GET && (rq->mode == OBJM_MODE_COPY || rq->mode == OBJM_MODE_SPLICE ||
                                            (rq->mode == OBJM_MODE_AUTO && (rq->inline_limit || peer->remote)));
}

bool request_is_for_main(const struct request *rq)
{
        const struct operation *op = find(rq);

        return op && op->run == run_in_main;
}

static struct reply deny_control(const struct request_context *ctx, const struct request *rq)
{
        log_refused(LOG_REFUSED_DENIED, uid_of(ctx), "control operation %u denied", rq->op);
        return request_refuse(rq, OBJM_STATUS_DENIED, NULL);
}

static int run(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        const struct operation *op = find(rq);

        if (rq->status != OBJM_STATUS_OK)
                *ret = request_refuse(rq, rq->status, NULL);
        else if (!op)
                *ret = request_refuse(rq, OBJM_STATUS_UNSUPPORTED, "unknown operation");
        else if (op->uses_store && rq->uri_len > ctx->snapshot->config->uri_length)
                *ret = request_refuse(rq, OBJM_STATUS_URI_TOO_LONG, NULL);
        else if (op->control && !access_is_admin(ctx->snapshot->config, ctx->peer))
                *ret = deny_control(ctx, rq);
        else
                return op->run(ctx, rq, ret);
        return 0;
}

int request_run(const struct request_context *ctx, const struct request *rq, struct reply *ret)
{
        int r = run(ctx, rq, ret);

        if (r == 0 && objm_unlikely(ret->status == OBJM_STATUS_DENIED))
                server_count_denied(ctx->server);
        return r;
}

struct reply request_run_waiting(const struct request_context *ctx, const struct request *rq)
{
        struct reply r;

        return request_run(ctx, rq, &r) == 0 ? r : request_refuse(rq, OBJM_STATUS_INTERNAL, NULL);
}
