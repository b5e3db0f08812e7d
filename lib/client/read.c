/* SPDX-License-Identifier: MIT */
#include "client/objmapper.h"

#include "base/clock.h"
#include "base/fd.h"
#include "client/bodies.h"
#include "client/call.h"
#include "client/read_options.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 65536

/*
 * A body's way to the caller. An attempt asks for what is still missing and hands it on as it comes, from the
 * connection or, where a descriptor was the answer, from that. What it ends with, beside 0 and -errno:
 */
enum outcome {
        LOST = 1, /* the connection broke in the middle */
        CHANGED,  /* the object is not the one that the first bytes are of */
        STOPPED,  /* `result` says why */
};

struct read {
        struct objmapper *om;
        const char *uri;
        size_t uri_len;
        struct objm_slots_read wanted; /* from the beginning; range_length 0: to the end */
        struct objmapper_object object;
        uint64_t len;    /* bytes to hand on, known with `object` */
        uint64_t done;   /* bytes handed on */
        uint64_t mark;   /* of them, before the current attempt */
        unsigned losses; /* attempts in a row that came to nothing */
        uint8_t *buf;    /* the caller's, or with `fn` a piece's */
        objmapper_read_fn fn;
        void *userdata;
        int result;
};

/* ---- one attempt ---- */

/* An answer that may have a body cannot be awaited by anyone else. */
static int give_up(struct read *r)
{
        int e = objm_call_give_up(r->om);

        if (r->om->slots.n_sent && r->wanted.mode != OBJM_MODE_FD && r->om->state == OBJM_SESSION_READY)
                objm_session_drop(r->om, -ECONNRESET);
        return e;
}

static int ask(struct read *r, struct objmapper_completion *ret, uint64_t *ret_body)
{
        struct objm_slots_read q = r->wanted;
        int e;

        if (r->done) {
                q.range_offset += r->done;
                q.range_length = r->len - r->done;
                q.if_version = 0;
        }
        if (r->om->dead)
                return r->om->dead;
        e = objm_slots_add_read(&r->om->slots, &q, r->uri, r->uri_len);
        if (e < 0)
                return e;
        objm_session_flush(r->om); /* before the time is read */
        if (objm_wait_done(r->om, objm_wait_deadline(r->om->timeout_ms)) < 0)
                return give_up(r);
        *ret_body = objm_slots_first(&r->om->slots.done)->body_len;
        objm_slots_take_done(&r->om->slots, ret, 1);
        return ret->result;
}

static int accept_object(struct read *r, const struct objmapper_object *o)
{
        if (r->done)
                return o->version == r->object.version && o->size == r->object.size ? 0 : CHANGED;
        r->object = *o;
        r->object.fd = -1;
        r->len = o->not_modified ? 0 : objm_slots_clip(r->wanted.range_offset, r->wanted.range_length, o->size);
        return 0;
}

/* At least one byte, at most *@n, or what is wrong. */
static int receive(struct read *r, int fd, void *buf, size_t *n)
{
        ssize_t got;

        if (fd < 0)
                got = objm_wait_body(r->om, buf, *n, objm_wait_deadline(r->om->timeout_ms));
        else
                got = objmapper_read_all(fd, buf, *n, r->wanted.range_offset + r->done);
        if (got <= 0 && fd >= 0)
                return got ? (int)got : CHANGED; /* shorter than it was said to be */
        if (got < 0)
                return got == -ECONNRESET ? LOST : (int)got;
        *n = (size_t)got;
        return 0;
}

static int hand_on(struct read *r, const void *data, size_t n)
{
        if (r->fn)
                r->result = r->fn(r->userdata, &r->object, r->wanted.range_offset + r->done, data, n);
        if (r->result)
                return STOPPED;
        r->done += n;
        return 0;
}

static int move(struct read *r, int fd)
{
        while (r->done < r->len) {
                uint8_t *to = r->fn ? r->buf : r->buf + r->done;
                uint64_t left = r->len - r->done;
                size_t n = r->fn && left > PIECE ? PIECE : (size_t)left;
                int e = receive(r, fd, to, &n);

                if (e == 0)
                        e = hand_on(r, to, n);
                if (e)
                        return e;
        }
        return 0;
}

