/* SPDX-License-Identifier: MIT */
#include "client/session.h"

#include "base/clock.h"
#include "client/epoch.h"
#include "client/fill.h"
#include "client/reason.h"

#include <errno.h>
#include <string.h>

/* While all that is awaited comes through memory. */
#define LOOKS_PER_SOCKET 256

static void schedule(struct objmapper *om)
{
        om->retry_at = objm_clock_ns() + objm_backoff_next(&om->backoff);
}

static void close_link(struct objmapper *om, int error)
{
        objm_ringlink_close(om, objm_epoch() != om->epoch);
        objm_link_close(&om->link);
        om->body_left = 0;
        om->filling = NULL;
        om->state = OBJM_SESSION_DOWN;
        om->error = error;
}

void objm_session_fail(struct objmapper *om, int error)
{
        close_link(om, error);
        objm_slots_requeue_sent(&om->slots, false);
        objm_slots_fail_queued(&om->slots, error);
        schedule(om);
}

/* A server of version 1 may just close on a hello. So does one that dies: believe it the second time only. */
static void note_unanswered(struct objmapper *om)
{
        if (++om->unanswered >= 2 && !om->v3_seen && !om->version)
                om->use_v1 = true;
}

void objm_session_drop(struct objmapper *om, int error)
{
        bool was_ready = om->state == OBJM_SESSION_READY;

        if (om->state == OBJM_SESSION_HELLO && error == -ECONNRESET)
                note_unanswered(om);
        close_link(om, error);
        if (error == -EPROTO)
                objm_slots_fail_sent(&om->slots, error);
        else
                objm_slots_requeue_sent(&om->slots, error != -EMFILE);
        if (was_ready && (om->flags & OBJMAPPER_NO_RECONNECT)) {
                om->dead = error == -EPROTO ? error : -ECONNRESET;
                objm_slots_requeue_sent(&om->slots, false);
                objm_slots_fail_queued(&om->slots, om->dead);
        }
        schedule(om);
}

void objm_session_ready(struct objmapper *om, const struct objm_wire *wire, unsigned granted)
{
        om->state = OBJM_SESSION_READY;
        om->wire = wire;
        om->granted = granted;
        om->error = 0;
        if (wire == &objm_wire_v3)
                objm_ringlink_ask(om);
}

bool objm_session_passes(int error)
{
        switch (-error) {
        case 0:
        case ENOENT:
        case ECONNREFUSED:
        case ECONNRESET:
        case EAGAIN:
        case EINTR:
        case EBUSY:
                return true;
        default:
                return false;
        }
}

static void connect_failed(struct objmapper *om, int error)
{
        if (!objm_session_passes(error)) {
                objm_session_fail(om, error);
                return;
        }
        om->error = error;
        schedule(om);
}

/* Sends what waits. A peer that is gone may have left its reasons: they are read before the connection is given up. */
static void send_out(struct objmapper *om)
{
        int r = objm_link_send(&om->link);

        if (r == 0)
                return;
        objm_bytequeue_clear(&om->link.out);
        while (objm_session_receive(om))
                ;
        if (om->state != OBJM_SESSION_DOWN)
                objm_session_drop(om, r);
}

static void send_hello(struct objmapper *om)
{
        struct objm_bytequeue *out = &om->link.out;

        om->state = OBJM_SESSION_HELLO;
        objm_bytequeue_push(out, objm_hello_encode(om, objm_bytequeue_end(out), objm_bytequeue_room(out)));
        send_out(om);
}

/* The socket can be used. */
static void begin(struct objmapper *om)
{
        bool v1 = om->version == 1 || om->use_v1;

        om->use_v1 = false;
        if (v1)
                objm_session_ready(om, &objm_wire_v1, om->slots.depth);
        else
                send_hello(om);
}

static void connect_now(struct objmapper *om)
{
        int r = objm_link_open(&om->link, om->path);

        om->generation += r >= 0;
        if (r < 0)
                connect_failed(om, r);
        else if (r == OBJM_LINK_CONNECTING)
                om->state = OBJM_SESSION_CONNECTING;
        else
                begin(om);
}

static void go_on_connecting(struct objmapper *om)
{
        int r = objm_link_connected(&om->link);

        if (r == -EINPROGRESS)
                return;
        if (r == 0) {
                begin(om);
                return;
        }
        close_link(om, r);
        connect_failed(om, r);
}

/* The parent's socket must not hear from this process; closing it here says nothing. What is in flight is sent anew. */
static void leave_parent(struct objmapper *om, uint64_t epoch)
{
        close_link(om, 0);
        objm_slots_requeue_sent(&om->slots, false);
        objm_backoff_init(&om->backoff, epoch);
        om->dead = 0;
        om->epoch = epoch;
        om->retry_at = 0;
}

