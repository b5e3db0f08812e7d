/* SPDX-License-Identifier: MIT */
#include "client/replies.h"

#include "base/fd.h"
#include "client/fill.h"
#include "client/reason.h"
#include "client/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The request that @r answers. An answer of version 1 that nobody asked for is how a server says that it is full. */
static int find_slot(struct objmapper *om, const struct objm_reply *r, struct objm_slot **ret)
{
        struct objm_slot *s = r->has_id ? objm_slots_find_sent(&om->slots, r->id)
                                        : objm_slots_first(&om->slots.sent);

        if (!s)
                return !r->has_id && r->status == OBJM_STATUS_UNAVAILABLE ? -EBUSY : -EPROTO;
        if (r->has_id && r->op != s->op)
                return -EPROTO;
        *ret = s;
        return 0;
}

static bool granted(const struct objm_slot *s, const struct objm_reply *r)
{
        return s->op == OBJM_V3_OP_GET && r->status == OBJM_STATUS_OK && !r->object.not_modified;
}

static bool wants_fd(const struct objm_slot *s, const struct objm_reply *r)
{
        return granted(s, r) && (s->asked == OBJM_MODE_FD || (s->asked == OBJM_MODE_AUTO && r->mode == OBJM_MODE_FD));
}

/* One descriptor with a granted object, none with anything else. */
static bool right_fds(const struct objm_slot *s, const struct objm_reply *r)
{
        if (!r->has_id)
                return true; /* the decoder has seen to it */
        if (r->object.not_modified && !s->if_version)
                return false;
        return r->n_fds == wants_fd(s, r);
}

/* As many bytes as the range and the size make, with what was asked for as a body, and none with anything else. */
static bool right_body(const struct objm_slot *s, const struct objm_reply *r)
{
        if (!r->has_id)
                return true; /* the decoder has seen to it */
        if (s->op == OBJM_V3_OP_STATS && r->status == OBJM_STATUS_OK)
                return true;
        if (!granted(s, r) || r->n_fds)
                return !r->body_len;
        return r->body_len == objm_slots_clip(s->range_offset, s->range_length, r->object.size);
}

bool objm_reply_fits(const struct objm_slot *s, const struct objm_reply *r)
{
        return right_fds(s, r) && right_body(s, r);
}

/* Version 1 says size and time in metadata, or not at all: then the descriptor knows. */
static void look_at_fd(struct objm_reply *r)
{
        struct stat st;

        if ((r->has_size && r->object.mtime >= 0) || fstat(r->object.fd, &st) < 0)
                return;
        r->object.size = (uint64_t)st.st_size;
        r->object.mtime = st.st_mtime;
}

/* Matches the descriptor. Those of a message arrive in order up to the first that was lost. */
static int take_fd(struct objmapper *om, struct objm_reply *r)
{
        r->object.fd = objm_fdqueue_pop(&om->link.fds);
        if (r->object.fd < 0)
                return om->link.fds_lost ? -EMFILE : -EPROTO;
        if (!r->has_id)
                look_at_fd(r);
        return 0;
}

/* Without it, when there is no memory. */
static void keep_text(struct objmapper *om, const struct objm_reply *r)
{
        free(om->text);
        om->text = r->text ? strndup((const char *)r->text, r->text_len) : NULL;
}

/* As take_one(), of what is said of the ring. */
static int take_ring_reply(struct objmapper *om, const struct objm_reply *r, size_t used, unsigned *lost)
{
        int e;

        if (r->op == OBJM_V3_OP_RING_ATTACH) {
                e = objm_ringlink_answered(om, r, used);
                *lost += e == -EMFILE;
                return e == -EMFILE ? 1 : e;
        }
        if (r->op != OBJM_V3_OP_RING_DOORBELL || !(om->flags & OBJMAPPER_RING) || r->n_fds || r->body_len)
                return -EPROTO;
        objm_bytequeue_pop(&om->link.in, used);
        objm_ringlink_on_doorbell(om);
        return 1;
}

