/* SPDX-License-Identifier: MIT */
#include "objmapperd/metrics.h"

#include "base/clock.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/probe.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

const char *const metrics_transport_names[METRICS_N_TRANSPORTS] = {"unix", "tcp", "udp", "ring"};

const char *const metrics_mode_names[METRICS_N_MODES] = {"fd",   "copy", "splice",  "inline", "auto",
                                                         "stat", "ping", "control", "attach", "other"};

const char *const metrics_fallback_names[METRICS_N_FALLBACKS] = {
        [METRICS_COLD_OPEN] = "cold_open",           [METRICS_COLD_BODY] = "cold_body",
        [METRICS_SPLICE_COPIED] = "splice_copied",   [METRICS_NO_DESCRIPTORS] = "no_descriptors",
        [METRICS_FDS_IN_FLIGHT] = "descriptors_in_flight", [METRICS_QUEUE_FULL] = "queue_full",
        [METRICS_SOCKET_FULL] = "socket_full",       [METRICS_RING_REFERRED] = "ring_referred",
};

const char *const metrics_drop_names[METRICS_N_DROPS] = {"malformed", "unanswerable", "over_rate", "unsent"};

const char *const metrics_state_names[METRICS_N_STATES] = {"sleeping", "polling", "working"};

const uint8_t metrics_statuses[METRICS_N_STATUSES] = {
        OBJM_STATUS_OK,       OBJM_STATUS_NOT_FOUND,   OBJM_STATUS_INVALID_REQUEST, OBJM_STATUS_INVALID_MODE,
        OBJM_STATUS_URI_TOO_LONG, OBJM_STATUS_UNSUPPORTED, OBJM_STATUS_DENIED,      OBJM_STATUS_INTERNAL,
        OBJM_STATUS_STORAGE,  OBJM_STATUS_NO_MEMORY,   OBJM_STATUS_TIMEOUT,         OBJM_STATUS_UNAVAILABLE,
        OBJM_STATUS_PROTOCOL, OBJM_STATUS_VERSION,     OBJM_STATUS_CAPABILITY,      UINT8_MAX,
};

static unsigned status_index(uint8_t status)
{
        unsigned i = 0;

        while (i < METRICS_N_STATUSES - 1 && metrics_statuses[i] != status)
                i++;
        return i;
}

/* The histograms that are not a class's. */
static const size_t tallies[] = {
        offsetof(struct metrics, object_size), offsetof(struct metrics, conversation),
        offsetof(struct metrics, handover),    offsetof(struct metrics, arrival),
        offsetof(struct metrics, ready),       offsetof(struct metrics, wait),
};

static _Atomic(struct objm_tally *) *tally_at(struct metrics *m, unsigned i)
{
        return (_Atomic(struct objm_tally *) *)((char *)m + tallies[i]);
}

/* ---- blocks ---- */

void metrics_all_init(struct metrics_all *all)
{
        memset(all, 0, sizeof(*all));
        pthread_mutex_init(&all->lock, NULL);
        objm_list_init(&all->blocks);
}

static void metrics_free(struct metrics *m)
{
        metrics_deinit(m);
        free(m);
}

void metrics_all_deinit(struct metrics_all *all)
{
        while (!objm_list_empty(&all->blocks)) {
                struct metrics *m = objm_list_first(&all->blocks, struct metrics, link);

                objm_list_unlink(&m->link);
                metrics_free(m);
        }
        metrics_deinit(&all->ended);
        pthread_mutex_destroy(&all->lock);
}

static void *zeroed(size_t size)
{
        size_t whole = (size + OBJM_CACHE_LINE - 1) & ~(size_t)(OBJM_CACHE_LINE - 1);
        void *p = aligned_alloc(OBJM_CACHE_LINE, whole);

        return p ? memset(p, 0, whole) : NULL;
}

struct metrics *metrics_begin(struct metrics_all *all)
{
        struct metrics *m = zeroed(sizeof(*m));

        if (!m)
                return NULL;
        pthread_mutex_lock(&all->lock);
        objm_list_add_tail(&all->blocks, &m->link);
        pthread_mutex_unlock(&all->lock);
        return m;
}

struct metrics *metrics_of_pool_thread(struct metrics_all *all)
{
        static _Thread_local struct metrics *mine;
        static _Thread_local struct metrics_all *of;

        if (objm_unlikely(of != all || !mine)) {
                mine = metrics_begin(all);
                of = all;
        }
        return mine;
}

