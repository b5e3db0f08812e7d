/* SPDX-License-Identifier: MIT */
/*
 * What a worker does: it waits, polling or asleep, for sockets, rings and mail, serves what is there, and sees to what
 * is due. One turn after the other until it is told to end.
 */
#include "base/clock.h"
#include "objmapperd/connection.h"
#include "objmapperd/quarantine.h"
#include "objmapperd/worker.h"

#include <errno.h>
#include <limits.h>

/* While one connection is polled directly, every so many looks go to all of them. */
#define LOOKS_PER_EPOLL 8
/* Looking at rings is no system call: only every so many looks there are looks at sockets. */
#define LOOKS_PER_SOCKET 128

static uint64_t timeout_of(const struct worker *w, enum worker_wait wait)
{
        const struct config *config = w->snapshot->config;

        if (wait == WORKER_WAIT_JOB)
                return 0;
        return wait == WORKER_WAIT_REQUEST ? config->idle_ns : config->request_ns;
}

/* When the first connection of a list is due; 0: never. */
static uint64_t due(const struct worker *w, enum worker_wait wait)
{
        uint64_t timeout = timeout_of(w, wait);

        if (!timeout || objm_list_empty(&w->waiting[wait]))
                return 0;
        return objm_list_first(&w->waiting[wait], struct connection, link)->since + timeout;
}

/* When to look at what no event tells; UINT64_MAX: there is nothing. */
static uint64_t next_watch(const struct worker *w)
{
        if (!objm_list_empty(&w->watched))
                return w->watched_ns + WORKER_WATCH_NS;
        return objm_list_empty(&w->quarantine) ? UINT64_MAX : w->watched_ns + WORKER_QUARANTINE_NS;
}

static void watch(struct worker *w)
{
        struct objm_list *it, *next;

        if (next_watch(w) > w->now)
                return;
        w->watched_ns = w->now;
        objm_list_for_each_safe(it, next, &w->watched)
                connection_watched(objm_container_of(it, struct connection, watch));
        quarantine_look(w);
}

