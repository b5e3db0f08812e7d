/* SPDX-License-Identifier: MIT */
#include "objmapperd/hello.h"

#include "objmapperd/log_refused.h"
#include "objmapperd/transfer.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define CAPABILITIES (OBJM_V3_CAP_FD_BATCH | OBJM_V3_CAP_INLINE | OBJM_V3_CAP_COPY)

static uint8_t instance[OBJM_V3_INSTANCE]; /* const after hello_init() */

int hello_init(void)
{
        return getrandom(instance, sizeof(instance), 0) == (ssize_t)sizeof(instance) ? 0 : -errno;
}

const uint8_t *hello_instance(void)
{
        return instance;
}

/* A connection that answers only so many requests has nothing from a ring. */
static uint64_t offered(const struct connection *c)
{
        const struct snapshot *snap = c->worker->snapshot;

        if (c->tcp)
                return CAPABILITIES & ~(uint64_t)OBJM_V3_CAP_FD_BATCH;
        return snap->config->ring_enabled && !snap->requests_per_connection ? CAPABILITIES | OBJM_V3_CAP_RING
                                                                            : CAPABILITIES;
}

static uint32_t at_most(uint32_t wanted, uint32_t limit)
{
        return wanted && wanted < limit ? wanted : limit;
}

static void settle(struct connection *c, const struct objm_v3_hello *h, struct objm_v3_hello_reply *ret)
{
        const struct config *config = c->worker->snapshot->config;

        ret->capabilities = h->capabilities & offered(c);
        c->may_ring = ret->capabilities & OBJM_V3_CAP_RING;
        ret->in_flight = at_most(h->in_flight, config->in_flight);
        ret->uri_max = (uint16_t)config->uri_length;
        ret->fds_max = c->tcp ? 0 : ret->capabilities & OBJM_V3_CAP_FD_BATCH ? OBJM_V3_FDS_MAX : 1;
        c->batch_limit = (uint8_t)(c->tcp ? CONNECTION_BATCH_MAX : at_most(ret->fds_max, CONNECTION_BATCH_MAX));
        if (ret->capabilities & OBJM_V3_CAP_INLINE)
                ret->inline_limit = at_most(h->inline_limit ? h->inline_limit : OBJM_V3_INLINE_DEFAULT,
                                            TRANSFER_INLINE_MAX);
        c->inline_limit = ret->inline_limit;
        c->jobs_max = (uint16_t)at_most(ret->in_flight, CONNECTION_JOBS_MAX);
}

/* Goes through the queue: unlike a batch it is never to be taken back. */
static void send_reply(struct connection *c, const struct objm_v3_hello_reply *reply)
{
        uint8_t buf[OBJM_V3_HELLO_REPLY];
        size_t len = objm_v3_hello_reply_encode(buf, sizeof(buf), reply);
        int r = objm_outq_push(&c->out, buf, len, -1);

        if (r == 0)
                r = objm_outq_send(&c->out, c->source.fd);
        if (r < 0 && r != -EAGAIN)
                connection_close(c);
        if (reply->status == OBJM_STATUS_OK)
                return;
        log_refused(LOG_REFUSED_PROTOCOL, c->peer.uid, "cut off: hello: %s", objm_status_text(reply->status));
        c->closing = true;
}

bool hello_answer(struct connection *c, const uint8_t *buf, size_t len, size_t *ret_used)
{
        struct objm_v3_hello_reply reply = {.version = OBJM_V3_VERSION};
        struct objm_v3_hello hello;
        enum objm_decode d;

        *ret_used = 0;
        if (buf[0] != OBJM_V3_MAGIC[0]) {
                c->dialect = &dialect_v1;
                c->batch_limit = (uint8_t)dialect_v1.batch_limit;
                return true;
        }
        d = objm_v3_hello_decode(buf, len, &hello, ret_used);
        if (d == OBJM_DECODE_MORE)
                return false;
        c->dialect = &dialect_v3;
        if (d == OBJM_DECODE_BAD) {
                reply.status = hello.status;
        } else {
                memcpy(reply.instance, instance, sizeof(instance));
                settle(c, &hello, &reply);
        }
        send_reply(c, &reply);
        return d == OBJM_DECODE_OK && !c->dead;
}
