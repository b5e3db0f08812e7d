/* SPDX-License-Identifier: MIT */
#include "client/session.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>

uint64_t objm_wait_deadline(int timeout_ms)
{
        return timeout_ms < 0 ? UINT64_MAX : objm_clock_ns() + (uint64_t)timeout_ms * OBJM_NS_PER_MS;
}

static uint64_t left_of(uint64_t until, uint64_t now)
{
        return until > now ? until - now : 0;
}

int objm_wait_fd(int fd, short events, uint64_t until, uint64_t now)
{
        struct pollfd pfd = {.fd = fd, .events = events};
        uint64_t ns = left_of(until, now);
        struct timespec ts = {.tv_sec = (time_t)(ns / OBJM_NS_PER_S), .tv_nsec = (long)(ns % OBJM_NS_PER_S)};
        int r = ppoll(&pfd, 1, until == UINT64_MAX ? NULL : &ts, NULL);

        return r < 0 ? -errno : r;
}

/* Sleeps until something has come, by whichever way, or can be sent, or @until. A signal ends it early. */
static void sleep_until(struct objmapper *om, uint64_t until, uint64_t now)
{
        bool wants_send = objm_session_wants_send(om);

        if (objm_ringlink_alone(om) && om->slots.n_ring && !wants_send)
                objm_ringlink_sleep(om, left_of(until, now));
        else if (!objm_ringlink_arm(om))
                (void)objm_wait_fd(om->link.sock, wants_send ? POLLIN | POLLOUT : POLLIN, until, now);
}

/* Looks for a reply for a moment, where that has lately paid. True: something came. */
static bool spin(struct objmapper *om)
{
        bool got, often = objm_ringlink_alone(om);

        if (om->state != OBJM_SESSION_READY || !om->slots.n_sent || !objm_spin_begin(&om->spin))
                return false;
        do
                got = objm_session_look(om);
        while (!got && (often ? objm_spin_more_often(&om->spin) : objm_spin_more(&om->spin)));
        (often ? objm_spin_end_often : objm_spin_end)(&om->spin, got);
        return got;
}

/* One round: spin or sleep, then receive. False at the deadline, which a body that goes on and on does not put off. */
static bool wait_round(struct objmapper *om, uint64_t deadline)
{
        uint64_t until = deadline, now;

        if (spin(om))
                return !om->filling || objm_clock_ns() < deadline;
        now = objm_clock_ns();
        if (now >= deadline)
                return false;
        if (om->state == OBJM_SESSION_DOWN && om->retry_at < until)
                until = om->retry_at;
        sleep_until(om, until, now);
        objm_spin_slept(&om->spin);
        objm_session_receive(om);
        return true;
}

int objm_wait_done(struct objmapper *om, uint64_t deadline)
{
        for (;;) {
                objm_session_flush(om);
                if (!objm_list_empty(&om->slots.done))
                        return 0;
                if (!objm_slots_in_flight(&om->slots))
                        return -ENODATA;
                if (!wait_round(om, deadline))
                        return objm_list_empty(&om->slots.done) ? -ETIMEDOUT : 0;
        }
}

ssize_t objm_wait_body(struct objmapper *om, void *buf, size_t n, uint64_t deadline)
{
        uint64_t now;
        ssize_t r;

        while ((r = objm_replies_take_body(om, buf, n)) == -EAGAIN) {
                now = objm_clock_ns();
                if (now >= deadline)
                        return -ETIMEDOUT;
                (void)objm_wait_fd(om->link.sock, POLLIN, deadline, now); /* a ring has its bodies whole */
        }
        return r;
}

/* What to say after the deadline. EAGAIN was a backlog without room. */
static int in_vain(int error)
{
        if (error == -EAGAIN)
                return -EBUSY;
        return error ? error : -ETIMEDOUT;
}

int objm_wait_ready(struct objmapper *om, uint64_t deadline)
{
        for (;;) {
                objm_session_advance(om, true);
                if (om->state == OBJM_SESSION_HELLO || objm_bytequeue_len(&om->link.out))
                        objm_session_flush(om); /* the hello may not have gone out at once */
                if (om->state == OBJM_SESSION_READY && om->ring.state != OBJM_RINGLINK_ATTACHING)
                        return 0;
                if (om->dead)
                        return om->dead;
                if (!objm_session_passes(om->error) || (om->error == -EBUSY && om->flags & OBJMAPPER_NO_RECONNECT))
                        return om->error;
                if (!wait_round(om, deadline))
                        return in_vain(om->error);
        }
}
