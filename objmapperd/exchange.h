/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_EXCHANGE_H
#define OBJMAPPERD_EXCHANGE_H
/*
 * Requests in, replies out, for one connection at a time through its worker's buffers.
 *
 * Replies gather in the batch and leave in one message. When the socket is full nothing of it goes: the batch is
 * dropped, its descriptors are closed, and the requests stay as input until the client has read. Requests of this
 * protocol may be run twice; in exchange a client that does not read costs no descriptor and no reply memory.
 */
#include "objmapperd/connection.h"
#include <sys/types.h>

/* The client has to read first: nothing may be written to the socket but through the queue. */
bool exchange_unsent(const struct connection *c);

/* Nothing more can be worked on until the client reads, a job is done, or never. */
bool exchange_blocked(const struct connection *c);

/* Takes what the socket has into the worker's buffer, behind what was kept. As recv(2), with -errno. Serve it next. */
ssize_t exchange_recv(struct connection *c) objm_must_check;

/*
 * Works on what exchange_recv() returned. @seen: a mark of the worker's kept files that was made when some of it was
 * known to have come, or 0. May close the connection.
 */
void exchange_serve(struct connection *c, ssize_t received, uint64_t seen);

/* The socket takes more, or a job is done: sends what waits and works on the input that was kept. */
void exchange_resume(struct connection *c);

/*
 * @n more replies have left, to requests received at @start, at @end (ns); the last one that this connection gets
 * closes it.
 */
void exchange_count(struct connection *c, const struct metrics_record *r, size_t n, uint64_t start, uint64_t end);

/* The same for one that came at @start and has just left. */
void exchange_count_now(struct connection *c, const struct metrics_record *r, uint64_t start);

/*
 * For rings. send_fds() sends a message of @len >= @n bytes with @n descriptors, which stay the caller's, or queues it;
 * negative errno: the connection is over. send_fd() sends a reply with the descriptor that it takes; false: there are
 * too many in flight, or the connection has been closed. doorbell() wakes a client that polls its socket: what waits
 * there unread does that too, and so will what waits behind a body.
 */
int exchange_send_fds(struct connection *c, const uint8_t *msg, size_t len, const int *fds, size_t n) objm_must_check;
bool exchange_send_fd(struct connection *c, struct reply *r) objm_must_check;
void exchange_doorbell(struct connection *c);

/* Copies the body of @r, without waiting for a disk. As objm_pagecache_read(). */
ssize_t exchange_read_body(const struct reply *r, uint8_t *buf) objm_must_check;

/* The worker has read the body of @r, all of it if @sent: closes the descriptor, unless it is one to be kept. */
void exchange_end_body(struct connection *c, const struct request *rq, struct reply *r, bool sent);

/* Replies that @c may still get when @pending are to leave; UINT32_MAX: any number. */
uint32_t exchange_requests_left(const struct connection *c, unsigned pending);

/* The kernel takes no more descriptors: the next reply with one says so instead. */
void exchange_no_more_refs(struct connection *c);

/* As many descriptors are under way to the user of @c as may be: what @rq is answered. Counts and logs it. */
struct reply exchange_refuse_user(struct connection *c, const struct request *rq);

/* Sends one reply, or queues it. Takes reply->fd. May close the connection. */
void exchange_reply(struct connection *c, struct reply *r);

#endif
