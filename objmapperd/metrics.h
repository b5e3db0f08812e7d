/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_METRICS_H
#define OBJMAPPERD_METRICS_H
/*
 * What a thread counts. Each thread that serves requests has a struct of its own, which it alone writes, with plain
 * stores; whoever reports adds them up. Nothing is written that another CPU writes, and the time is read once a batch:
 * its requests count as received when the turn began and as answered when their message had left. Of requests by ring
 * all are counted, but how long they take only of some turns, see sampling.h.
 *
 * Histograms are allocated with the first value, so that a thread without work costs no memory for them.
 */
#include "base/attr.h"
#include "base/list.h"
#include "base/tally.h"
#include <pthread.h>
#include <stdbool.h>

enum metrics_transport {
        METRICS_UNIX,
        METRICS_TCP,
        METRICS_UDP,
        METRICS_RING,
        METRICS_N_TRANSPORTS,
};

/* How the object came, or where none did, what was asked for. */
enum metrics_mode {
        METRICS_FD,
        METRICS_COPY,
        METRICS_SPLICE,
        METRICS_INLINE,
        METRICS_AUTO, /* refused, or not modified */
        METRICS_STAT,
        METRICS_PING,
        METRICS_CONTROL,
        METRICS_ATTACH, /* of a ring */
        METRICS_OTHER, /* what is no request of a known kind */
        METRICS_N_MODES,
};

/* Why a request took another way than the shortest. */
enum metrics_fallback {
        METRICS_COLD_OPEN,      /* the name had to be looked for on the disk: done by the pool */
        METRICS_COLD_BODY,      /* bytes that were not in the page cache: sent by the pool */
        METRICS_SPLICE_COPIED,  /* asked for by splice and copied, because that costs less at this size */
        METRICS_NO_DESCRIPTORS, /* auto over a transport that passes none: copied */
        METRICS_FDS_IN_FLIGHT,  /* the kernel took no more of the daemon's descriptors: refused */
        METRICS_QUEUE_FULL,     /* too much waited for the pool: refused */
        METRICS_SOCKET_FULL,    /* the client had not read: the replies were dropped and made again later */
        METRICS_RING_REFERRED, /* not for the ring, or too large for it: the client asks by the socket */
        METRICS_N_FALLBACKS,
};

enum metrics_drop {
        METRICS_DROP_MALFORMED,
        METRICS_DROP_UNANSWERABLE, /* from an address that may not be answered */
        METRICS_DROP_OVER_RATE,
        METRICS_DROP_UNSENT, /* a reply that the kernel did not take */
        METRICS_N_DROPS,
};

/* What a worker does with its time. */
enum metrics_state {
        METRICS_SLEEPING,
        METRICS_POLLING, /* looks for work without sleeping, for some microseconds */
        METRICS_WORKING,
        METRICS_N_STATES,
};

#define METRICS_N_STATUSES 16 /* one for each of enum objm_status, and one for all others */

/* Requests of one mode on one transport. */
struct metrics_class {
        _Atomic uint64_t requests[METRICS_N_STATUSES];
        _Atomic uint64_t bytes; /* of objects, on the socket; of a descriptor none */
        struct objm_tally latency; /* ns */
};

struct metrics {
        struct objm_list link; /* in metrics_all */
        _Atomic(struct metrics_class *) class[METRICS_N_TRANSPORTS][METRICS_N_MODES];
        _Atomic(struct objm_tally *) object_size;  /* bytes, of each object that was handed out */
        _Atomic(struct objm_tally *) conversation; /* requests of each connection that has ended */
        _Atomic(struct objm_tally *) handover;     /* ns, from the pool back to the worker */
        _Atomic(struct objm_tally *) arrival;      /* ns, from the accept thread to the worker */
        _Atomic(struct objm_tally *) ready;        /* connections with something to do, each time a worker looked */
        _Atomic(struct objm_tally *) wait;         /* ns, of each of them while the worker served others */
        _Atomic uint64_t opened[METRICS_N_TRANSPORTS], closed[METRICS_N_TRANSPORTS];
        _Atomic uint64_t fallbacks[METRICS_N_FALLBACKS];
        _Atomic uint64_t drops[METRICS_N_DROPS]; /* datagrams */
        _Atomic uint64_t doorbells; /* of rings, by clients */
        _Atomic uint64_t wakes;     /* of clients that wait for a ring */
        _Atomic uint64_t cut_off; /* bodies that ended before their end */
        _Atomic uint64_t lost;    /* values without memory for their histogram */
        _Atomic uint64_t turns;   /* times a worker found work */
        _Atomic uint64_t time[METRICS_N_STATES]; /* ns, of a worker */
        uint64_t alone, crowded, turn_ns;        /* see metrics_pass(); the owner's */
        _Atomic uint64_t state_since; /* ns; with state: what it is at. 0: no worker */
        _Atomic uint8_t state;        /* enum metrics_state */
        uint32_t in_state[METRICS_N_STATES]; /* of a sum alone: threads */
};

/* The blocks of all threads, and the sum of those whose threads have ended. */
struct metrics_all {
        pthread_mutex_t lock; /* rank 2: inside server.workers_lock; nothing is taken under it */
        struct objm_list blocks;
        struct metrics ended;
};

