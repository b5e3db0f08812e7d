/* SPDX-License-Identifier: MIT */
#include "objmapperd/transfer_job.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/escort.h"
#include "objmapperd/metrics_record.h"
#include "objmapperd/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#define QUANTUM   (256 * 1024)
#define TURN      16 /* quanta, after which whoever waits for a descriptor has its turn too */
#define READAHEAD (128 * 1024) /* below, the kernel's own guess is as good */

static void count(struct transfer *t, bool counted)
{
        if (t->counted != counted)
                server_count_bodies(t->c->worker->server, counted ? 1 : -1);
        t->counted = counted;
}

void transfer_begin(struct transfer *t, struct reply *r)
{
        transfer_describe(t->c, r, &t->body);
        t->record = metrics_record_of(r);
        t->rq.op = r->op;
        t->rq.mode = r->asked;
        t->rq.id = r->id;
        t->rq.want_metadata = r->want_metadata;
        r->fd = -1;
        count(t, true);
        t->lent_fd = r->kept;
        if (r->body_len > READAHEAD && !r->kept)
                (void)posix_fadvise(t->body.fd, (off_t)r->body_at, (off_t)r->body_len, POSIX_FADV_SEQUENTIAL);
}

void transfer_end_body(struct transfer *t)
{
        if (t->lent_fd)
                t->body.fd = -1;
        t->lent_fd = false;
        objm_body_deinit(&t->body);
        t->bodies++;
        t->uncounted = true;
}

void transfer_finish(struct transfer *t, struct objm_qsbr_reader *r, int result)
{
        objm_pool_forget(t->c->worker->server->pool, &t->source);
        t->cut = result < 0 && t->body.fd >= 0;
        objm_body_deinit(&t->body);
        count(t, false);
        t->result = result;
        t->posted_ns = objm_clock_ns();
        objm_qsbr_online(r);
        objm_loop_post(&t->c->worker->loop, &t->mail);
}

static void become_reply(struct transfer *t, struct reply r)
{
        t->reply = r;
        t->has_reply = true;
}

void transfer_fail(struct transfer *t, struct objm_qsbr_reader *r, int error)
{
        if ((error == -EIO || error == -ENODATA) && !t->body.head_sent) {
                become_reply(t, request_refuse(&t->rq, OBJM_STATUS_STORAGE, "the object cannot be read"));
                error = 0;
        }
        transfer_finish(t, r, error);
}

/* In the pool: looks the object up. False: it came to something else than a body. */
static bool open_object(struct transfer *t)
{
        struct server *s = t->c->worker->server;
        struct request_context ctx = {.server = s, .snapshot = server_snapshot(s), .peer = &t->c->peer};
        struct reply r = request_run_waiting(&ctx, &t->rq);

        if (r.body && server_bodies_over(s)) {
                objm_fd_close(r.fd);
                r = request_refuse(&t->rq, OBJM_STATUS_UNAVAILABLE, "out of descriptors");
        }
        if (r.body) {
                transfer_begin(t, &r);
                return true;
        }
        become_reply(t, r);
        return false;
}

int transfer_step(struct transfer *t, size_t quantum, bool nowait, struct transfer_buffer *buf)
{
        size_t head = t->body.head_len - t->body.head_sent;
        uint64_t before = t->body.left;
        int r;

        t->body.nowait = nowait;
        r = objm_body_send(&t->body, t->c->source.fd, quantum, buf->bytes + TRANSFER_PAGE - head,
                           TRANSFER_PIECE + head);
        atomic_fetch_add_explicit(&t->sent, before - t->body.left, memory_order_relaxed);
        return r;
}

/*
 * Sends until the socket is full, others wait for the thread or the disk would have to be waited for; a quantum may do
 * that in the cold lane. 0: all is sent.
 */
static int send_pieces(struct transfer *t, struct objm_pool *pool)
{
        struct transfer_buffer buf objm_uninitialized;
        int r = t->cold ? transfer_step(t, QUANTUM, false, &buf) : OBJM_BODY_MORE;

        for (unsigned n = 0; r == OBJM_BODY_MORE && n < TURN && (n == 0 || objm_pool_queued(pool) == 0); n++)
                r = transfer_step(t, QUANTUM, true, &buf);
        return r;
}

/* True: queued. False: there is no room to wait in. */
static bool queue(struct transfer *t, bool cold)
{
        t->cold = cold;
        return objm_pool_submit(t->c->worker->server->pool, &t->source.job,
                                cold ? OBJM_LANE_COLD : OBJM_LANE_REQUEST) == 0;
}

/* Goes on in this thread for as long as there is no room to wait in. */
static void send_on(struct transfer *t, struct objm_qsbr_reader *reader)
{
        struct objm_pool *pool = t->c->worker->server->pool;
        int r = send_pieces(t, pool);

        while (r == OBJM_BODY_MORE || r == OBJM_BODY_COLD) {
                if (queue(t, r == OBJM_BODY_COLD))
                        return;
                r = send_pieces(t, pool);
        }
        t->cold = false;
        if (r == -EAGAIN) {
                transfer_wait(t, reader);
        } else if (r < 0) {
                transfer_fail(t, reader, r);
        } else {
                transfer_end_body(t);
                transfer_finish(t, reader, 0);
        }
}

void transfer_wait(struct transfer *t, struct objm_qsbr_reader *reader)
{
        int r;

        t->waits_since = objm_clock_ns();
        r = objm_pool_wait(t->c->worker->server->pool, &t->source, EPOLLOUT);
        if (r < 0)
                transfer_fail(t, reader, r);
}

void transfer_pass(struct transfer *t, struct objm_qsbr_reader *reader, bool cold)
{
        if (!queue(t, cold))
                send_on(t, reader);
}

void transfer_run(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct transfer *t = objm_container_of(job, struct transfer, source.job);

        if (!t->run)
                atomic_store_explicit(&t->begun_ns, objm_clock_ns(), memory_order_relaxed);
        t->run = true;
        if (t->body.fd < 0 && !open_object(t)) {
                transfer_finish(t, reader, 0);
                return;
        }
        objm_qsbr_offline(reader);
        if (t->cold || !escort_takes_over(t))
                send_on(t, reader);
}
