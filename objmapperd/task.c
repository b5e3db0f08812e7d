/* SPDX-License-Identifier: MIT */
#include "objmapperd/task.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct task {
        struct objm_job job;
        struct objm_mail mail;
        struct connection *c; /* stays in memory while c->jobs counts this task */
        struct request rq;
        struct reply reply;
        uint64_t received_ns, posted_ns;
        uint8_t uri[];
};

/* In the connection's worker again. */
static void deliver(struct objm_mail *m)
{
        struct task *t = objm_container_of(m, struct task, mail);

        struct worker *w = t->c->worker;

        t->c->jobs--;
        t->reply.received_ns = t->received_ns;
        metrics_tally(w->metrics, &w->metrics->handover, w->now > t->posted_ns ? w->now - t->posted_ns : 0);
        connection_on_reply(t->c, &t->reply);
        free(t);
}

/* The reader is online; the snapshot and, through it, the worker stay until it is quiescent. */
static void work(struct task *t)
{
        struct server *s = t->c->worker->server;
        struct request_context ctx = {.server = s, .snapshot = server_snapshot(s), .peer = &t->c->peer};
        struct objm_loop *loop = &t->c->worker->loop;

        t->reply = request_run_waiting(&ctx, &t->rq);
        t->posted_ns = objm_clock_ns();
        objm_loop_post(loop, &t->mail);
}

static void run_in_pool(struct objm_job *job, struct objm_qsbr_reader *r)
{
        work(objm_container_of(job, struct task, job));
}

static void run_in_own_thread(void *arg)
{
        struct task *t = arg;
        struct objm_qsbr *q = t->c->worker->server->qsbr;
        struct objm_qsbr_reader reader;

        objm_qsbr_register(q, &reader);
        objm_qsbr_online(&reader);
        work(t);
        objm_qsbr_unregister(&reader);
        objm_qsbr_poll(q);
}

int task_start(struct connection *c, const struct request *rq)
{
        struct server *s = c->worker->server;
        struct task *t = malloc(sizeof(*t) + rq->uri_len);
        int r;

        if (!t)
                return -ENOMEM;
        *t = (struct task){.job.run = run_in_pool, .mail.deliver = deliver, .c = c, .rq = *rq,
                           .received_ns = c->received};
        t->reply.fd = -1;
        memcpy(t->uri, rq->uri, rq->uri_len);
        t->rq.uri = t->uri;
        c->jobs++;
        if (s->model->execution == OBJM_EXECUTE_SPAWN)
                r = objm_spawner_spawn(s->spawner, run_in_own_thread, t);
        else
                r = objm_pool_submit(s->pool, &t->job, OBJM_LANE_REQUEST) == 0 ? 0 : -EBUSY;
        if (r < 0) {
                c->jobs--;
                free(t);
        }
        return r;
}
