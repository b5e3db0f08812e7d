/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_STRETCH_H
#define OBJMAPPERD_STRETCH_H
/*
 * The work on one stretch of a connection's input: which requests have been run, and the batch in which their replies
 * gather. The worker's thread; one stretch at a time, because the batch is the worker's.
 */
#include "objmapperd/connection.h"

/* Everything before `mark` has left as replies or tasks. */
struct stretch {
        const uint8_t *buf;
        size_t len, at, mark;
        unsigned replies; /* in the batch */
        bool bodies;      /* the same: some of them with an object's bytes */
        bool last;
};

/*
 * Sends the batch. When nothing of it went, s->at is back where the last replies left from; whether to go on from there
 * is for exchange_blocked() to say, in this case and in the other.
 */
void stretch_flush(struct connection *c, struct stretch *s);

/*
 * Descriptors and the bytes of objects do not share a message: the socket's buffer is small for the ones and large for
 * the others. False: what was in the way could not leave.
 */
bool stretch_make_room(struct connection *c, struct stretch *s, size_t bytes, bool for_fd) objm_must_check;

/* Appends a reply to the batch, which has room, and takes reply->fd. */
void stretch_put(struct connection *c, struct stretch *s, const struct reply *r);

/* The request before s->at has been answered, or is being, without the batch, which is empty. */
void stretch_left_apart(struct connection *c, struct stretch *s);

/* Sending has failed with @error, a negative errno: waits for the client, or closes. */
void stretch_not_sent(struct connection *c, int error);

/* A request is refused for want of a thread or memory: counts and logs it. */
void stretch_note_busy(struct connection *c);

/*
 * Answers a request of @used bytes at s->at with the bytes of an object. Takes reply->fd; when the request has to wait
 * it is run again.
 */
void stretch_send_body(struct connection *c, struct stretch *s, const struct request *rq, struct reply *reply,
                       size_t used);

#endif
