/* SPDX-License-Identifier: MIT */
#include "protocol/udp.h"

#include "protocol/v3.h"
#include "protocol/wire.h"

#include <assert.h>
#include <errno.h>

struct request_wire {
        uint8_t magic[OBJM_UDP_MAGIC], version, op, reserved[2], id[4], cookie[8];
};

struct response_wire {
        uint8_t magic[OBJM_UDP_MAGIC], version, status, flags[2], id[4], cookie[8];
};

static_assert(sizeof(struct request_wire) == OBJM_UDP_HEADER, "request");
static_assert(offsetof(struct request_wire, op) == 5, "op");
static_assert(offsetof(struct request_wire, id) == 8, "id");
static_assert(offsetof(struct request_wire, cookie) == 12, "cookie");
static_assert(sizeof(struct response_wire) == OBJM_UDP_HEADER, "response");
static_assert(offsetof(struct response_wire, status) == 5, "status");
static_assert(offsetof(struct response_wire, flags) == 6, "flags");
static_assert(offsetof(struct response_wire, id) == 8, "id");
static_assert(offsetof(struct response_wire, cookie) == 12, "cookie");
static_assert(sizeof(OBJM_UDP_REQUEST_MAGIC) - 1 == OBJM_UDP_MAGIC, "magic");
static_assert(sizeof(OBJM_UDP_RESPONSE_MAGIC) - 1 == OBJM_UDP_MAGIC, "magic");
static_assert(OBJM_UDP_DATAGRAM_MAX <= UINT16_MAX, "lengths fit their fields");

/* What GET and STAT carry. A mode that version 1 does not know is refused: what follows it is taken as padding. */
static int decode_v1(const uint8_t *p, size_t len, struct objm_udp_request *ret)
{
        struct objm_v1_request v1;
        size_t used;

        switch (objm_v1_request_decode(p, len, &v1, &used)) {
        case OBJM_DECODE_MORE:
                return -EBADMSG;
        case OBJM_DECODE_BAD:
                if (v1.status != OBJM_STATUS_INVALID_MODE)
                        return -EBADMSG; /* no datagram has room for such a URI */
                ret->status = v1.status;
                return 0;
        case OBJM_DECODE_OK:
                break;
        }
        ret->mode = v1.mode;
        ret->status = v1.status;
        ret->uri = v1.uri;
        ret->uri_len = v1.uri_len;
        return 0;
}

int objm_udp_request_decode(const void *buf, size_t len, struct objm_udp_request *ret)
{
        const struct request_wire *w = buf;
        struct objm_udp_request r = {0};
        int e = 0;

        if (len < sizeof(*w) || len > OBJM_UDP_DATAGRAM_MAX ||
            memcmp(w->magic, OBJM_UDP_REQUEST_MAGIC, OBJM_UDP_MAGIC) != 0)
                return -EBADMSG;
        r.id = objm_wire_get_u32(w->id);
        if (w->version != OBJM_UDP_VERSION) {
                r.status = OBJM_STATUS_VERSION;
                *ret = r;
                return 0;
        }
        r.op = w->op;
        r.cookie = objm_wire_get_u64(w->cookie);
        if (r.op == OBJM_V3_OP_GET || r.op == OBJM_V3_OP_STAT)
                e = decode_v1((const uint8_t *)buf + sizeof(*w), len - sizeof(*w), &r);
        else if (r.op != OBJM_V3_OP_PING)
                r.status = OBJM_STATUS_UNSUPPORTED;
        if (e == 0)
                *ret = r;
        return e;
}

int objm_udp_response_decode(const void *buf, size_t len, struct objm_udp_response *ret)
{
        const struct response_wire *w = buf;
        struct objm_v1_response v1 = {0};
        size_t used = 0, rest;

        if (len < sizeof(*w) || len > OBJM_UDP_DATAGRAM_MAX || w->version != OBJM_UDP_VERSION ||
            memcmp(w->magic, OBJM_UDP_RESPONSE_MAGIC, OBJM_UDP_MAGIC) != 0)
                return -EBADMSG;
        rest = len - sizeof(*w);
        if (rest && (objm_v1_response_decode(w + 1, rest, &v1, &used) != OBJM_DECODE_OK || v1.status != w->status ||
                     v1.content_len != rest - used))
                return -EBADMSG;
        *ret = (struct objm_udp_response){
                .status = w->status, .bare = !rest, .flags = objm_wire_get_u16(w->flags),
                .metadata_len = v1.metadata_len, .body_len = (uint16_t)v1.content_len, .id = objm_wire_get_u32(w->id),
                .cookie = objm_wire_get_u64(w->cookie), .metadata = v1.metadata,
                .body = rest ? (const uint8_t *)(w + 1) + used : NULL,
        };
        return 0;
}

size_t objm_udp_request_encode(void *buf, size_t cap, const struct objm_udp_request *r, size_t padded)
{
        struct request_wire w = {.version = OBJM_UDP_VERSION, .op = r->op};
        size_t len = sizeof(w), n = 0;

        if (cap > OBJM_UDP_DATAGRAM_MAX)
                cap = OBJM_UDP_DATAGRAM_MAX;
        if (cap < len || padded > cap)
                return 0;
        memcpy(w.magic, OBJM_UDP_REQUEST_MAGIC, OBJM_UDP_MAGIC);
        objm_wire_put_u32(w.id, r->id);
        objm_wire_put_u64(w.cookie, r->cookie);
        if (r->op != OBJM_V3_OP_PING) {
                n = objm_v1_request_encode((uint8_t *)buf + len, cap - len, r->mode, r->uri, r->uri_len);
                if (!n)
                        return 0;
        }
        memcpy(buf, &w, sizeof(w));
        len += n;
        if (len >= padded)
                return len;
        memset((uint8_t *)buf + len, 0, padded - len);
        return padded;
}

size_t objm_udp_response_encode(void *buf, size_t cap, const struct objm_udp_response *r)
{
        struct response_wire w = {.version = OBJM_UDP_VERSION, .status = r->status};

        if (cap < sizeof(w))
                return 0;
        memcpy(w.magic, OBJM_UDP_RESPONSE_MAGIC, OBJM_UDP_MAGIC);
        objm_wire_put_u16(w.flags, r->flags);
        objm_wire_put_u32(w.id, r->id);
        objm_wire_put_u64(w.cookie, r->cookie);
        memcpy(buf, &w, sizeof(w));
        return sizeof(w);
}
