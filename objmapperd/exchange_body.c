/* SPDX-License-Identifier: MIT */
#include "objmapperd/stretch.h"

#include "base/fd.h"
#include "base/pagecache.h"
#include "objmapperd/escort.h"
#include "objmapperd/exchange.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/transfer.h"

#include <errno.h>
#include <string.h>

static void close_body(struct reply *reply)
{
        if (!reply->kept)
                reply->fd = objm_fd_close(reply->fd);
}

/* What is kept serves where it is read at once; from here on the descriptor is the reply's. */
static void own_body(struct connection *c, struct reply *reply)
{
        if (reply->kept)
                objm_kept_surrender(&c->worker->kept, reply->fd);
        reply->kept = false;
        reply->bytes = NULL;
}

ssize_t exchange_read_body(const struct reply *r, uint8_t *buf)
{
        if (!r->bytes)
                return objm_pagecache_read(r->fd, buf, (size_t)r->body_len, r->body_at);
        memcpy(buf, r->bytes + r->body_at, (size_t)r->body_len);
        return (ssize_t)r->body_len;
}

void exchange_end_body(struct connection *c, const struct request *rq, struct reply *reply, bool sent)
{
        if (sent)
                reply->kept = request_keep(c->worker->snapshot, &c->worker->kept, rq, reply);
        close_body(reply);
}

/* Appends reply and object to the batch, if that is small and in the page cache. */
static bool gather_body(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply)
{
        if (!transfer_put(c, reply))
                return false;
        exchange_end_body(c, rq, reply, true);
        c->worker->pending[s->replies++] = metrics_record_of(reply);
        s->bodies = true;
        return true;
}

/*
 * A body was asked for, nothing else of the connection waits, neither for its turn nor for another thread, and nothing
 * limits how often it may ask.
 */
static bool alone(const struct connection *c, const struct stretch *s, const struct request *rq, size_t used)
{
        const struct snapshot *snap = c->worker->snapshot;

        return (rq->mode == OBJM_MODE_COPY || rq->mode == OBJM_MODE_SPLICE) && s->at + used == s->len && !c->jobs &&
               !c->ring && !c->attaching && !snap->requests_per_connection && !snap->rate_limited;
}

static void credit(struct connection *c, bool alone)
{
        if (alone)
                escort_credit(c);
        else
                c->streak = 0;
}

void stretch_send_body(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply,
                      size_t used)
{
        bool one = alone(c, s, rq, used), escorted = one && escort_deserved(c);
        bool small = reply->body_len <= TRANSFER_GATHER_MAX && !escorted;
        bool room = !small || stretch_make_room(c, s, DIALECT_REPLY_MAX + (size_t)reply->body_len, false);
        struct metrics_record record = metrics_record_of(reply);
        int r;

        if (room && small && gather_body(c, s, rq, reply)) {
                s->at += used;
                credit(c, one);
                return;
        }
        if (!room || !stretch_make_room(c, s, SIZE_MAX, false)) {
                close_body(reply);
                return;
        }
        own_body(c, reply);
        r = transfer_send(c, reply, one);
        if (r < 0)
                objm_fd_close(reply->fd);
        if (r == -EAGAIN || c->dead) {
                stretch_not_sent(c, -EAGAIN);
                return;
        }
        s->at += used;
        if (r < 0) {
                stretch_note_busy(c);
                *reply = r == -ENOMEM ? request_refuse(rq, OBJM_STATUS_NO_MEMORY, NULL)
                                      : request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "too much work is waiting");
                stretch_put(c, s, reply);
                return;
        }
        stretch_left_apart(c, s);
        if (r == 0) {
                exchange_count_now(c, &record, c->received);
                credit(c, one);
        }
}
