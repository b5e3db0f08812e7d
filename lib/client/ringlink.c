/* SPDX-License-Identifier: MIT */
#include "client/ringlink.h"

#include "base/clock.h"
#include "base/fd.h"
#include "client/replies.h"
#include "client/session.h"

#include <errno.h>
#include <string.h>

/* Asleep in memory, nobody tells of the socket's end: so often it is looked at. */
#define SLICE_NS (10 * OBJM_NS_PER_MS)

void objm_ringlink_ask(struct objmapper *om)
{
        struct objm_bytequeue *out = &om->link.out;
        const struct objm_ring_geometry wanted = {0};
        uint8_t extra[OBJM_RING_ATTACH_EXTRA];
        const struct objm_v3_request rq = {.op = OBJM_V3_OP_RING_ATTACH, .extra = extra, .extra_len = sizeof(extra)};

        if (!(om->flags & OBJMAPPER_RING) || !(om->capabilities & OBJM_V3_CAP_RING) || om->ring.unusable ||
            objm_bytequeue_reserve(out, OBJM_V3_REQUEST_HEADER + sizeof(extra), OBJM_LINK_OUT_MAX) < 0)
                return;
        objm_ring_attach_encode(extra, &wanted);
        objm_bytequeue_push(out, objm_v3_request_encode(objm_bytequeue_end(out), objm_bytequeue_room(out), &rq));
        om->ring.state = OBJM_RINGLINK_ATTACHING;
}

/* Has the three descriptors, or fewer when some were lost. */
static int begin(struct objmapper *om, const struct objm_ring_geometry *g, const int *fds, size_t n)
{
        int r = n == OBJM_RING_FDS ? objm_ring_client_init(&om->ring.end, g, fds) : -EMFILE;

        if (r == 0)
                om->ring.state = OBJM_RINGLINK_ON;
        else
                om->ring.unusable = true;
        return r == -EPROTO ? r : n < OBJM_RING_FDS ? -EMFILE : 1;
}

static int take_grant(struct objmapper *om, const uint8_t *body)
{
        struct objm_ring_geometry g;
        int fds[OBJM_RING_FDS], r;
        size_t n = 0;

        if (!objm_ring_grant_decode(body, &g))
                return -EPROTO;
        while (n < OBJM_RING_FDS && (fds[n] = objm_fdqueue_pop(&om->link.fds)) >= 0)
                n++;
        if (n < OBJM_RING_FDS && !om->link.fds_lost)
                r = -EPROTO;
        else
                r = begin(om, &g, fds, n);
        objm_fd_close_many(fds, n);
        return r;
}

int objm_ringlink_answered(struct objmapper *om, const struct objm_reply *r, size_t used)
{
        struct objm_bytequeue *in = &om->link.in;
        int e = 1;

        if (om->ring.state != OBJM_RINGLINK_ATTACHING)
                return -EPROTO;
        if (r->status == OBJM_STATUS_OK ? r->n_fds != OBJM_RING_FDS || r->body_len != OBJM_RING_GRANT
                                        : r->n_fds || r->body_len)
                return -EPROTO;
        if (objm_bytequeue_len(in) - used < r->body_len)
                return 0;
        om->ring.state = OBJM_RINGLINK_OFF;
        if (r->status == OBJM_STATUS_OK)
                e = take_grant(om, objm_bytequeue_front(in) + used);
        objm_bytequeue_pop(in, used + (size_t)r->body_len);
        return e;
}

static int take_one(struct objmapper *om);

/* False: it has come to a body, which is to be taken first, or to nonsense. */
static bool take_rest(struct objmapper *om)
{
        int n, r = 0;

        while (r == 0 && !om->ring.body && (n = objm_ring_client_readable(&om->ring.end)) != 0)
                r = n < 0 ? n : take_one(om);
        if (r < 0)
                objm_session_drop(om, -EPROTO);
        return r == 0 && !om->ring.body;
}

/*
 * The server has ended the ring: what it has answered is there, the rest will not be answered. The next use asks for
 * another one. Of answers with a descriptor that is still to be received, asking again would bring a second one.
 */
