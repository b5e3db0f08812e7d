/* SPDX-License-Identifier: MIT */
#include "objmapperd/ring_attach.h"

#include "base/fd.h"
#include "objmapperd/exchange.h"
#include "objmapperd/ring.h"
#include "protocol/v3.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct attach {
        struct objm_job job;
        struct objm_mail mail;
        struct connection *c; /* stays in memory while c->jobs counts this one */
        struct objm_ring_geometry geometry;
        struct request rq;
        struct ring *ring; /* made by the pool; NULL: `error` says why not */
        int fds[2];
        int error;
};

uint8_t ring_attach_check(const struct connection *c, const struct request *rq, const char **ret_text)
{
        struct objm_ring_geometry wanted;

        if (!c->may_ring) {
                *ret_text = "not negotiated in the hello";
                return OBJM_STATUS_UNSUPPORTED;
        }
        if (!objm_ring_attach_decode(rq->extra, rq->extra_len, &wanted)) {
                *ret_text = "the wanted geometry is missing";
                return OBJM_STATUS_INVALID_REQUEST;
        }
        if (c->attaching || ring_is_open(c->ring)) {
                *ret_text = "this connection has a ring";
                return OBJM_STATUS_INVALID_REQUEST;
        }
        return OBJM_STATUS_OK;
}

/* ---- back in the worker ---- */

static void drop(struct attach *a)
{
        ring_free(a->ring);
        a->fds[0] = objm_fd_close(a->fds[0]);
        a->fds[1] = objm_fd_close(a->fds[1]);
        server_uncount_ring(a->c->worker->server);
}

static void refuse(struct attach *a, int error)
{
        struct reply r = request_refuse(&a->rq, error == -ENOMEM ? OBJM_STATUS_NO_MEMORY : OBJM_STATUS_UNAVAILABLE,
                                        "no ring can be made at present");

        drop(a);
        connection_on_reply(a->c, &r);
}

/* The kernel takes none of its descriptors at present: the ring goes, the connection goes on. */
static void take_back(struct attach *a)
{
        struct reply r = request_refuse(&a->rq, OBJM_STATUS_UNAVAILABLE, "too many descriptors in flight");

        ring_close(a->ring);
        server_refs_are_scarce(a->c->worker->server);
        connection_on_reply(a->c, &r);
}

static void grant(struct attach *a)
{
        struct connection *c = a->c;
        uint8_t buf[OBJM_V3_RESPONSE_HEADER + OBJM_RING_GRANT];
        struct objm_v3_response rs = {.op = OBJM_V3_OP_RING_ATTACH, .id = a->rq.id, .n_fds = OBJM_RING_FDS,
                                      .body_len = OBJM_RING_GRANT};
        int fds[OBJM_RING_FDS] = {
                [OBJM_RING_FD_REQUESTS] = a->fds[0],
                [OBJM_RING_FD_REPLIES] = a->fds[1],
                [OBJM_RING_FD_DOORBELL] = a->ring->doorbell.fd,
        };
        size_t len = objm_v3_response_encode(buf, sizeof(buf), &rs);
        int r;

        objm_ring_grant_encode(buf + len, &a->geometry);
        r = exchange_send_fds(c, buf, sizeof(buf), fds, OBJM_RING_FDS);
        if (r == 0)
                exchange_count_now(c, &(struct metrics_record){.id = a->rq.id, .mode = METRICS_ATTACH,
                                                               .fallback = METRICS_N_FALLBACKS}, c->received);
        else if (r == -ETOOMANYREFS)
                take_back(a);
        else
                connection_close(c);
        objm_fd_close(a->fds[0]);
        objm_fd_close(a->fds[1]);
        if (!c->dead)
                exchange_resume(c);
        connection_settle(c, true);
}

static void deliver(struct objm_mail *m)
{
        struct attach *a = objm_container_of(m, struct attach, mail);
        struct connection *c = a->c;

        c->jobs--;
        c->attaching = false;
        if (c->dead || c->worker->draining || a->error < 0) { /* one with a ring is not handed over */
                refuse(a, a->error);
                free(a);
                return;
        }
        ring_free(c->ring); /* one that ended for lack of use */
        c->ring = NULL;
        a->error = ring_start(a->ring, c);
        if (a->error < 0)
                refuse(a, a->error);
        else
                grant(a);
        free(a);
}

/* ---- in the pool ---- */

static void run(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct attach *a = objm_container_of(job, struct attach, job);

        a->error = ring_new(&a->geometry, &a->ring, a->fds);
        objm_loop_post(&a->c->worker->loop, &a->mail);
}

int ring_attach_start(struct connection *c, const struct request *rq)
{
        const struct config *config = c->worker->snapshot->config;
        struct server *s = c->worker->server;
        struct objm_ring_geometry wanted;
        struct attach *a;

        if (!objm_ring_attach_decode(rq->extra, rq->extra_len, &wanted) || c->worker->draining ||
            !server_count_ring(s))
                return -EBUSY;
        a = malloc(sizeof(*a));
        if (!a) {
                server_uncount_ring(s);
                return -ENOMEM;
        }
        *a = (struct attach){.job.run = run, .mail.deliver = deliver, .c = c, .rq = *rq, .fds = {-1, -1}};
        a->geometry.entries = objm_ring_grant(wanted.entries, config->ring_entries, OBJM_RING_ENTRIES_MIN);
        a->geometry.arena = objm_ring_grant(wanted.arena, config->ring_arena, OBJM_RING_ARENA_MIN);
        if (objm_pool_submit(s->pool, &a->job, OBJM_LANE_BACKGROUND) != 0) {
                free(a);
                server_uncount_ring(s);
                return -EBUSY;
        }
        c->jobs++;
        c->attaching = true;
        return 0;
}
