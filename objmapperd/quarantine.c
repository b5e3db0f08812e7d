/* SPDX-License-Identifier: MIT */
#include "objmapperd/quarantine.h"

#include "base/fd.h"
#include "objmapperd/connection.h"
#include "transport/unix.h"

#include <stdlib.h>
#include <sys/socket.h>

struct quarantined {
        struct objm_source source;
        struct objm_list link; /* in worker.quarantine, or worker.released */
        struct worker *worker;
        struct allowance allowance;
        bool released;
};

static void release(struct quarantined *q)
{
        struct worker *w = q->worker;

        q->released = true;
        objm_loop_remove(&w->loop, &q->source);
        q->source.fd = objm_fd_close(q->source.fd);
        allowance_close(w->server, &q->allowance);
        atomic_fetch_sub_explicit(&w->server->limited.quarantined, 1, memory_order_relaxed);
        objm_list_move_tail(&w->released, &q->link);
        atomic_fetch_sub_explicit(&w->n_connections, 1, memory_order_relaxed);
        server_count_out(w->server);
}

/* Edge-triggered: an event for each message that the client reads, and for its end. */
static void on_events(struct objm_source *source, uint32_t events)
{
        struct quarantined *q = objm_container_of(source, struct quarantined, source);

        if (!q->released && objm_unix_unread(source->fd) < OBJM_UNIX_UNREAD_LEAST)
                release(q);
}

/* Bytes alone are the kernel's memory: they count where that is limited by user, if there are many. */
static bool is_needed(const struct connection *c)
{
        uint32_t bytes = c->worker->snapshot->config->queued_bytes_per_uid;
        size_t unread;

        if (c->tcp || c->worker->draining || c->worker->stopping || !(c->allowance.unread_fds || bytes))
                return false;
        unread = objm_unix_unread(c->source.fd);
        return unread >= (c->allowance.unread_fds ? OBJM_UNIX_UNREAD_LEAST : 2 * CONNECTION_SNDBUF);
}

bool quarantine_take(struct connection *c)
{
        struct worker *w = c->worker;
        struct quarantined *q = is_needed(c) ? malloc(sizeof(*q)) : NULL;

        if (!q)
                return false;
        *q = (struct quarantined){.source = {.fd = c->source.fd, .events = EPOLLOUT | EPOLLET, .on_events = on_events},
                                  .worker = w, .allowance = c->allowance};
        shutdown(q->source.fd, SHUT_RDWR);
        if (objm_loop_add(&w->loop, &q->source) < 0) {
                free(q);
                return false;
        }
        objm_list_add_tail(&w->quarantine, &q->link);
        atomic_fetch_add_explicit(&w->n_held, 1, memory_order_relaxed);
        server_count(&w->server->limited.quarantined);
        c->source.fd = -1;
        c->allowance = (struct allowance){0};
        return true;
}

void quarantine_look(struct worker *w)
{
        struct objm_list *it, *next;

        objm_list_for_each_safe(it, next, &w->quarantine) {
                struct quarantined *q = objm_container_of(it, struct quarantined, link);

                on_events(&q->source, 0);
        }
}

void quarantine_end(struct worker *w)
{
        while (!objm_list_empty(&w->quarantine))
                release(objm_list_first(&w->quarantine, struct quarantined, link));
}

void quarantine_bury(struct worker *w)
{
        while (!objm_list_empty(&w->released)) {
                struct quarantined *q = objm_list_first(&w->released, struct quarantined, link);

                objm_list_unlink(&q->link);
                free(q);
                atomic_fetch_sub_explicit(&w->n_held, 1, memory_order_relaxed);
        }
}
