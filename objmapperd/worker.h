/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_WORKER_H
#define OBJMAPPERD_WORKER_H
/*
 * A thread and the connections that belong to it, from hand-over to close. It alone reads, writes and closes them.
 * Buffers are the worker's: they serve one connection after the other, an idle connection owns none.
 */
#include "base/clock.h"
#include "base/list.h"
#include "base/spin.h"
#include "concurrency/loop.h"
#include "concurrency/qsbr.h"
#include "objmapperd/pulse.h"
#include "objmapperd/metrics.h"
#include "objmapperd/rings.h"
#include "objmapperd/sampling.h"
#include "objmapperd/server.h"
#include "storage/kept.h"
#include "transport/batch.h"
#include <pthread.h>
#include <stdatomic.h>

/* One request at least; as many pipelined ones as fit. */
#define WORKER_RX_BYTES (16 * 1024)
#define WORKER_TX_BYTES (64 * 1024 + 256)
#define WORKER_PENDING  128 /* at least as many as replies in a batch */

#define WORKER_WATCH_NS      (10 * OBJM_NS_PER_MS)
#define WORKER_QUARANTINE_NS (200 * OBJM_NS_PER_MS) /* when there is nothing else to look at */

/* What a connection waits for. Each list is in the order of connection.since, so its head is due first. */
enum worker_wait {
        WORKER_WAIT_REQUEST, /* idle: timeouts.idle */
        WORKER_WAIT_REST,    /* of a partial request: timeouts.request, from its first byte */
        WORKER_WAIT_PEER,    /* to read its replies: timeouts.request, from the last it took */
        WORKER_WAIT_JOB,     /* ours: no timeout */
        WORKER_WAIT_BODY,    /* to take a body: looked at every timeouts.request */
        WORKER_WAIT_MAX,
};

struct connection;

struct worker {
        struct server *server;
        const struct snapshot *snapshot; /* of this turn */
        uint64_t now;                    /* ns: when this turn's work was found; when not timed, some turns older */
        uint64_t after;                  /* ns: when a batch last left */
        struct metrics *metrics;
        struct objm_loop loop;
        struct objm_qsbr_reader reader;
        struct objm_spin spin;
        struct objm_list waiting[WORKER_WAIT_MAX];
        struct rings rings;
        struct objm_list dead;  /* closed in this turn, freed at its end */
        struct objm_list watched; /* connections to be looked at every WORKER_WATCH_NS */
        struct objm_list quarantine, released; /* see quarantine.h */
        uint64_t watched_ns;    /* when that was last */
        struct connection *hot; /* the only one that had work in the last turn: polled while spinning */
        unsigned n_served;      /* connections that had work in this turn */
        unsigned n_looks;       /* while spinning, ever */
        struct sampling sampling;
        bool timed;             /* the time was looked at when this turn began */
        bool sampled;           /* and is, as it ends, for the latency of requests by ring */
        bool draining, stopping;
        bool own;               /* serves one connection and ends with it */

        struct objm_list link; /* in server.workers */
        pthread_mutex_t open_lock; /* rank 2, after server.workers_lock; taken when a connection begins and ends */
        struct objm_list open;     /* connection_report.link: what can be told of each */
        pthread_t thread;      /* unless own: then it is the spawner's */
        struct objm_mail drain_mail, stop_mail, wake_mail;
        struct beat beat;
        bool drain_posted;      /* under server.workers_lock */
        atomic_bool wake_posted;
        struct objm_qsbr_node retired;
        _Alignas(OBJM_CACHE_LINE) atomic_uint n_connections; /* open, also those on their way here */
        atomic_uint n_held;                                  /* in memory: posted here and not yet freed */

        struct objm_kept kept;
        uint64_t reported; /* its mark for the connections of this turn that are readable */
        struct objm_batch batch;
        uint8_t rx[WORKER_RX_BYTES];
        uint8_t tx[WORKER_TX_BYTES]; /* a small body and its head */
        struct metrics_record pending[WORKER_PENDING]; /* of the replies in the batch */
};

/* worker_turn.c: what the thread does until it ends. */
void worker_run(struct worker *w);

/* Starts a thread of the fixed set. */
int worker_start(struct server *s, struct worker **ret) objm_must_check;

/* Starts a thread that serves @c alone and frees itself. Takes @c on success. */
int worker_start_own(struct server *s, struct connection *c) objm_must_check;

/* Hands a connection over. Takes it. The accept thread. */
void worker_post(struct worker *w, struct connection *c);

/* Hands it to the worker with the fewest connections, or to one of its own. Takes it on success. The accept thread, or
 * before that is started. */
int worker_place(struct server *s, struct connection *c) objm_must_check;

/* Any thread, with server.workers_lock held. */
void worker_drain_locked(struct worker *w);
void worker_stop_locked(struct worker *w);
void worker_wake_locked(struct worker *w); /* it looks at the snapshot anew */

/* Waits for a stopped worker of the fixed set to end. */
void worker_join(struct worker *w);

/* After join(), and after every thread that may post to it has ended. */
void worker_free(struct worker *w);

#endif
