/* SPDX-License-Identifier: MIT */
#include "objmapperd/rings.h"

#include "base/clock.h"
#include "objmapperd/connection.h"

/* So many may stay awake without having anything, for so many turns. */
#define AWAKE_MAX 16
#define VAIN_MAX  64

void rings_init(struct rings *x)
{
        objm_list_init(&x->awake);
        objm_list_init(&x->all);
        for (unsigned i = 0; i < RINGS_LEVELS; i++)
                objm_list_init(&x->waiting[i]);
}

static void leave(struct worker *w, struct ring *r)
{
        w->rings.n_awake -= r->state == RING_AWAKE;
        objm_list_unlink(&r->link);
}

void rings_add(struct worker *w, struct ring *r)
{
        r->since = w->now;
        r->state = RING_ASLEEP;
        objm_list_add_tail(&w->rings.all, &r->used);
        objm_ring_server_doze(&r->end); /* nobody has it yet: no look, which would cost a page */
}

void rings_remove(struct worker *w, struct ring *r)
{
        leave(w, r);
        objm_list_unlink(&r->used);
        r->state = RING_CLOSED;
}

void rings_wake(struct worker *w, struct ring *r)
{
        if (r->state == RING_AWAKE || r->state == RING_CLOSED)
                return;
        leave(w, r);
        r->state = RING_AWAKE;
        r->vain = 0;
        objm_ring_server_awake(&r->end);
        objm_list_add_tail(&w->rings.awake, &r->link);
        w->rings.n_awake++;
}

void rings_wait(struct worker *w, struct ring *r)
{
        leave(w, r);
        r->state = RING_WAITING;
        r->retry_at = w->now + (OBJM_NS_PER_MS << r->level);
        objm_list_add_tail(&w->rings.waiting[r->level], &r->link);
        r->level += r->level < RINGS_LEVELS - 1;
        objm_ring_server_doze(&r->end);
}

void rings_touch(struct worker *w, struct ring *r)
{
        r->vain = 0;
        if (r->since == w->now)
                return;
        r->since = w->now;
        atomic_store_explicit(&r->c->report.last_ns, w->now, memory_order_relaxed);
        objm_list_move_tail(&w->rings.all, &r->used);
}

/* True: it sleeps, or has ended. */
static bool put_to_sleep(struct worker *w, struct ring *r)
{
        int n = objm_ring_server_sleep(&r->end);

        if (n < 0) {
                ring_cut_off(r);
                return true;
        }
        if (n > 0)
                return false;
        if (r->muted || !objm_list_empty(&r->done)) { /* for room nobody rings */
                rings_wait(w, r);
                return true;
        }
        leave(w, r);
        r->state = RING_ASLEEP;
        return true;
}

static struct ring *next_waiting(struct rings *x, uint64_t now)
{
        for (unsigned i = 0; i < RINGS_LEVELS; i++) {
                struct ring *r;

                if (objm_list_empty(&x->waiting[i]))
                        continue;
                r = objm_list_first(&x->waiting[i], struct ring, link);
                if (r->retry_at <= now)
                        return r;
        }
        return NULL;
}

unsigned rings_serve(struct worker *w)
{
        struct rings *x = &w->rings;
        struct ring *late = next_waiting(x, w->now);
        struct objm_list *it, *next;
        unsigned worked = 0;

        if (late)
                rings_wake(w, late);
        objm_list_for_each_safe(it, next, &x->awake) {
                struct ring *r = objm_container_of(it, struct ring, link);

                if (ring_serve(r))
                        worked++;
                else if (r->state == RING_AWAKE && (++r->vain >= VAIN_MAX || x->n_awake > AWAKE_MAX))
                        (void)put_to_sleep(w, r);
        }
        return worked;
}

static void count_untimed(struct worker *w)
{
        struct rings_count *n = &w->rings.count;

        if (!n->known && !n->bodies && !n->found)
                return;
        if (n->known)
                metrics_count_ok(w->metrics, METRICS_RING, METRICS_STAT, n->known, 0);
        if (n->bodies)
                metrics_count_ok(w->metrics, METRICS_RING, METRICS_INLINE, n->bodies, n->bytes);
        objm_store_found(w->snapshot->store, n->found);
        *n = (struct rings_count){0};
}

void rings_count(struct worker *w, uint64_t now)
{
        struct rings *x = &w->rings;

        count_untimed(w);
        if (!x->n_pending)
                return;
        metrics_count(w->metrics, METRICS_RING, x->pending, x->n_pending, w->now, w->sampled ? now : 0);
        x->n_pending = 0;
}

bool rings_sleep(struct worker *w)
{
        struct objm_list *it, *next;
        bool all = true;

        objm_list_for_each_safe(it, next, &w->rings.awake)
                all = put_to_sleep(w, objm_container_of(it, struct ring, link)) && all;
        return all;
}

uint64_t rings_due(const struct worker *w)
{
        uint64_t idle = w->snapshot->config->ring_idle_ns, first = UINT64_MAX;

        for (unsigned i = 0; i < RINGS_LEVELS; i++) {
                const struct objm_list *l = &w->rings.waiting[i];

                if (!objm_list_empty(l) && objm_list_first(l, struct ring, link)->retry_at < first)
                        first = objm_list_first(l, struct ring, link)->retry_at;
        }
        if (idle && !objm_list_empty(&w->rings.all)) {
                uint64_t due = objm_list_first(&w->rings.all, struct ring, used)->since + idle;

                if (due < first)
                        first = due;
        }
        return first;
}

void rings_expire(struct worker *w)
{
        uint64_t idle = w->snapshot->config->ring_idle_ns;

        while (idle && !objm_list_empty(&w->rings.all)) {
                struct ring *r = objm_list_first(&w->rings.all, struct ring, used);

                if (r->since + idle > w->now)
                        return;
                ring_retire(r);
        }
}