/* One answered request, as it is kept until its reply has left; see metrics_record.h. */
struct metrics_record {
        uint64_t size, bytes;
        uint32_t id; /* the request's */
        uint8_t mode, status;
        uint8_t fallback; /* enum metrics_fallback, or METRICS_N_FALLBACKS: none */
        uint8_t object;   /* 1: one was handed out */
};

void metrics_all_init(struct metrics_all *all);
/* No thread counts any more. */
void metrics_all_deinit(struct metrics_all *all);

/* A block for the calling thread, until end(). NULL when there is no memory. */
struct metrics *metrics_begin(struct metrics_all *all) objm_must_check;
/* Adds it to those that have ended and frees it. */
void metrics_end(struct metrics_all *all, struct metrics *m);

/* The calling thread's; for threads of the pool, whose block stays until deinit(). NULL when there is no memory. */
struct metrics *metrics_of_pool_thread(struct metrics_all *all);

/* Adds up all blocks into @ret, which metrics_deinit() frees. 0 or -ENOMEM. Any thread. */
int metrics_sum(struct metrics_all *all, struct metrics *ret) objm_must_check;
void metrics_deinit(struct metrics *m);

/* ---- counting: by the owner ---- */

/*
 * @n requests, received at @start and answered at @end (ns); @end 0: nobody knows, and the histogram has nothing of
 * them. Returns the bytes of their bodies.
 */
uint64_t metrics_count(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r, size_t n,
                       uint64_t start, uint64_t end);

/* @n times, into one of the histograms above that are allocated when first used. */
void metrics_tally_many(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value, uint64_t n);

/* @n requests of one mode that came to OK, with @bytes of objects altogether; nobody knows how long they took. */
void metrics_count_ok(struct metrics *m, enum metrics_transport transport, enum metrics_mode mode, uint64_t n,
                      uint64_t bytes);

static inline void metrics_tally(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value)
{
        metrics_tally_many(m, which, value, 1);
}

/* A turn in which @n_ready connections had something to do. */
static inline void metrics_turn(struct metrics *m, unsigned n_ready)
{
        objm_tally_add(&m->turns, 1);
        if (n_ready)
                metrics_tally(m, &m->ready, n_ready);
}

/*
 * The same while POLLING, and nobody has looked at the time. In what passes until the next enter() the turn is taken to
 * have worked for as long as the last one that was timed; with one connection it is counted only then.
 */
static inline void metrics_pass(struct metrics *m, unsigned n_ready)
{
        if (objm_likely(n_ready == 1)) {
                m->alone++;
        } else {
                m->crowded++;
                metrics_turn(m, n_ready);
        }
}

/* Of @ns since it began to poll, what it has worked. */
static inline uint64_t metrics_worked(struct metrics *m, uint64_t ns)
{
        uint64_t worked = (m->alone + m->crowded) * m->turn_ns;

        if (m->alone)
                metrics_tally_many(m, &m->ready, 1, m->alone);
        objm_tally_add(&m->turns, m->alone);
        m->alone = m->crowded = 0;
        return worked < ns ? worked : ns;
}

/* What the thread does from @now (ns) on. */
static inline void metrics_enter(struct metrics *m, enum metrics_state state, uint64_t now)
{
        uint64_t since = objm_tally_get(&m->state_since), ns = since && now > since ? now - since : 0, worked = 0;
        uint8_t was = atomic_load_explicit(&m->state, memory_order_relaxed);

        if (was == METRICS_WORKING)
                m->turn_ns = ns;
        else if (m->alone | m->crowded)
                worked = metrics_worked(m, ns);
        if (worked)
                objm_tally_add(&m->time[METRICS_WORKING], worked);
        objm_tally_add(&m->time[was], ns - worked);
        atomic_store_explicit(&m->state, (uint8_t)state, memory_order_relaxed);
        atomic_store_explicit(&m->state_since, now, memory_order_relaxed);
}

/* The thread ends. */
static inline void metrics_leave(struct metrics *m, uint64_t now)
{
        metrics_enter(m, METRICS_WORKING, now);
        atomic_store_explicit(&m->state_since, 0, memory_order_relaxed);
}

/* An object of @size bytes, by a request that count_ok() counts. */
static inline void metrics_hand_out(struct metrics *m, uint64_t size)
{
        struct objm_tally *t = atomic_load_explicit(&m->object_size, memory_order_relaxed);

        if (objm_likely(t))
                objm_tally_record(t, size, 1);
        else
                metrics_tally(m, &m->object_size, size);
}

static inline void metrics_fall_back(struct metrics *m, enum metrics_fallback why)
{
        objm_tally_add(&m->fallbacks[why], 1);
}

/* ---- names, as they are reported ---- */

extern const char *const metrics_transport_names[METRICS_N_TRANSPORTS];
extern const char *const metrics_mode_names[METRICS_N_MODES];
extern const char *const metrics_fallback_names[METRICS_N_FALLBACKS];
extern const char *const metrics_drop_names[METRICS_N_DROPS];
extern const char *const metrics_state_names[METRICS_N_STATES];
extern const uint8_t metrics_statuses[METRICS_N_STATUSES]; /* by index; the last one stands for all others */

#endif
