/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONNECTION_H
#define OBJMAPPERD_CONNECTION_H
/*
 * One client. Belongs to one worker thread. Reading stops while replies wait to be read by the client: the requests
 * that were not answered yet stay as bytes in `in` and are looked at again when the socket takes more.
 */
#include "base/list.h"
#include "concurrency/loop.h"
#include "objmapperd/allowance.h"
#include "objmapperd/dialect.h"
#include "objmapperd/worker.h"
#include "transport/outq.h"

/*
 * What a client may leave unread is bounded by the kernel, and with it the descriptors that it keeps in flight: they
 * count against the daemon's user until the client receives them or ends, and at that user's limit of open files
 * nobody gets one any more (unix(7), ETOOMANYREFS). The smallest buffer (the kernel doubles what it is asked for) holds
 * one batch; more replies in a batch than this would not fit in its two chunks of CONNECTION_SNDBUF - 64 bytes.
 */
#define CONNECTION_SNDBUF    2304
#define CONNECTION_BATCH_MAX 112

/*
 * The same for bodies, in which nothing but bytes is in flight. What is unread is the kernel's memory: the large one is
 * for so many connections at a time, the others get the smaller one.
 */
#define CONNECTION_SNDBUF_WIDE (256 * 1024)
#define CONNECTION_SNDBUF_MANY (128 * 1024)
#define CONNECTION_WIDE_MAX    128

/* Requests of one connection that may be with the pool at a time. */
#define CONNECTION_JOBS_MAX 16

struct ring;
struct transfer;

/* What other threads may look at while they hold worker.open_lock. */
struct connection_report {
        struct objm_list link; /* in worker.open; under the lock */
        _Atomic uint64_t requests, bytes;
        _Atomic uint64_t opened_ns, last_ns; /* when its last reply left; 0: none has */
};

struct connection {
        struct objm_source source;
        struct objm_list link; /* in one of worker.waiting, or worker.dead */
        struct objm_list watch; /* in worker.watched, or not */
        struct worker *worker;
        const struct dialect *dialect; /* NULL until the first byte */
        struct objm_outq out;
        struct objm_peer peer;
        struct allowance allowance;
        uint8_t *in;    /* input not worked on yet; NULL when there is none */
        uint32_t in_len;
        uint32_t served; /* replies that have left */
        uint64_t since;  /* ns; see enum worker_wait */
        uint64_t received; /* ns: when it was handed over, later when bytes last came */
        uint16_t jobs;   /* requests with the pool */
        uint16_t jobs_max;
        uint16_t queued_fds; /* of `out`, as counted in the server */
        uint8_t batch_limit; /* replies in a message, but for those with bodies */
        uint8_t started;     /* requests whose replies have not left, but that have been looked at; see probe.h */
        _Atomic uint8_t wait; /* enum worker_wait */
        bool tcp;            /* takes bytes alone; else a Unix socket */
        uint8_t streak;      /* bodies that the client took one after the other; see escort.h */
        struct transfer *lent; /* not NULL: the socket is the pool's */
        struct ring *ring;     /* NULL: none yet; may be closed */
        uint64_t body_at;    /* ns, coarse: when the last one left */
        uint32_t sndbuf;     /* bytes, as asked of the kernel */
        uint32_t unread;     /* bytes in the socket when that was last looked at while it waits; 0: it was not */
        uint32_t inline_limit; /* bytes; 0: the client takes no bytes for a descriptor */
        bool may_ring;       /* negotiated */
        bool attaching;      /* a ring is being made */
        bool want_write;     /* the socket was full: nothing of the batch went */
        bool read_all;       /* with want_write: the client has to have read everything */
        bool refs_wait;      /* `out` waits until the kernel takes more of our descriptors */
        bool paused;         /* asks faster than it may */
        bool leaving;        /* to another instance, as soon as nothing is in flight */
        bool refuse_fds;     /* the kernel takes no more of our descriptors: answer without */
        bool end_of_input;   /* the client has shut down its side */
        bool closing;        /* close once everything has left */
        bool doomed;         /* to be closed when it is no longer lent */
        bool dead;           /* closed; kept for the events and jobs that still name it */
        struct objm_mail arrival;
        struct connection_report report;
};

_Static_assert(sizeof(struct connection) <= 320, "a size class of the allocator, of which there is one a connection");

/* Takes @take_fd on success. 0, negative errno, or a condition of account_open(). The accept thread. */
int connection_new(struct server *s, int take_fd, enum config_transport transport, struct connection **ret)
        objm_must_check;

struct handover_entry;

/* Before it is started: it is one that another instance has begun. 0 or -ENOMEM. */
int connection_continue(struct connection *c, const struct handover_entry *e) objm_must_check;

/* Closes the descriptor if it is open and frees. No job may be under way. */
void connection_free(struct server *s, struct connection *c);

static inline enum metrics_transport connection_transport(const struct connection *c)
{
        return c->tcp ? METRICS_TCP : METRICS_UNIX;
}

/* From here on in the worker's thread. */

/* Begins to serve. On failure the connection is closed. */
void connection_start(struct connection *c, struct worker *w);

/*
 * For spinning: looks once whether the socket has something; if so, connection_polled() works on it. In between the
 * worker's buffer is taken.
 */
bool connection_poll(struct connection *c, ssize_t *ret_received);
void connection_polled(struct connection *c, ssize_t received);

/* A reply that was worked out in another thread. Takes reply->fd. */
void connection_on_reply(struct connection *c, struct reply *r);

/*
 * It is no longer lent: bodies have been sent (and counted), or not, and more may have come of it. Takes what @t has of
 * that.
 */
void connection_on_return(struct connection *c, struct transfer *t);

/* After work that others than its socket's events have done. */
void connection_settle(struct connection *c, bool progress);

/* A job that was counted in c->jobs is done, and the connection is dead: its memory goes with the last one. */
void connection_bury(struct connection *c);

/* What comes next of it: sets the socket's send buffer. TCP has one for all. */
void connection_for_fds(struct connection *c);
void connection_for_bodies(struct connection *c);

/* What it waited for has not come in time. */
void connection_expire(struct connection *c);

/*
 * What no event tells is looked for every WORKER_WATCH_NS: tokens, descriptors that the client has received or that the
 * kernel takes again. watched() does so.
 */
void connection_watch(struct connection *c);
void connection_watched(struct connection *c);

/* The daemon restarts: hands it to the next instance once what is in flight is done. Reads no more. */
void connection_leave(struct connection *c);

/* The worker drains: works on what has arrived, then ends; at once when nothing has. */
void connection_drain(struct connection *c);

/* Closes at once; the memory goes with the end of the turn, or with the last job. */
void connection_close(struct connection *c);

#endif