void objm_session_advance(struct objmapper *om, bool wanted)
{
        uint64_t epoch = objm_epoch();

        if (objm_unlikely(epoch != om->epoch))
                leave_parent(om, epoch);
        if (objm_unlikely(om->state == OBJM_SESSION_CONNECTING))
                go_on_connecting(om);
        if (objm_likely(om->state != OBJM_SESSION_DOWN) || om->dead)
                return;
        if ((wanted || !objm_list_empty(&om->slots.queued)) && objm_clock_ns() >= om->retry_at)
                connect_now(om);
}

bool objm_session_wants_send(const struct objmapper *om)
{
        if (objm_bytequeue_len(&om->link.out) || om->state == OBJM_SESSION_CONNECTING)
                return true;
        return om->state == OBJM_SESSION_READY && !om->ring.full && om->slots.n_sent < om->granted &&
               !objm_list_empty(&om->slots.queued);
}

/* Makes room for one more request, by sending when the buffer has reached its bound. */
static int make_room(struct objmapper *om, size_t need)
{
        struct objm_bytequeue *out = &om->link.out;
        int r = objm_bytequeue_reserve(out, need, OBJM_LINK_OUT_MAX);

        if (r != -ENOBUFS)
                return r;
        send_out(om);
        return om->state == OBJM_SESSION_READY ? objm_bytequeue_reserve(out, need, OBJM_LINK_OUT_MAX) : r;
}

/* Why no mode would do. */
static const char *why_not(const struct objmapper *om, const struct objm_slot *s)
{
        if (om->link.remote && s->mode == OBJM_MODE_FD)
                return s->op == OBJM_V3_OP_GET ? "a descriptor cannot cross TCP: ask for copy, splice or auto"
                                               : "over TCP, version 1 of the protocol has no such operation";
        if (s->range_offset)
                return "version 1 of the protocol reads from the beginning only";
        return "the server sends no bytes, only descriptors";
}

static bool give_up(struct objmapper *om, struct objm_slot *s, const char *reason)
{
        objm_reason_set(om, reason, strlen(reason));
        objm_slots_fail(&om->slots, s, -EOPNOTSUPP);
        return true;
}

/* False: no more can be encoded now. */
static bool encode_one(struct objmapper *om, struct objm_slot *s)
{
        struct objm_bytequeue *out = &om->link.out;
        size_t n;
        int r;

        if (objm_ringlink_takes(om, s))
                return objm_ringlink_put(om, s);
        r = make_room(om, om->wire->request_size(s->uri_len));
        if (r == -ENOBUFS)
                return false;
        if (r < 0) {
                objm_slots_fail(&om->slots, s, r);
                return true;
        }
        s->asked = om->wire->mode(s, om->capabilities, om->link.remote);
        if (!s->asked)
                return give_up(om, s, why_not(om, s));
        n = om->wire->encode(objm_bytequeue_end(out), objm_bytequeue_room(out), s, objm_slots_id(&om->slots, s));
        if (!n)
                return give_up(om, s, "version 1 of the protocol has no such operation");
        objm_bytequeue_push(out, n);
        objm_slots_mark_sent(&om->slots, s);
        return true;
}

void objm_session_flush(struct objmapper *om)
{
        struct objm_slot *s;

        objm_session_advance(om, false);
        if (om->ring.ended && !objm_list_empty(&om->slots.queued)) {
                om->ring.ended = false;
                objm_ringlink_ask(om);
        }
        while (om->state == OBJM_SESSION_READY && om->slots.n_sent < om->granted &&
               (s = objm_slots_first(&om->slots.queued)))
                if (!encode_one(om, s))
                        break;
        objm_ringlink_publish(om);
        if (om->state != OBJM_SESSION_DOWN && objm_bytequeue_len(&om->link.out))
                send_out(om);
}

bool objm_session_receive(struct objmapper *om)
{
        ssize_t n;

        if (om->state <= OBJM_SESSION_CONNECTING || (om->body_left && !om->filling))
                return false;
        if (objm_ringlink_receive(om))
                return true;
        n = objm_fill_is_large(om) ? objm_fill_receive(om) : objm_link_recv(&om->link);
        if (n == -EAGAIN)
                return false;
        if (n < 0)
                objm_session_drop(om, (int)n);
        else if (om->state == OBJM_SESSION_HELLO)
                objm_hello_receive(om);
        else
                objm_replies_receive(om);
        return true;
}

bool objm_session_look(struct objmapper *om)
{
        if (objm_ringlink_alone(om) && ++om->ring.looks % LOOKS_PER_SOCKET)
                return objm_ring_client_look(&om->ring.end) && objm_ringlink_receive(om);
        return objm_session_receive(om);
}

void objm_session_skip_body(struct objmapper *om)
{
        if (om->ring.body)
                objm_ringlink_skip_body(om);
        else if (om->body_left)
                objm_session_drop(om, -ECONNRESET);
}