void metrics_deinit(struct metrics *m)
{
        for (unsigned t = 0; t < METRICS_N_TRANSPORTS; t++)
                for (unsigned k = 0; k < METRICS_N_MODES; k++)
                        free(atomic_load_explicit(&m->class[t][k], memory_order_relaxed));
        for (unsigned i = 0; i < objm_array_len(tallies); i++)
                free(atomic_load_explicit(tally_at(m, i), memory_order_relaxed));
}

/* ---- adding up ---- */

static struct metrics_class *class_of(struct metrics *m, unsigned transport, unsigned mode)
{
        _Atomic(struct metrics_class *) *at = &m->class[transport][mode];
        struct metrics_class *c = atomic_load_explicit(at, memory_order_relaxed);

        if (objm_unlikely(!c)) {
                c = zeroed(sizeof(*c));
                atomic_store_explicit(at, c, memory_order_release); /* pairs with add_block() */
        }
        return c;
}

static struct objm_tally *tally_of(_Atomic(struct objm_tally *) *at)
{
        struct objm_tally *t = atomic_load_explicit(at, memory_order_relaxed);

        if (objm_unlikely(!t)) {
                t = zeroed(sizeof(*t));
                atomic_store_explicit(at, t, memory_order_release); /* pairs with add_tally() */
        }
        return t;
}

static void add_all(_Atomic uint64_t *into, const _Atomic uint64_t *from, size_t n)
{
        for (size_t i = 0; i < n; i++)
                objm_tally_add(&into[i], objm_tally_get(&from[i]));
}

static int add_class(struct metrics *into, unsigned transport, unsigned mode, const struct metrics_class *from)
{
        struct metrics_class *c = from ? class_of(into, transport, mode) : NULL;

        if (!c)
                return from ? -ENOMEM : 0;
        add_all(c->requests, from->requests, METRICS_N_STATUSES);
        objm_tally_add(&c->bytes, objm_tally_get(&from->bytes));
        objm_tally_merge(&c->latency, &from->latency);
        return 0;
}

static int add_tally(_Atomic(struct objm_tally *) *into, _Atomic(struct objm_tally *) *from)
{
        struct objm_tally *f = atomic_load_explicit(from, memory_order_acquire);
        struct objm_tally *t = f ? tally_of(into) : NULL;

        if (!t)
                return f ? -ENOMEM : 0;
        objm_tally_merge(t, f);
        return 0;
}

static int add_tallies(struct metrics *into, struct metrics *from)
{
        int r = 0;

        for (unsigned i = 0; r == 0 && i < objm_array_len(tallies); i++)
                r = add_tally(tally_at(into, i), tally_at(from, i));
        for (unsigned t = 0; t < METRICS_N_TRANSPORTS; t++)
                for (unsigned k = 0; r == 0 && k < METRICS_N_MODES; k++)
                        r = add_class(into, t, k, atomic_load_explicit(&from->class[t][k], memory_order_acquire));
        return r;
}

static void add_numbers(struct metrics *into, const struct metrics *from)
{
        add_all(into->opened, from->opened, METRICS_N_TRANSPORTS);
        add_all(into->closed, from->closed, METRICS_N_TRANSPORTS);
        add_all(into->fallbacks, from->fallbacks, METRICS_N_FALLBACKS);
        add_all(into->drops, from->drops, METRICS_N_DROPS);
        add_all(&into->doorbells, &from->doorbells, 1);
        add_all(&into->wakes, &from->wakes, 1);
        add_all(&into->cut_off, &from->cut_off, 1);
        add_all(&into->lost, &from->lost, 1);
        add_all(&into->turns, &from->turns, 1);
        add_all(into->time, from->time, METRICS_N_STATES);
}

/* A thread that has been at one thing for long has not yet written down how long. */
static void add_state(struct metrics *into, const struct metrics *from, uint64_t now)
{
        uint64_t since = objm_tally_get(&from->state_since);
        uint8_t state = atomic_load_explicit(&from->state, memory_order_relaxed);

        if (!since)
                return;
        into->in_state[state]++;
        if (now > since)
                objm_tally_add(&into->time[state], now - since);
}

static int add_block(struct metrics *into, struct metrics *from)
{
        add_numbers(into, from);
        return add_tallies(into, from);
}

