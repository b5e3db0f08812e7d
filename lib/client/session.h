/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_SESSION_H
#define OBJM_CLIENT_SESSION_H
/*
 * A handle: the request table, the connection it is served by, and the machine that keeps one connected to the other.
 * Nothing in here waits.
 *
 *      DOWN   no socket. Connects when something is queued and `retry_at` has come.
 *      CONNECTING  TCP: the other end has not answered yet.
 *      HELLO  hello has been sent. Its answer makes it READY, in version 3; an answer in version 1's form, or none
 *             twice in a row, brings the next connection up in version 1.
 *      READY  requests go out, replies come in.
 *
 * Whatever breaks a connection ends in objm_session_drop() or objm_session_fail(), which decide for every request.
 */
#include "base/spin.h"
#include "client/backoff.h"
#include "client/link.h"
#include "client/ringlink.h"
#include "client/slots.h"
#include "client/wire.h"
#include "protocol/v3.h"

enum objm_session_state {
        OBJM_SESSION_DOWN,
        OBJM_SESSION_CONNECTING,
        OBJM_SESSION_HELLO,
        OBJM_SESSION_READY,
};

struct objmapper {
        struct objm_link link;
        struct objm_slots slots;
        struct objm_ringlink ring;
        struct objm_backoff backoff;
        struct objm_spin spin;
        enum objm_session_state state;
        const struct objm_wire *wire; /* READY */
        uint64_t epoch;               /* of the process that connected */
        uint64_t retry_at;            /* DOWN: objm_clock_ns() of the next attempt */
        unsigned generation;          /* connections made */
        unsigned granted;             /* READY: requests the server takes in flight */
        uint64_t capabilities;        /* READY in version 3: granted */
        uint64_t body_left;           /* READY: what is to be received next are so many bytes of a body */
        struct objm_slot *filling;    /* with body_left: the submitted read that they are for, or NULL; fill.h */
        int error;      /* 0 or -errno: why there is no connection */
        int dead;       /* 0 or -errno: OBJMAPPER_NO_RECONNECT, and the connection is lost */
        unsigned flags; /* enum objmapper_flags */
        unsigned version;
        int timeout_ms;
        char *reason;        /* borrowed, or NULL; reason.h */
        size_t reason_size;
        unsigned unanswered; /* hellos in a row that the server closed upon */
        bool v3_seen;        /* this server has spoken version 3: closing is not a sign of version 1 */
        bool use_v1;         /* for the next connection */
        uint8_t instance[OBJM_V3_INSTANCE];
        char *path;
        char *text;               /* control: what the server has said of the last one; owned, or NULL */
        bool reading;             /* a read call is going on: its callback must not begin another */
        struct objmapper *bodies; /* OBJMAPPER_SPLIT_BODIES: what the read calls use, owned; bodies.h */
};

/* Notices a fork, and that connecting is done; connects when DOWN, due and needed (something is queued, or @wanted). */
void objm_session_advance(struct objmapper *om, bool wanted);

/* Advances, encodes what is queued and sends as far as the socket takes it. */
void objm_session_flush(struct objmapper *om);

/* Receives once and completes what that answers. False: there was nothing to receive. */
bool objm_session_receive(struct objmapper *om);
/* The same for polling: looks at the socket only now and then when nothing is awaited there. */
bool objm_session_look(struct objmapper *om);

/* Nobody wants what is left of a body. */
void objm_session_skip_body(struct objmapper *om);

/* True when a send would be worth a try. */
bool objm_session_wants_send(const struct objmapper *om);

/* The connection is up, in the protocol @wire. */
void objm_session_ready(struct objmapper *om, const struct objm_wire *wire, unsigned granted);

/*
 * Gives the connection up. -EPROTO: what was sent ends with that. -EMFILE: descriptors were lost, the rest is sent
 * again at once. Others (-ECONNRESET, -EBUSY): sent again on the next connection. Under OBJMAPPER_NO_RECONNECT
 * everything ends.
 */
void objm_session_drop(struct objmapper *om, int error);

/* Gives the connection up and ends every request with @error. */
void objm_session_fail(struct objmapper *om, int error);

/* True when @error is a reason to try and connect again: nobody there, no room, the other version. */
bool objm_session_passes(int error);

/* handshake.c, replies.c: write the hello; consume what has arrived, dropping the connection when it makes no sense. */
size_t objm_hello_encode(const struct objmapper *om, void *buf, size_t cap);
void objm_hello_receive(struct objmapper *om);
void objm_replies_receive(struct objmapper *om);

/*
 * Receives 1 to @n bytes of the body that has been announced. -EAGAIN; -ECONNRESET: the connection is lost, or no body
 * is left on it; -EPROTO. Whoever does not want the rest of a body drops the connection.
 */
ssize_t objm_replies_take_body(struct objmapper *om, void *buf, size_t n) objm_must_check;

/*
 * wait.c: run the machine, sleeping, until a request is done or the connection READY. 0; -ETIMEDOUT at @deadline
 * (objm_clock_ns()). wait_done: -ENODATA when nothing is in flight. wait_ready: the reason when it is in vain, and at
 * the deadline the last one.
 */
int objm_wait_done(struct objmapper *om, uint64_t deadline);
int objm_wait_ready(struct objmapper *om, uint64_t deadline);
/* objm_replies_take_body(), sleeping until it has some. -ETIMEDOUT at the deadline. */
ssize_t objm_wait_body(struct objmapper *om, void *buf, size_t n, uint64_t deadline);
/* Now plus @timeout_ms, or the end of time for -1. */
uint64_t objm_wait_deadline(int timeout_ms);
/* Sleeps until @fd has one of @events: 1; 0: until @until, it being @now; or negative errno, -EINTR among them. */
int objm_wait_fd(int fd, short events, uint64_t until, uint64_t now);

#endif