static int attempt(struct read *r)
{
        struct objmapper_completion c = {.object.fd = -1};
        uint64_t body = 0;
        int e;

        r->mark = r->done;
        e = ask(r, &c, &body);
        if (e < 0)
                return e == -ENOENT && r->done ? CHANGED : e;
        e = accept_object(r, &c.object);
        if (e == 0 && c.object.fd < 0 && body < r->len - r->done)
                e = -EPROTO;
        if (e == 0)
                e = move(r, c.object.fd);
        objm_fd_close(c.object.fd);
        objm_session_skip_body(r->om);
        return e;
}

/* ---- until it is done ---- */

/* What a caller has not seen can be read anew. */
static int begin_anew(struct read *r, int error)
{
        if (r->fn && r->done)
                return error;
        r->done = 0;
        return ++r->losses < OBJM_SLOTS_SENDS ? 0 : error;
}

/* 0: try again. */
static int after(struct read *r, int outcome)
{
        if (outcome == CHANGED)
                return begin_anew(r, -ESTALE);
        if (!r->done || !r->object.version)
                return begin_anew(r, -ECONNRESET);
        r->losses = r->done > r->mark ? 0 : r->losses + 1;
        return r->losses < OBJM_SLOTS_SENDS ? 0 : -ECONNRESET;
}

static int repeat(struct read *r)
{
        int e;

        while ((e = attempt(r)) == LOST || e == CHANGED)
                if ((e = after(r, e)) < 0)
                        return e;
        return e;
}

static int run(struct read *r, struct objmapper_object *ret)
{
        int e;

        r->om->reading = true;
        e = repeat(r);
        r->om->reading = false;
        if (e)
                return e == STOPPED ? r->result : e;
        if (ret)
                *ret = r->object;
        return 0;
}

/* ---- the calls ---- */

static int prepare(struct read *r, const struct objmapper_read_options *options)
{
        int e = objm_read_options_decode(options, &r->wanted);

        r->uri_len = objm_call_length(r->uri);
        if (e < 0 || !r->uri_len)
                return -EINVAL;
        if (r->uri_len > OBJMAPPER_URI_MAX)
                return -ENAMETOOLONG;
        e = objm_bodies_of(r->om, &r->om);
        return e < 0 ? e : objm_call_begin(r->om);
}

ssize_t objmapper_read(struct objmapper *om, const char *uri, void *buf, size_t n,
                       const struct objmapper_read_options *options, struct objmapper_object *ret)
{
        struct read r = {.om = om, .uri = uri, .buf = buf};
        int e = n && n <= SSIZE_MAX ? prepare(&r, options) : -EINVAL;

        if (e < 0)
                return e;
        if (!r.wanted.range_length || r.wanted.range_length > n)
                r.wanted.range_length = n;
        e = run(&r, ret);
        return e < 0 ? e : (ssize_t)r.done;
}

int objmapper_read_cb(struct objmapper *om, const char *uri, objmapper_read_fn fn, void *userdata,
                      const struct objmapper_read_options *options, struct objmapper_object *ret)
{
        struct read r = {.om = om, .uri = uri, .fn = fn, .userdata = userdata};
        int e = prepare(&r, options);

        if (e < 0)
                return e;
        r.buf = malloc(PIECE);
        if (!r.buf)
                return -ENOMEM;
        e = run(&r, ret);
        free(r.buf);
        return e;
}

struct target {
        int fd, timeout_ms;
};

/* Signals, however many, do not put the deadline off. */
static int await_room(const struct target *t)
{
        uint64_t deadline = objm_wait_deadline(t->timeout_ms), now;
        int r;

        do {
                now = objm_clock_ns();
                r = now < deadline ? objm_wait_fd(t->fd, POLLOUT, deadline, now) : 0;
        } while (r == -EINTR);
        if (r == 0)
                return -ETIMEDOUT;
        return r < 0 ? r : 0;
}

static int write_piece(void *userdata, const struct objmapper_object *object, uint64_t offset, const void *data,
                       size_t n)
{
        const struct target *t = userdata;
        const char *p = data, *end = p + n;

        while (p < end) {
                ssize_t w = write(t->fd, p, (size_t)(end - p));
                int e = 0;

                if (w >= 0)
                        p += w;
                else if (errno == EAGAIN)
                        e = await_room(t);
                else if (errno != EINTR)
                        e = -errno;
                if (e < 0)
                        return e;
        }
        return 0;
}

int objmapper_read_to_fd(struct objmapper *om, const char *uri, int fd, const struct objmapper_read_options *options,
                         struct objmapper_object *ret)
{
        struct target t = {fd, om->timeout_ms};

        return objmapper_read_cb(om, uri, write_piece, &t, options, ret);
}