/* Returns 1 when a reply was taken, 0 when no whole one is there, or -errno. *@lost counts replies without their fd. */
static int take_one(struct objmapper *om, unsigned *lost)
{
        struct objm_bytequeue *in = &om->link.in;
        struct objm_slot *s;
        struct objm_reply r;
        enum objm_decode d;
        size_t used;
        int e;

        d = om->wire->decode(objm_bytequeue_front(in), objm_bytequeue_len(in), objm_slots_first(&om->slots.sent), &r,
                             &used);
        if (d != OBJM_DECODE_OK)
                return d == OBJM_DECODE_MORE ? 0 : -EPROTO;
        if (r.has_id && (r.op == OBJM_V3_OP_RING_ATTACH || r.op == OBJM_V3_OP_RING_DOORBELL))
                return take_ring_reply(om, &r, used, lost);
        e = find_slot(om, &r, &s);
        if (e == -EBUSY)
                objm_reason_of(om, &r);
        if (e < 0)
                return e;
        if (!objm_reply_fits(s, &r) || (s->on_ring && !r.n_fds))
                return -EPROTO;
        e = r.n_fds ? take_fd(om, &r) : objm_status_errno(r.status);
        if (e == -EPROTO && r.n_fds)
                return e;
        *lost += e == -EMFILE;
        if (s->op == OBJM_V3_OP_STAT)
                r.object.fd = objm_fd_close(r.object.fd);
        if (objm_slot_is_control(s))
                keep_text(om, &r);
        if (!s->abandoned)
                objm_reason_of(om, &r);
        objm_bytequeue_pop(in, used);
        if (s->buf && r.body_len) {
                objm_fill_begin(om, s, &r.object, r.body_len);
                return 1;
        }
        s->body_len = om->body_left = r.body_len;
        objm_slots_complete(&om->slots, s, e, &r.object);
        return 1;
}

/*
 * Once descriptors and replies turn out not to match, those matched in the same round are not to be trusted either:
 * everything done since @mark that has a descriptor ends with -EPROTO.
 */
static void distrust(struct objmapper *om, struct objm_list *mark)
{
        for (struct objm_list *it = mark->next; it != &om->slots.done; it = it->next) {
                struct objm_slot *s = objm_container_of(it, struct objm_slot, node);

                if (s->object.fd < 0)
                        continue;
                s->object = (struct objmapper_object){.fd = objm_fd_close(s->object.fd), .mtime = -1};
                s->result = -EPROTO;
        }
}

/*
 * Descriptors were lost, so counting no longer tells whose the next one is. With nothing outstanding there is nothing
 * to confuse; else only a new connection is sure to be in step. At least one request ends, so this cannot go on for
 * ever.
 */
static void resync(struct objmapper *om, unsigned lost)
{
        struct objm_slots *slots = &om->slots;

        if (!lost && slots->n_sent)
                objm_slots_fail(slots, objm_slots_first(&slots->sent), -EMFILE);
        if (slots->n_sent || om->filling || objm_bytequeue_len(&om->link.in))
                objm_session_drop(om, -EMFILE);
        else
                om->link.fds_lost = false;
}

/* At most: what may still be answered. */
static size_t fds_to_come(const struct objmapper *om)
{
        return om->slots.n_sent + (om->ring.state == OBJM_RINGLINK_ATTACHING ? OBJM_RING_FDS : 0);
}

/* As take_one(), also of a body that a submitted read waits for. */
static int take_next(struct objmapper *om, unsigned *lost)
{
        if (!om->body_left)
                return take_one(om, lost);
        if (!om->filling)
                return 0;
        objm_fill_take(om);
        return 1;
}

void objm_replies_receive(struct objmapper *om)
{
        struct objm_list *mark = om->slots.done.prev;
        unsigned lost = 0, n = 0;
        int r = 0;

        while (objm_bytequeue_len(&om->link.in) && (r = take_next(om, &lost)) > 0)
                n++;
        /* A message larger than one of the kernel's buffers comes in parts, its descriptors with the first. */
        if (r >= 0 && !om->body_left && !objm_bytequeue_len(&om->link.in))
                r = objm_fdqueue_len(&om->link.fds) > fds_to_come(om) ? -EPROTO : 0;
        if (n)
                objm_backoff_reset(&om->backoff);
        if (r < 0) {
                if (r == -EPROTO)
                        distrust(om, mark);
                objm_session_drop(om, r);
        } else if (om->link.fds_lost) {
                resync(om, lost);
        }
        objm_fill_from_descriptors(om, mark);
}

static ssize_t take_arrived(struct objm_bytequeue *in, void *buf, size_t n)
{
        if (n > objm_bytequeue_len(in))
                n = objm_bytequeue_len(in);
        memcpy(buf, objm_bytequeue_front(in), n);
        objm_bytequeue_pop(in, n);
        return (ssize_t)n;
}

ssize_t objm_replies_take_body(struct objmapper *om, void *buf, size_t n)
{
        ssize_t r;

        if (!om->body_left)
                return -ECONNRESET;
        if (n > om->body_left)
                n = (size_t)om->body_left;
        if (om->ring.body)
                return (ssize_t)objm_ringlink_take_body(om, buf, n);
        if (objm_bytequeue_len(&om->link.in))
                r = take_arrived(&om->link.in, buf, n);
        else
                r = objm_link_recv_into(&om->link, buf, n);
        if (r == -EAGAIN)
                return r;
        if (r < 0) {
                objm_session_drop(om, (int)r);
                return r == -EPROTO ? r : -ECONNRESET;
        }
        om->body_left -= (uint64_t)r;
        /* A descriptor may come with the last bytes of a body and its reply behind them, later. */
        if (!om->body_left && objm_bytequeue_len(&om->link.in))
                objm_replies_receive(om);
        return r;
}