static void on_end(struct objmapper *om)
{
        if (!take_rest(om))
                return;
        objm_slots_requeue_ring(&om->slots);
        objm_ring_client_deinit(&om->ring.end);
        om->ring.state = OBJM_RINGLINK_OFF;
        om->ring.full = false;
        om->ring.ended = true;
}

void objm_ringlink_on_doorbell(struct objmapper *om)
{
        if (objm_ringlink_on(&om->ring) && objm_ring_client_ended(&om->ring.end) && !om->ring.body)
                on_end(om);
}

void objm_ringlink_close(struct objmapper *om, bool forked)
{
        if (objm_ringlink_on(&om->ring)) {
                if (forked)
                        objm_ring_client_forget(&om->ring.end);
                else
                        objm_ring_client_deinit(&om->ring.end);
        }
        om->ring.state = OBJM_RINGLINK_OFF;
        om->ring.full = om->ring.ended = false;
        om->ring.body = NULL;
}

bool objm_ringlink_takes(const struct objmapper *om, const struct objm_slot *s)
{
        if (!objm_ringlink_on(&om->ring) || s->no_ring)
                return false;
        return s->op == OBJM_V3_OP_GET ? s->mode != OBJM_MODE_SPLICE
                                       : s->op == OBJM_V3_OP_STAT || s->op == OBJM_V3_OP_PING;
}

static uint8_t mode_of(const struct objm_slot *s)
{
        if (s->op != OBJM_V3_OP_GET)
                return OBJM_MODE_NONE;
        return s->mode == OBJM_MODE_COPY ? OBJM_MODE_INLINE : s->mode;
}

_Static_assert(OBJM_V3_INLINE_DEFAULT < UINT16_MAX, "a longer range is, of auto, as good as all of the object");

/* Its URI goes into the entry. */
static bool is_short(const struct objm_slot *s)
{
        return !s->if_version && !s->range_offset && s->uri_len <= OBJM_RING_URI_SHORT &&
               (s->range_length <= UINT16_MAX || s->mode == OBJM_MODE_AUTO);
}

bool objm_ringlink_put(struct objmapper *om, struct objm_slot *s)
{
        bool plain = is_short(s);
        struct objm_ring_request rq = {.op = s->op, .mode = mode_of(s), .id = objm_slots_id(&om->slots, s)};
        int r;

        if (plain) {
                rq.length = s->range_length < UINT16_MAX ? (uint16_t)s->range_length : UINT16_MAX;
        } else {
                rq.flags = (s->if_version ? OBJM_RING_RQ_IF_VERSION : 0) |
                           (s->range_offset || s->range_length ? OBJM_RING_RQ_RANGE : 0);
                rq.get.range_offset = s->range_offset;
                rq.get.range_length = s->range_length;
                rq.get.if_version = s->if_version;
        }
        r = objm_ring_client_put(&om->ring.end, &rq, s->uri, s->uri_len, plain);
        if (r < 0)
                objm_session_drop(om, r);
        om->ring.full = r == OBJM_RING_CLIENT_FULL;
        if (r)
                return false;
        s->asked = rq.mode;
        objm_slots_mark_on_ring(&om->slots, s);
        return true;
}

void objm_ringlink_publish(struct objmapper *om)
{
        if (objm_ringlink_on(&om->ring) && objm_ring_client_publish(&om->ring.end) == OBJM_RING_CLIENT_ENDED)
                on_end(om);
}

/* ---- replies ---- */

static struct objm_reply translate(const struct objm_ring_reply *e)
{
        return (struct objm_reply){
                .status = e->status, .n_fds = e->n_fds, .mode = e->mode, .has_id = true, .op = e->op, .id = e->id,
                .has_size = true, .body_len = e->body_len,
                .object = {.fd = -1, .size = e->size, .version = e->version,
                           .mtime = e->op == OBJM_V3_OP_STAT ? e->mtime : -1,
                           .not_modified = !!(e->flags & OBJM_RING_RS_NOT_MODIFIED)},
        };
}