static int sleep_ms(const struct worker *w)
{
        uint64_t kept_due = objm_kept_due(&w->kept), rings = rings_due(w), first = next_watch(w), ms;

        if (kept_due && kept_due < first)
                first = kept_due;
        if (rings < first)
                first = rings;
        for (unsigned i = 0; i < WORKER_WAIT_MAX; i++) {
                uint64_t d = due(w, i);

                if (d && d < first)
                        first = d;
        }
        if (first == UINT64_MAX)
                return -1;
        ms = first > w->now ? (first - w->now) / OBJM_NS_PER_MS + 1 : 0;
        return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void expire(struct worker *w)
{
        for (unsigned i = 0; i < WORKER_WAIT_MAX; i++)
                for (uint64_t d = due(w, i); d && d <= w->now; d = due(w, i))
                        connection_expire(objm_list_first(&w->waiting[i], struct connection, link));
}

/* No event and no job names them any more. */
static void bury(struct worker *w)
{
        while (!objm_list_empty(&w->dead)) {
                struct connection *c = objm_list_first(&w->dead, struct connection, link);

                objm_list_unlink(&c->link);
                connection_free(w->server, c);
                atomic_fetch_sub_explicit(&w->n_held, 1, memory_order_relaxed);
        }
}

enum found {
        FOUND_NOTHING,
        FOUND_BY_RING,
        FOUND_BY_SOCKET,
};

/* A ring that always has something keeps nobody from looking at the sockets. */
static enum found look(struct worker *w, ssize_t *ret_received)
{
        bool found;

        *ret_received = -EAGAIN;
        w->n_looks++;
        if (w->rings.n_awake && w->n_looks % LOOKS_PER_SOCKET)
                return rings_look(&w->rings) ? FOUND_BY_RING : FOUND_NOTHING;
        if (w->hot && w->n_looks / (w->rings.n_awake ? LOOKS_PER_SOCKET : 1) % LOOKS_PER_EPOLL)
                found = connection_poll(w->hot, ret_received);
        else
                found = objm_loop_wait(&w->loop, 0) > 0;
        if (found)
                return FOUND_BY_SOCKET;
        return rings_look(&w->rings) ? FOUND_BY_RING : FOUND_NOTHING;
}

/* A turn at whose beginning nobody looked at the time is not worth a look at its end. */
static bool begin_spin(struct worker *w)
{
        if (!w->timed)
                return objm_spin_begin_untimed(&w->spin);
        if (!objm_spin_begin(&w->spin))
                return false;
        rings_count(w, w->spin.start);
        metrics_enter(w->metrics, METRICS_POLLING, w->spin.start);
        return true;
}

static void end_spin(struct worker *w, enum found found)
{
        w->sampled = found && sampling_pick(&w->sampling);
        w->timed = w->sampled || found != FOUND_BY_RING || objm_loop_has_mail(&w->loop);
        if (!w->timed) {
                objm_spin_end_often(&w->spin, true);
        } else {
                rings_count(w, 0);
                objm_spin_end(&w->spin, found);
        }
        w->now = w->spin.last;
        if (w->timed && found)
                metrics_enter(w->metrics, METRICS_WORKING, w->now);
}

/* Polls instead of sleeping, as long as that has lately paid. True: something was found; it has been, or waits to be,
 * dispatched. */
static bool spin(struct worker *w)
{
        struct connection *hot = w->hot;
        ssize_t received = -EAGAIN;
        enum found found;

        if (!w->n_served || !begin_spin(w))
                return false;
        do
                found = look(w, &received);
        while (!found && (w->rings.n_awake ? objm_spin_more_often(&w->spin) : objm_spin_more(&w->spin)));
        end_spin(w, found);
        w->snapshot = server_snapshot(w->server); /* whoever asks after a reload gets what it brought */
        w->n_served = 0;
        if (received != -EAGAIN)
                connection_polled(hot, received);
        return found;
}

/* A ring may be found bad on the way to sleep: with its connection, which is to be buried, a worker may have to end. */
static void sleep_until_event(struct worker *w)
{
        int ms = rings_sleep(w) && objm_list_empty(&w->dead) ? sleep_ms(w) : 0;

        if (rings_uncounted(&w->rings)) {
                w->after = objm_clock_ns();
                rings_count(w, w->after);
        }
        w->n_served = 0;
        objm_qsbr_offline(&w->reader);
        objm_qsbr_poll(w->server->qsbr); /* perhaps it was only this thread that was waited for */
        metrics_enter(w->metrics, METRICS_SLEEPING, w->after > w->now ? w->after : w->now);
        objm_loop_wait(&w->loop, ms);
        w->now = objm_clock_ns();
        metrics_enter(w->metrics, METRICS_WORKING, w->now);
        w->sampled = sampling_pick(&w->sampling);
        w->timed = true;
        objm_qsbr_online(&w->reader);
        w->snapshot = server_snapshot(w->server);
}

static void turn(struct worker *w)
{
        if (!spin(w))
                sleep_until_event(w);
        w->reported = objm_kept_mark(&w->kept);
        objm_loop_dispatch(&w->loop);
        w->n_served += rings_serve(w);
        if (!w->timed)
                metrics_pass(w->metrics, w->n_served);
        else
                metrics_turn(w->metrics, w->n_served);
        if (w->n_served > 1)
                w->hot = NULL;
        expire(w);
        objm_kept_expire(&w->kept, w->now);
        watch(w);
        rings_expire(w);
        bury(w);
        quarantine_bury(w);
        objm_qsbr_quiescent(&w->reader);
        w->snapshot = server_snapshot(w->server); /* what was loaded before is no longer held */
}

void worker_run(struct worker *w)
{
        objm_qsbr_register(w->server->qsbr, &w->reader);
        objm_qsbr_online(&w->reader);
        w->now = objm_clock_ns();
        w->timed = true;
        metrics_enter(w->metrics, METRICS_WORKING, w->now);
        w->snapshot = server_snapshot(w->server);
        while (!(w->stopping || w->own) || atomic_load_explicit(&w->n_held, memory_order_relaxed))
                turn(w);
        rings_count(w, 0);
        objm_kept_clear(&w->kept);
        metrics_leave(w->metrics, objm_clock_ns());
        objm_qsbr_offline(&w->reader);
        objm_qsbr_unregister(&w->reader);
}
