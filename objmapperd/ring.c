/* SPDX-License-Identifier: MIT */
#include "objmapperd/ring.h"

#include "base/fd.h"
#include "objmapperd/connection.h"
#include "objmapperd/exchange.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/probe.h"
#include "objmapperd/ring_job.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* Doorbells in a row that nothing came of, before the ring is looked at by time alone. */
#define BELLS_MAX 16

static void on_doorbell(struct objm_source *source, uint32_t events)
{
        struct ring *r = objm_container_of(source, struct ring, doorbell);

        if (r->state == RING_CLOSED || r->muted)
                return;
        objm_tally_add(&r->c->worker->metrics->doorbells, 1);
        if (!objm_ring_server_pending(&r->end) && r->state != RING_WAITING && ++r->bells >= BELLS_MAX) {
                r->muted = objm_loop_set(&r->c->worker->loop, &r->doorbell, 0) == 0;
                rings_wait(r->c->worker, r);
                return;
        }
        rings_wake(r->c->worker, r);
}

int ring_new(const struct objm_ring_geometry *g, struct ring **ret, int ret_fds[2])
{
        struct ring *r = calloc(1, sizeof(*r));
        int e;

        if (!r)
                return -ENOMEM;
        objm_list_init(&r->link);
        objm_list_init(&r->used);
        objm_list_init(&r->done);
        r->doorbell = (struct objm_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN | EPOLLET,
                                           .on_events = on_doorbell};
        r->state = RING_CLOSED;
        e = r->doorbell.fd < 0 ? -errno : objm_ring_server_init(&r->end, g, ret_fds);
        if (e < 0) {
                ring_free(r);
                return e;
        }
        *ret = r;
        return 0;
}

int ring_start(struct ring *r, struct connection *c)
{
        int e = objm_loop_add(&c->worker->loop, &r->doorbell);

        if (e < 0)
                return e;
        r->c = c;
        c->ring = r;
        rings_add(c->worker, r);
        return 0;
}

void ring_close(struct ring *r)
{
        if (r->state == RING_CLOSED)
                return;
        objm_loop_remove(&r->c->worker->loop, &r->doorbell);
        rings_remove(r->c->worker, r);
        server_uncount_ring(r->c->worker->server);
        ring_job_drop_done(r);
        r->doorbell.fd = objm_fd_close(r->doorbell.fd);
        objm_ring_server_deinit(&r->end);
}

void ring_cut_off(struct ring *r)
{
        log_refused(LOG_REFUSED_PROTOCOL, r->c->peer.uid, "cut off: an index of its ring is out of bounds");
        connection_close(r->c);
}

void ring_free(struct ring *r)
{
        if (!r)
                return;
        objm_fd_close(r->doorbell.fd);
        objm_ring_server_deinit(&r->end);
        free(r);
}

void ring_retire(struct ring *r)
{
        struct connection *c = r->c;

        if (ring_pending(r) || r->jobs || r->muted || !objm_ring_server_end(&r->end)) {
                r->since = c->worker->now;
                objm_list_move_tail(&c->worker->rings.all, &r->used);
                return;
        }
        objm_shm_free_requests(&r->end.shm);
        ring_close(r);
        exchange_doorbell(c);
}

bool ring_pending(struct ring *r)
{
        return r->state != RING_CLOSED && (objm_ring_server_pending(&r->end) || !objm_list_empty(&r->done));
}

void ring_put_refusal(struct ring *r, const struct request *rq, uint8_t status, bool to_socket)
{
        struct objm_ring_reply e = {.status = status, .op = rq->op, .id = rq->id,
                                    .flags = to_socket ? OBJM_RING_RS_SOCKET : 0};

        objm_ring_server_put(&r->end, &e);
}

void ring_note_referred(struct ring *r, const struct request *rq)
{
        metrics_fall_back(r->c->worker->metrics, METRICS_RING_REFERRED);
        probe_request_refer(rq);
}

/* Shows the client what there is and wakes it if it sleeps. */
void ring_publish(struct ring *r)
{
        switch (objm_ring_server_publish(&r->end)) {
        case OBJM_RING_ASLEEP:
                objm_tally_add(&r->c->worker->metrics->wakes, 1);
                objm_ring_server_wake(&r->end);
                break;
        case OBJM_RING_POLLING:
                objm_tally_add(&r->c->worker->metrics->wakes, 1);
                exchange_doorbell(r->c);
                break;
        default:
                break;
        }
}
