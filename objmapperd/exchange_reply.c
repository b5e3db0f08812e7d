/* SPDX-License-Identifier: MIT */
#include "objmapperd/exchange.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/metrics_record.h"
#include "protocol/v3.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

uint32_t exchange_requests_left(const struct connection *c, unsigned pending)
{
        uint32_t limit = c->worker->snapshot->requests_per_connection;
        uint32_t used = c->served + c->jobs + !!c->lent + pending;

        return !limit ? UINT32_MAX : used < limit ? limit - used : 0;
}

void exchange_count(struct connection *c, const struct metrics_record *r, size_t n, uint64_t start, uint64_t end)
{
        uint64_t bytes = metrics_count(c->worker->metrics, connection_transport(c), r, n, start, end);

        c->served += (uint32_t)n;
        objm_tally_add(&c->report.requests, n);
        objm_tally_add(&c->report.bytes, bytes);
        atomic_store_explicit(&c->report.last_ns, end, memory_order_relaxed);
        c->closing = c->closing || !exchange_requests_left(c, 0);
}

void exchange_count_now(struct connection *c, const struct metrics_record *r, uint64_t start)
{
        c->worker->after = objm_clock_ns();
        exchange_count(c, r, 1, start, c->worker->after);
}

struct reply exchange_refuse_user(struct connection *c, const struct request *rq)
{
        server_count(&c->worker->server->limited.descriptors);
        log_refused(LOG_REFUSED_UID_DESCRIPTORS, c->peer.uid, "as many descriptors are under way as "
                    "limits.descriptors_per_uid allows");
        return request_refuse(rq, OBJM_STATUS_UNAVAILABLE, "too many descriptors of this user in flight");
}

void exchange_no_more_refs(struct connection *c)
{
        c->refuse_fds = true;
        server_refs_are_scarce(c->worker->server);
}

static int send_or_queue(struct connection *c)
{
        struct objm_batch *b = &c->worker->batch;
        int r = -EAGAIN;

        if (!exchange_unsent(c)) {
                if (b->n_fds)
                        connection_for_fds(c);
                r = c->dialect->send(b, c->source.fd, &c->out);
        }
        return r == -EAGAIN ? c->dialect->queue(b, &c->out) : r;
}

/* That the client takes one more was made sure of when the request was handed to the pool. */
static void charge_fd(struct connection *c, const struct request *rq, struct reply *reply)
{
        if (reply->fd < 0 || allowance_take_fd(c, 0) != ALLOWANCE_REFUSED)
                return;
        objm_fd_close(reply->fd);
        *reply = exchange_refuse_user(c, rq);
}

void exchange_reply(struct connection *c, struct reply *reply)
{
        struct objm_batch *b = &c->worker->batch;
        const struct request rq = {.op = reply->op, .mode = reply->asked, .id = reply->id,
                                   .want_metadata = reply->want_metadata};
        uint64_t start = reply->received_ns ? reply->received_ns : c->received;
        struct metrics_record record;
        struct reply refusal;
        size_t n_fds;
        int r;

        if (c->worker->snapshot->fds_limited)
                charge_fd(c, &rq, reply);
        record = metrics_record_of(reply);
        n_fds = reply->fd >= 0;
        dialect_put(c->dialect, b, reply);
        r = send_or_queue(c);
        if (r == -ETOOMANYREFS) {
                exchange_no_more_refs(c);
                allowance_fds_dropped(c, n_fds);
                n_fds = 0;
                objm_batch_clear(b);
                metrics_fall_back(c->worker->metrics, METRICS_FDS_IN_FLIGHT);
                refusal = request_refuse(&rq, OBJM_STATUS_UNAVAILABLE, "too many descriptors in flight");
                record = metrics_record_of(&refusal);
                dialect_put(c->dialect, b, &refusal);
                r = send_or_queue(c);
        }
        objm_batch_clear(b);
        if (r < 0) {
                connection_close(c);
                return;
        }
        if (n_fds)
                allowance_fds_left(c, n_fds);
        exchange_count_now(c, &record, start);
}

/* As many messages as descriptors: the queue keeps one with each. */
static int queue_fds(struct connection *c, const uint8_t *msg, size_t len, const int *fds, size_t n)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < n; i++) {
                size_t from = len * i / n, to = len * (i + 1) / n;
                int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

                r = fd < 0 ? -errno : objm_outq_push(&c->out, msg + from, to - from, fd);
                if (r < 0)
                        objm_fd_close(fd);
        }
        return r;
}

int exchange_send_fds(struct connection *c, const uint8_t *msg, size_t len, const int *fds, size_t n)
{
        ssize_t sent = -EAGAIN;

        if (!exchange_unsent(c)) {
                connection_for_fds(c);
                sent = objm_fdpass_send(c->source.fd, msg, len, fds, n);
        }
        if (sent == -EAGAIN) {
                allowance_fds_left(c, n);
                return queue_fds(c, msg, len, fds, n);
        }
        if (sent < 0)
                return (int)sent;
        allowance_fds_left(c, n);
        return (size_t)sent < len ? objm_outq_push(&c->out, msg + sent, len - (size_t)sent, -1) : 0;
}

bool exchange_send_fd(struct connection *c, struct reply *reply)
{
        struct objm_batch *b = &c->worker->batch;
        int r;

        dialect_put(c->dialect, b, reply);
        reply->fd = -1;
        r = send_or_queue(c);
        objm_batch_clear(b);
        if (r == 0)
                allowance_fds_left(c, 1);
        else if (r != -ETOOMANYREFS)
                connection_close(c);
        return r == 0;
}

void exchange_doorbell(struct connection *c)
{
        const struct objm_v3_response rs = {.op = OBJM_V3_OP_RING_DOORBELL};
        uint8_t msg[OBJM_V3_RESPONSE_HEADER];
        size_t len = objm_v3_response_encode(msg, sizeof(msg), &rs);
        ssize_t n = 0;

        if (c->lent ? !objm_outq_empty(&c->out) : exchange_unsent(c))
                return;
        if (!c->lent && (n = send(c->source.fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0)
                return;
        if ((size_t)n < len && objm_outq_push(&c->out, msg + n, len - (size_t)n, -1) < 0)
                connection_close(c);
}
