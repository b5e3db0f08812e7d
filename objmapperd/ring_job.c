/* SPDX-License-Identifier: MIT */
#include "objmapperd/ring_job.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/connection.h"
#include "objmapperd/exchange.h"
#include "objmapperd/ring_entry.h"
#include "transport/body.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Descriptors of jobs that may wait for the socket; others are to be asked for there, where nothing is looked at yet.
 * As many again are left for requests of the socket that are with the pool, and for a ring to be.
 */
#define QUEUED_FDS_MAX (OBJM_OUTQ_FDS_MAX / 2)

static_assert(QUEUED_FDS_MAX + CONNECTION_JOBS_MAX + OBJM_RING_FDS <= OBJM_OUTQ_FDS_MAX, "the queue has room for all");

struct ring_job {
        struct objm_job job;
        struct objm_mail mail;
        struct objm_list link; /* in ring.done */
        struct connection *c;  /* stays in memory while c->jobs counts this one */
        struct ring *r;        /* the one that asked; may have been closed */
        struct request rq;
        struct reply reply;    /* its descriptor is closed once the body has been read */
        uint8_t *body;
        uint64_t received_ns; /* 0: its turn does not count for how long requests take */
        uint64_t posted_ns;
        uint8_t uri[];
};

static void job_free(struct ring_job *j)
{
        objm_fd_close(j->reply.fd);
        free(j->body);
        free(j);
}

static void fail(struct ring_job *j, uint8_t status)
{
        objm_fd_close(j->reply.fd);
        j->reply = request_refuse(&j->rq, status, NULL);
}

static void read_body(struct ring_job *j)
{
        size_t len = (size_t)j->reply.body_len;

        j->body = malloc(len ? len : 1);
        if (!j->body) {
                fail(j, OBJM_STATUS_NO_MEMORY);
                return;
        }
        if (objm_body_read(j->reply.fd, j->body, len, j->reply.body_at, false) < 0)
                fail(j, OBJM_STATUS_STORAGE);
        else
                j->reply.fd = objm_fd_close(j->reply.fd);
}

/* ---- back in the worker ---- */

/* The descriptor leaves before the reply shows, behind what waits for the socket. */
static void put_fd(struct ring_job *j)
{
        struct objm_ring_reply head = ring_entry_encode(&j->reply);

        if (exchange_send_fd(j->c, &j->reply)) {
                objm_ring_server_put(&j->r->end, &head);
        } else if (!j->c->dead) {
                ring_put_refusal(j->r, &j->rq, OBJM_STATUS_UNAVAILABLE, false);
                j->reply = request_refuse(&j->rq, OBJM_STATUS_UNAVAILABLE, NULL);
        }
}

static void count(const struct ring_job *j)
{
        struct metrics_record record = ring_entry_record(&j->reply);

        metrics_count(j->c->worker->metrics, METRICS_RING, &record, 1, j->received_ns,
                      j->received_ns ? objm_clock_ns() : 0);
}

static bool is_for_socket(const struct ring_job *j)
{
        if (j->reply.body)
                return !ring_body_fits(j->r, &j->reply);
        return j->reply.fd >= 0 && j->c->out.fds >= QUEUED_FDS_MAX;
}

/* False: the client has to make room first. */
static bool put(struct ring_job *j)
{
        struct objm_ring_reply head = ring_entry_encode(&j->reply);
        uint8_t *to;

        if (is_for_socket(j)) {
                ring_put_refusal(j->r, &j->rq, OBJM_STATUS_UNSUPPORTED, true);
                ring_note_referred(j->r, &j->rq);
                return true;
        }
        if (j->reply.body && head.body_len) {
                to = objm_ring_server_body(&j->r->end, head.body_len, &head.body_at);
                if (!to)
                        return false;
                memcpy(to, j->body, head.body_len);
        }
        if (j->reply.fd >= 0)
                put_fd(j);
        else
                objm_ring_server_put(&j->r->end, &head);
        count(j);
        return true;
}

void ring_job_put_done(struct ring *r)
{
        while (!objm_list_empty(&r->done)) {
                struct ring_job *j = objm_list_first(&r->done, struct ring_job, link);

                if (objm_ring_server_room(&r->end, 1) <= 0)
                        return;
                objm_list_unlink(&j->link); /* the end of the ring, which may come of it, frees what is in the list */
                if (!put(j)) {
                        objm_list_add_tail(r->done.next, &j->link); /* first again */
                        return;
                }
                r->jobs--;
                job_free(j);
        }
}

void ring_job_drop_done(struct ring *r)
{
        while (!objm_list_empty(&r->done)) {
                struct ring_job *j = objm_list_first(&r->done, struct ring_job, link);

                objm_list_unlink(&j->link);
                job_free(j);
        }
}

static void deliver(struct objm_mail *m)
{
        struct ring_job *j = objm_container_of(m, struct ring_job, mail);
        struct connection *c = j->c;
        struct worker *w = c->worker;
        struct ring *r = j->r;

        c->jobs--;
        metrics_tally(w->metrics, &w->metrics->handover, w->now > j->posted_ns ? w->now - j->posted_ns : 0);
        if (c->dead || c->ring != r || r->state == RING_CLOSED) {
                job_free(j);
                if (c->dead)
                        connection_bury(c);
                return;
        }
        objm_list_add_tail(&r->done, &j->link);
        rings_wake(c->worker, r);
}

/* ---- in the pool ---- */

static void run(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct ring_job *j = objm_container_of(job, struct ring_job, job);
        struct worker *w = j->c->worker;
        struct request_context ctx = {.server = w->server, .snapshot = server_snapshot(w->server),
                                      .peer = &j->c->peer};

        j->reply = request_run_waiting(&ctx, &j->rq);
        if (j->reply.body && ring_body_fits(j->r, &j->reply))
                read_body(j);
        j->posted_ns = objm_clock_ns();
        objm_loop_post(&w->loop, &j->mail);
}

int ring_job_start(struct ring *r, const struct request *rq)
{
        struct connection *c = r->c;
        struct ring_job *j = malloc(sizeof(*j) + rq->uri_len);

        if (!j)
                return -ENOMEM;
        *j = (struct ring_job){.job.run = run, .mail.deliver = deliver, .c = c, .r = r, .rq = *rq, .reply.fd = -1,
                               .received_ns = c->worker->sampled ? c->worker->now : 0};
        objm_list_init(&j->link);
        if (rq->uri_len)
                memcpy(j->uri, rq->uri, rq->uri_len);
        j->rq.uri = j->uri;
        if (objm_pool_submit(c->worker->server->pool, &j->job, OBJM_LANE_COLD) != 0) {
                free(j);
                return -EBUSY;
        }
        c->jobs++;
        r->jobs++;
        return 0;
}