/* To where it is wanted, else it stays where it is until it has been taken. False: it is not inside the arena. */
static bool take_body(struct objmapper *om, struct objm_slot *s, const struct objm_ring_reply *e)
{
        const uint8_t *body = objm_ring_client_body(&om->ring.end, e);

        if (body && s->buf) {
                memcpy(s->buf, body, e->body_len);
        } else {
                om->ring.body = body;
                om->body_left = body ? e->body_len : 0;
        }
        return body;
}

/* 0 or -EPROTO. What a descriptor comes with is completed by its message on the socket, which may have come already. */
static int take_one(struct objmapper *om)
{
        struct objm_ring_client *c = &om->ring.end;
        struct objm_ring_reply e;
        struct objm_reply r;
        struct objm_slot *s;
        int result;

        objm_ring_client_take(c, &e);
        r = translate(&e);
        s = objm_slots_find_sent(&om->slots, e.id);
        if (!s || !s->on_ring || s->op != e.op || s->fd_coming)
                return e.n_fds ? 0 : -EPROTO;
        if (e.status == OBJM_STATUS_UNSUPPORTED && e.flags & OBJM_RING_RS_SOCKET) {
                objm_slots_requeue_for_socket(&om->slots, s);
                return 0;
        }
        if (!objm_reply_fits(s, &r))
                return -EPROTO;
        if (e.n_fds) {
                objm_slots_mark_fd_coming(&om->slots, s);
                return 0;
        }
        if (e.body_len && !take_body(om, s, &e))
                return -EPROTO;
        s->body_len = e.body_len;
        result = objm_status_errno(e.status);
        objm_slots_complete(&om->slots, s, s->buf && e.body_len ? (int)e.body_len : result, &r.object);
        return 0;
}

bool objm_ringlink_receive(struct objmapper *om)
{
        struct objm_ring_client *c = &om->ring.end;
        int n, r = 0;

        if (!objm_ringlink_on(&om->ring) || (om->body_left && !om->filling))
                return false;
        objm_ring_client_disarm(c);
        n = objm_ring_client_readable(c);
        if (n == 0)
                return false;
        for (int i = 0; i < n && r == 0 && !om->ring.body; i++)
                r = take_one(om);
        om->ring.full = false;
        if (n < 0 || r < 0) {
                objm_session_drop(om, -EPROTO);
                return true;
        }
        objm_backoff_reset(&om->backoff);
        if (!om->ring.body)
                objm_ring_client_release(c);
        return true;
}

size_t objm_ringlink_take_body(struct objmapper *om, void *buf, size_t n)
{
        memcpy(buf, om->ring.body, n);
        om->ring.body += n;
        om->body_left -= n;
        if (!om->body_left)
                objm_ringlink_skip_body(om);
        return n;
}

void objm_ringlink_skip_body(struct objmapper *om)
{
        om->ring.body = NULL;
        om->body_left = 0;
        objm_ring_client_release(&om->ring.end);
}

/* ---- waiting ---- */

bool objm_ringlink_alone(const struct objmapper *om)
{
        return objm_ringlink_on(&om->ring) && om->slots.n_sent == om->slots.n_ring && !om->slots.n_fds_coming &&
               !objm_bytequeue_len(&om->link.out);
}

void objm_ringlink_sleep(struct objmapper *om, uint64_t ns)
{
        struct objm_ring_client *c = &om->ring.end;

        if (objm_ring_client_arm(c, OBJM_RING_ASLEEP) == 0)
                objm_ring_client_wait(c, ns < SLICE_NS ? ns : SLICE_NS);
        objm_ring_client_disarm(c);
}

bool objm_ringlink_arm(struct objmapper *om)
{
        struct objm_ring_client *c = &om->ring.end;

        if (!objm_ringlink_on(&om->ring) || !om->slots.n_ring || c->armed)
                return false;
        return objm_ring_client_arm(c, OBJM_RING_POLLING) != 0;
}