void metrics_end(struct metrics_all *all, struct metrics *m)
{
        pthread_mutex_lock(&all->lock);
        if (add_block(&all->ended, m) < 0)
                objm_tally_add(&all->ended.lost, 1);
        objm_list_unlink(&m->link);
        pthread_mutex_unlock(&all->lock);
        metrics_free(m);
}

int metrics_sum(struct metrics_all *all, struct metrics *ret)
{
        uint64_t now = objm_clock_ns();
        struct objm_list *it, *next;
        int r;

        memset(ret, 0, sizeof(*ret));
        pthread_mutex_lock(&all->lock);
        r = add_block(ret, &all->ended);
        objm_list_for_each_safe(it, next, &all->blocks) {
                struct metrics *m = objm_container_of(it, struct metrics, link);

                if (r == 0)
                        r = add_block(ret, m);
                add_state(ret, m, now);
        }
        pthread_mutex_unlock(&all->lock);
        if (r < 0)
                metrics_deinit(ret);
        return r;
}

/* ---- counting ---- */

uint8_t metrics_mode_of_operation(uint8_t op)
{
        switch (op) {
        case OBJM_V3_OP_STAT:
                return METRICS_STAT;
        case OBJM_V3_OP_PING:
                return METRICS_PING;
        case OBJM_V3_OP_RING_ATTACH:
                return METRICS_ATTACH;
        case OBJM_V3_OP_STATS:
        case OBJM_V3_OP_RELOAD:
        case OBJM_V3_OP_DRAIN:
                return METRICS_CONTROL;
        default:
                return METRICS_OTHER;
        }
}

/* How it is counted, all of it in one number. */
static uint32_t kind_of(const struct metrics_record *r)
{
        uint32_t kind;

        static_assert(offsetof(struct metrics_record, object) == offsetof(struct metrics_record, mode) + 3, "no gap");
        memcpy(&kind, &r->mode, sizeof(kind));
        return kind;
}

static void count_sizes(struct metrics *m, const struct metrics_record *r, size_t n)
{
        struct objm_tally *t = tally_of(&m->object_size);
        uint64_t sum = 0;

        if (objm_unlikely(!t)) {
                objm_tally_add(&m->lost, n);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                sum += r[i].size;
                objm_tally_add(&t->bucket[objm_tally_bucket(r[i].size)], 1);
        }
        objm_tally_add(&t->sum, sum);
}

/* All of one kind. @latency NULL: not known. */
static void count_run(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r, size_t n,
                      uint64_t bytes, const uint64_t *latency)
{
        struct metrics_class *c = class_of(m, transport, r->mode);

        if (r->object)
                count_sizes(m, r, n);
        if (r->fallback < METRICS_N_FALLBACKS)
                objm_tally_add(&m->fallbacks[r->fallback], n);
        if (objm_unlikely(!c)) {
                objm_tally_add(&m->lost, n);
                return;
        }
        objm_tally_add(&c->requests[status_index(r->status)], n);
        objm_tally_add(&c->bytes, bytes);
        if (latency)
                objm_tally_record(&c->latency, *latency, n);
}

uint64_t metrics_count(struct metrics *m, enum metrics_transport transport, const struct metrics_record *r, size_t n,
                       uint64_t start, uint64_t end)
{
        uint64_t latency = end > start ? end - start : 0, all = 0;

        for (size_t i = 0, from; i < n;) {
                uint32_t kind = kind_of(&r[i]);
                uint64_t bytes = 0;

                for (from = i; i < n && kind_of(&r[i]) == kind; i++) {
                        probe_request_end(transport, &r[i], latency);
                        bytes += r[i].bytes;
                }
                count_run(m, transport, &r[from], i - from, bytes, end ? &latency : NULL);
                all += bytes;
        }
        return all;
}

void metrics_count_ok(struct metrics *m, enum metrics_transport transport, enum metrics_mode mode, uint64_t n,
                      uint64_t bytes)
{
        const struct metrics_record kind = {.mode = (uint8_t)mode, .status = OBJM_STATUS_OK,
                                            .fallback = METRICS_N_FALLBACKS};

        count_run(m, transport, &kind, n, bytes, NULL);
}

void metrics_tally_many(struct metrics *m, _Atomic(struct objm_tally *) *which, uint64_t value, uint64_t n)
{
        struct objm_tally *t = tally_of(which);

        if (t)
                objm_tally_record(t, value, n);
        else
                objm_tally_add(&m->lost, n);
}
