/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SERVER_H
#define OBJMAPPERD_SERVER_H
/*
 * What all threads share: the snapshot, the pools, the workers, the count of connections. Starting, reloading, draining
 * and stopping are the main thread's.
 */
#include "base/list.h"
#include "concurrency/crew.h"
#include "concurrency/model.h"
#include "concurrency/pool.h"
#include "concurrency/qsbr.h"
#include "concurrency/spawn.h"
#include "objmapperd/account.h"
#include "objmapperd/config.h"
#include "objmapperd/metrics.h"
#include "objmapperd/control.h"
#include "objmapperd/snapshot.h"
#include "storage/kept.h"
#include <pthread.h>
#include <stdatomic.h>

struct worker;
struct listener;
struct listening;
struct datagram;
struct pulse;
struct handover;

/* What limits have come to. */
struct server_limited {
        _Atomic uint64_t connections; /* refused for their user's limits */
        _Atomic uint64_t descriptors; /* the same of requests */
        _Atomic uint64_t pauses;      /* of reading from who asks too fast */
        _Atomic uint64_t quarantined; /* sockets that are over, until they are read; at present */
};

struct server {
        _Atomic(struct snapshot *) snapshot;
        struct objm_qsbr *qsbr;
        struct objm_pool *pool;
        struct objm_crew *escorts;
        struct objm_spawner *spawner; /* for the models that start threads */
        struct objm_spawner *reapers; /* free what a reload has replaced */
        const struct objm_model *model;
        struct listener *listener;
        struct handover *handover; /* set before `draining`: connections go on with another instance; NULL: they end */
        struct datagram *datagram; /* NULL: no such sockets */
        struct accounts accounts;
        struct metrics_all metrics;
        struct worker **fixed; /* the workers of OBJM_PLACE_SHARED; const after start */
        size_t n_fixed;

        pthread_mutex_t workers_lock; /* rank 1: no other lock is taken while it is held */
        struct objm_list workers; /* all of them, also those of one connection */
        struct control control;
        uint64_t started_ns; /* objm_clock_ns() */
        atomic_bool draining;
        int drained_fd; /* eventfd: rung when the last connection ends while draining */

        _Atomic uint32_t max_connections; /* what the limit on descriptors leaves of the configured number */
        atomic_long max_rings;            /* what it leaves for shared-memory rings, a descriptor each */
        atomic_long max_bodies;           /* and what both leave for objects that are being sent */
        atomic_bool refs_scarce;          /* the kernel has taken no more of our descriptors (ETOOMANYREFS) */
        _Alignas(OBJM_CACHE_LINE) atomic_uint n_connections;
        atomic_long queued_fds;
        atomic_long bodies;
        atomic_long wide;
        atomic_long rings;
        _Atomic uint64_t denied;
        struct server_limited limited;
        _Alignas(OBJM_CACHE_LINE) struct objm_kept_budget kept; /* of all workers */
        long max_kept; /* what the budget was made from; the main thread's */
};

/*
 * Starts pools and workers and opens the exports. Takes @config on success. -errno; @old_watch_fd and ret_bad as in
 * objm_store_new().
 */
int server_new(struct config *config, int old_watch_fd, size_t *ret_bad, struct server **ret) objm_must_check;

/*
 * The sockets, which stay the caller's: add() prepares for one, go() has all of them accepted from or answered, and
 * remove() returns when the socket is not used any more; what has connected is served. 0 or negative errno.
 */
int server_add_socket(struct server *s, const struct listening *socket) objm_must_check;
int server_go(struct server *s) objm_must_check;
void server_remove_socket(struct server *s, const struct listening *socket);

/* Swaps in @config, which it takes on success; what needs a restart (threads, sockets) stays as it is. */
int server_reload(struct server *s, struct config *config, size_t *ret_bad) objm_must_check;

/*
 * Begins to drain: no new connections, no more datagrams; each connection ends after what is in flight, idle ones at
 * once. The listening sockets stay open, for whoever serves them next. When the last connection has ended, drained_fd
 * is readable and is_drained() true. With @h, which stays the caller's, connections go there instead of ending, and
 * what has arrived on them waits.
 */
void server_drain(struct server *s, struct handover *h);
bool server_is_drained(struct server *s);

/* Asks every thread that has a loop, between pulse_begin() and pulse_end(). The pool's have none. */
void server_ask(struct server *s, struct pulse *p);

/* A connection has ended. Any thread. */
void server_count_out(struct server *s);

/* Descriptors that wait in send queues of clients that do not read; over() when there are too many. Any thread. */
void server_count_queued_fds(struct server *s, long change);
bool server_queued_fds_over(const struct server *s);

/* Objects that are open because the pool sends their bytes. Any thread. */
void server_count_bodies(struct server *s, long change);
bool server_bodies_over(const struct server *s);

/* Connections with a large send buffer. Any thread. */
void server_count_wide(struct server *s, long change);
bool server_wide_over(const struct server *s);

static inline void server_count(_Atomic uint64_t *counter)
{
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* A request has been denied. Any thread. */
void server_count_denied(struct server *s);

/* Shared-memory rings, also those being made. count() is false, and counts nothing, when there are too many. */
bool server_count_ring(struct server *s) objm_must_check;
void server_uncount_ring(struct server *s);

/* Ends all threads, frees. NULL is fine. */
void server_free(struct server *s);

/* The current snapshot. Only in a thread that is online. */
static inline const struct snapshot *server_snapshot(struct server *s)
{
        return atomic_load_explicit(&s->snapshot, memory_order_acquire);
}

/* The kernel has refused a descriptor. Any thread. */
static inline void server_refs_are_scarce(struct server *s)
{
        atomic_store_explicit(&s->refs_scarce, true, memory_order_relaxed);
}

/* Would it again? Costs nothing as long as it has not. Any thread. */
bool server_refs_scarce(struct server *s);

#endif
