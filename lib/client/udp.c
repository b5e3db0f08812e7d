/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/fd.h"
#include "client/call.h"
#include "client/wire.h"
#include "protocol/v3.h"
#include "transport/udp.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define DEFAULT_TIMEOUT_MS 2000

/* How long to wait for an answer before asking again: twice as long each time. */
#define FIRST_WAIT_NS (50 * OBJM_NS_PER_MS)
#define LAST_WAIT_NS  (1600 * OBJM_NS_PER_MS)

/*
 * The first request is padded to as much as an answer may have; later ones are short, with the cookie that came. A
 * server that does not know the cookie (any more) says so in a bare reply with a new one; then, as when no answer
 * comes, the request is padded again. So a cookie saves bytes and can never cost an answer.
 */
struct objmapper_udp {
        int fd; /* connected: the kernel drops what others send */
        int timeout_ms;
        uint64_t cookie; /* 0: none yet */
};

/* One get under way. */
struct ask {
        struct objm_udp_request rq;
        bool padded;
        uint64_t deadline, wait; /* ns */
        int error;               /* why there is no answer */
};

int objmapper_udp_connect(const char *address, int timeout_ms, struct objmapper_udp **ret)
{
        struct objmapper_udp *u = malloc(sizeof(*u));
        struct objm_inet a;
        int r;

        if (!u)
                return -ENOMEM;
        *u = (struct objmapper_udp){.fd = -1, .timeout_ms = timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS};
        r = address ? objm_inet_parse_pair(address, &a) : -EINVAL;
        if (r == 0)
                r = objm_udp_connect(&a, &u->fd);
        if (r < 0) {
                free(u);
                return r;
        }
        *ret = u;
        return 0;
}

void objmapper_udp_free(struct objmapper_udp *u)
{
        if (!u)
                return;
        objm_fd_close(u->fd);
        free(u);
}

/* A datagram that the socket does not take now is as good as lost on the way. */
static int send_request(struct objmapper_udp *u, struct ask *a)
{
        uint8_t buf[OBJM_UDP_DATAGRAM_MAX];
        size_t len;

        a->rq.cookie = u->cookie;
        len = objm_udp_request_encode(buf, sizeof(buf), &a->rq, a->padded ? sizeof(buf) : 0);
        if (!len)
                return -EMSGSIZE;
        if (send(u->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                a->error = errno == ECONNREFUSED ? -ECONNREFUSED : a->error;
        return 0;
}

static bool is_ours(const struct ask *a, const uint8_t *buf, ssize_t len, struct objm_udp_response *ret)
{
        return len > 0 && objm_udp_response_decode(buf, (size_t)len, ret) == 0 && ret->id == a->rq.id;
}

enum { ASK_AGAIN = 1, NOTHING_YET = 2 };

/*
 * What has come, if it is the answer. Bare, with a status that is no refusal, it says that the answer needs a padded
 * request; if that is what was sent, it answers an earlier datagram and the real answer is still to come.
 */
static int take_answer(struct objmapper_udp *u, struct ask *a, uint8_t *buf, size_t cap, struct objm_udp_response *ret)
{
        struct objm_udp_response rs;
        ssize_t n = recv(u->fd, buf, cap, MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0) {
                a->error = errno == ECONNREFUSED ? -ECONNREFUSED : a->error;
                return NOTHING_YET;
        }
        if ((size_t)n > cap || !is_ours(a, buf, n, &rs))
                return NOTHING_YET;
        u->cookie = rs.cookie;
        if (!rs.bare || (rs.status != OBJM_STATUS_OK && rs.status != OBJM_STATUS_CAPABILITY)) {
                *ret = rs;
                return 0;
        }
        if (a->padded)
                return NOTHING_YET;
        a->padded = true;
        return ASK_AGAIN;
}

/* Waits for the answer to what was sent last. ASK_AGAIN also when none has come in time. */
static int await(struct objmapper_udp *u, struct ask *a, uint8_t *buf, size_t cap, struct objm_udp_response *ret)
{
        uint64_t now = objm_clock_ns(), until = now + a->wait < a->deadline ? now + a->wait : a->deadline;
        struct pollfd p = {.fd = u->fd, .events = POLLIN};
        int r;

        for (; now < until; now = objm_clock_ns()) {
                uint64_t ms = (until - now) / OBJM_NS_PER_MS + 1;

                if (poll(&p, 1, ms < INT_MAX ? (int)ms : INT_MAX) <= 0)
                        continue;
                r = take_answer(u, a, buf, cap, ret);
                if (r != NOTHING_YET)
                        return r;
        }
        a->padded = true;
        a->wait = a->wait < LAST_WAIT_NS ? 2 * a->wait : a->wait;
        return ASK_AGAIN;
}

static int ask(struct objmapper_udp *u, struct ask *a, uint8_t *buf, size_t cap, struct objm_udp_response *ret)
{
        int r = ASK_AGAIN;

        while (r == ASK_AGAIN) {
                r = send_request(u, a);
                if (r == 0)
                        r = await(u, a, buf, cap, ret);
                if (r == ASK_AGAIN && objm_clock_ns() >= a->deadline)
                        return a->error;
        }
        return r;
}

/* Ids that cannot be guessed: an answer has to know what was asked. */
static int begin(struct objmapper_udp *u, const char *uri, struct ask *ret)
{
        struct ask a = {.rq = {.op = OBJM_V3_OP_GET, .mode = OBJM_MODE_COPY, .uri = (const uint8_t *)uri},
                        .padded = !u->cookie, .wait = FIRST_WAIT_NS, .error = -ETIMEDOUT};
        size_t len = objm_call_length(uri);

        if (len == 0 || len > OBJMAPPER_URI_MAX)
                return len ? -ENAMETOOLONG : -EINVAL;
        if (getrandom(&a.rq.id, sizeof(a.rq.id), 0) < 0)
                return -errno;
        a.rq.uri_len = (uint16_t)len;
        a.deadline = objm_wait_deadline(u->timeout_ms);
        *ret = a;
        return 0;
}

ssize_t objmapper_udp_get(struct objmapper_udp *u, const char *uri, void *buf, size_t n, struct objmapper_object *ret)
{
        uint8_t datagram[OBJM_UDP_DATAGRAM_MAX];
        struct objm_reply reply = {.object = {.fd = -1, .mtime = -1}};
        struct objm_udp_response rs = {0};
        struct ask a;
        int r = begin(u, uri, &a);

        if (r == 0)
                r = ask(u, &a, datagram, sizeof(datagram), &rs);
        if (r < 0)
                return r;
        if (rs.status != OBJM_STATUS_OK)
                return rs.flags & OBJM_UDP_STREAM ? -EMSGSIZE : objm_status_errno(rs.status);
        if (objm_wire_metadata(rs.metadata, rs.metadata_len, &reply) < 0)
                return -EPROTO;
        reply.object.size = rs.body_len;
        if (n > rs.body_len)
                n = rs.body_len;
        if (n)
                memcpy(buf, rs.body, n);
        if (ret)
                *ret = reply.object;
        return (ssize_t)n;
}
