/* SPDX-License-Identifier: MIT */
#include "client/session.h"

#include "client/reason.h"
#include "protocol/v1.h"

#include <errno.h>
#include <string.h>

size_t objm_hello_encode(const struct objmapper *om, void *buf, size_t cap)
{
        struct objm_v3_hello hello = {
                .version = OBJM_V3_VERSION,
                .capabilities = OBJM_V3_CAP_INLINE | OBJM_V3_CAP_COPY,
                .in_flight = om->slots.depth,
        };

        if (om->flags & OBJMAPPER_RING && !om->link.remote)
                hello.capabilities |= OBJM_V3_CAP_RING;
        if (!(om->flags & OBJMAPPER_NO_BATCH))
                hello.capabilities |= OBJM_V3_CAP_FD_BATCH;
        return objm_v3_hello_encode(buf, cap, &hello);
}

static void take_reply(struct objmapper *om, const struct objm_v3_hello_reply *reply)
{
        om->v3_seen = true;
        om->unanswered = 0;
        if (reply->status == OBJM_STATUS_UNAVAILABLE) {
                objm_session_drop(om, -EBUSY);
        } else if (reply->status != OBJM_STATUS_OK || reply->version != OBJM_V3_VERSION) {
                objm_session_fail(om, reply->status ? objm_status_errno(reply->status) : -EPROTO);
        } else {
                memcpy(om->instance, reply->instance, sizeof(om->instance));
                om->capabilities = reply->capabilities;
                objm_session_ready(om, &objm_wire_v3, reply->in_flight ? reply->in_flight : 1);
        }
}

/* What is not "OBJM" is an answer of version 1, from a server that knows no other or has no room for us. */
static void take_v1_answer(struct objmapper *om, uint8_t status)
{
        struct objm_reply r;
        size_t used;

        if (status == OBJM_STATUS_UNAVAILABLE) {
                if (objm_wire_v1.decode(objm_bytequeue_front(&om->link.in), objm_bytequeue_len(&om->link.in), NULL, &r,
                                        &used) == OBJM_DECODE_OK)
                        objm_reason_of(om, &r);
                objm_session_drop(om, -EBUSY);
        } else if (om->version) {
                objm_session_fail(om, -EPROTO);
        } else {
                om->use_v1 = true;
                objm_session_drop(om, -EAGAIN);
        }
}

void objm_hello_receive(struct objmapper *om)
{
        struct objm_bytequeue *in = &om->link.in;
        struct objm_v3_hello_reply reply;
        enum objm_decode d;
        size_t used;

        if (*objm_bytequeue_front(in) != OBJM_V3_MAGIC[0]) {
                take_v1_answer(om, *objm_bytequeue_front(in));
                return;
        }
        d = objm_v3_hello_reply_decode(objm_bytequeue_front(in), objm_bytequeue_len(in), &reply, &used);
        if (d == OBJM_DECODE_MORE)
                return;
        if (d == OBJM_DECODE_BAD || objm_fdqueue_len(&om->link.fds)) { /* nothing has been asked for yet */
                objm_session_fail(om, -EPROTO);
                return;
        }
        objm_bytequeue_pop(in, used);
        take_reply(om, &reply);
        if (om->state == OBJM_SESSION_READY && objm_bytequeue_len(in))
                objm_replies_receive(om);
}
