/* SPDX-License-Identifier: MIT */
#include "objmapperd/datagram_reply.h"

#include "base/fd.h"
#include "objmapperd/dialect.h"
#include "protocol/v3.h"
#include "transport/body.h"

#include <assert.h>
#include <errno.h>

static_assert(OBJM_UDP_HEADER + DIALECT_REPLY_MAX <= OBJM_UDP_DATAGRAM_MAX, "a reply without body fits");

struct datagram_ask datagram_ask_from(const struct objm_udp_request *u, uint64_t cookie, size_t room)
{
        return (struct datagram_ask){
                .rq = {.op = u->op, .mode = u->mode, .status = u->status, .uri = u->uri, .uri_len = u->uri_len,
                       .id = u->id, .want_metadata = true},
                .cookie = cookie, .room = room,
        };
}

static size_t put_header(const struct datagram_ask *a, uint8_t status, uint16_t flags, uint8_t *out)
{
        struct objm_udp_response rs = {.status = status, .flags = flags, .id = a->rq.id, .cookie = a->cookie};

        return objm_udp_response_encode(out, OBJM_UDP_DATAGRAM_MAX, &rs);
}

size_t datagram_put_refusal(const struct datagram_ask *a, uint8_t status, uint8_t out[OBJM_UDP_DATAGRAM_MAX])
{
        return put_header(a, status, 0, out);
}

/* Header and response of version 1, as far as there is room: a refusal loses its text before it loses anything else. */
static size_t put_head(const struct datagram_ask *a, const struct reply *r, uint16_t flags, uint8_t *out)
{
        size_t len = put_header(a, r->status, flags, out), v1;

        if (r->op == OBJM_V3_OP_PING)
                return len;
        v1 = dialect_v1.encode(out + len, OBJM_UDP_DATAGRAM_MAX - len, r);
        assert(v1);
        if (len + v1 <= a->room)
                return len + v1;
        return r->status == OBJM_STATUS_OK ? len + v1 : len;
}

static void become_refusal(struct reply *r, const struct datagram_ask *a, uint8_t status, const char *text)
{
        int fd = r->fd;

        *r = request_refuse(&a->rq, status, text);
        r->fd = fd;
}

static size_t refuse(const struct datagram_ask *a, struct reply *r, uint8_t status, const char *text, uint8_t *out)
{
        become_refusal(r, a, status, text);
        return put_head(a, r, status == OBJM_STATUS_UNSUPPORTED ? OBJM_UDP_STREAM : 0, out);
}

static size_t put(const struct datagram_ask *a, struct reply *r, bool nowait, uint8_t *out)
{
        size_t len = put_head(a, r, 0, out);
        uint64_t body = r->body ? r->body_len : 0;
        int e;

        if (body > OBJM_UDP_DATAGRAM_MAX - len)
                return refuse(a, r, OBJM_STATUS_UNSUPPORTED, "too large for a datagram: use a stream", out);
        if (len + body > a->room) {
                become_refusal(r, a, OBJM_STATUS_CAPABILITY, NULL);
                return put_header(a, OBJM_STATUS_CAPABILITY, 0, out);
        }
        e = body ? objm_body_read(r->fd, out + len, body, r->body_at, nowait) : 0;
        if (e == -EAGAIN)
                return nowait ? 0 : refuse(a, r, OBJM_STATUS_UNAVAILABLE, NULL, out);
        if (e == -ENODATA)
                return refuse(a, r, OBJM_STATUS_UNAVAILABLE, "the object became shorter", out);
        return e < 0 ? refuse(a, r, OBJM_STATUS_STORAGE, NULL, out) : len + (size_t)body;
}

size_t datagram_put(const struct datagram_ask *a, struct reply *r, bool nowait, uint8_t out[OBJM_UDP_DATAGRAM_MAX])
{
        size_t len = put(a, r, nowait, out);

        r->fd = objm_fd_close(r->fd);
        return len;
}
