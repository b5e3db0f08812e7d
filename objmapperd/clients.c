/* SPDX-License-Identifier: MIT */
#include "objmapperd/clients.h"

struct look {
        uint64_t now;
        struct client *rows;
        size_t cap, n, hot;
};

static uint64_t since(uint64_t now, uint64_t then)
{
        return now > then ? now - then : 0;
}

static void look_at_locked(struct look *l, const struct connection *c)
{
        const struct connection_report *r = &c->report;
        uint64_t opened = objm_tally_get(&r->opened_ns), last = objm_tally_get(&r->last_ns);
        uint64_t idle = since(l->now, last ? last : opened);

        l->hot += last && idle < CLIENTS_HOT_NS;
        if (l->n < l->cap)
                l->rows[l->n] = (struct client){
                        .tcp = c->tcp, .uid = c->peer.uid, .requests = objm_tally_get(&r->requests),
                        .bytes = objm_tally_get(&r->bytes), .open_ns = since(l->now, opened), .idle_ns = idle,
                        .waits = atomic_load_explicit(&c->wait, memory_order_relaxed)};
        l->n++;
}

static void look_at_worker_locked(struct look *l, struct worker *w)
{
        struct objm_list *it, *next;

        pthread_mutex_lock(&w->open_lock);
        objm_list_for_each_safe(it, next, &w->open)
                look_at_locked(l, objm_container_of(it, struct connection, report.link));
        pthread_mutex_unlock(&w->open_lock);
}

size_t clients_look(struct server *s, uint64_t now_ns, struct client *rows, size_t cap, size_t *ret_hot)
{
        struct look l = {.now = now_ns, .rows = rows, .cap = cap};
        struct objm_list *it, *next;

        pthread_mutex_lock(&s->workers_lock);
        objm_list_for_each_safe(it, next, &s->workers)
                look_at_worker_locked(&l, objm_container_of(it, struct worker, link));
        pthread_mutex_unlock(&s->workers_lock);
        *ret_hot = l.hot;
        return l.n;
}

const char *client_waits_name(enum worker_wait waits)
{
        static const char *const names[] = {
                [WORKER_WAIT_REQUEST] = "request", [WORKER_WAIT_REST] = "rest", [WORKER_WAIT_PEER] = "peer",
                [WORKER_WAIT_JOB] = "job",         [WORKER_WAIT_BODY] = "body",
        };

        return waits < objm_array_len(names) ? names[waits] : "other";
}
