/* SPDX-License-Identifier: MIT */
#include "client/objmapper.h"

#include "client/call.h"
#include "client/read_options.h"
#include "client/session.h"
#include "protocol/v3.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Of one body in one call that does not wait. */
#define PIECES_MAX 64

/* 0, or why nothing can be asked any more. */
static int prepare(struct objmapper *om)
{
        if (objm_unlikely(om->slots.n_abandoned))
                objm_call_unclog(om);
        return om->dead;
}

static int submit(struct objmapper *om, uint8_t op, const void *uri, size_t len, uint64_t user_data, uint64_t version)
{
        int r = prepare(om);

        if (r < 0)
                return r;
        return objm_slots_add(&om->slots, op, uri, len, user_data, version);
}

static int submit_uri(struct objmapper *om, uint8_t op, const void *uri, size_t len, uint64_t user_data,
                      uint64_t version)
{
        if (!uri || !len)
                return -EINVAL;
        if (len > OBJMAPPER_URI_MAX)
                return -ENAMETOOLONG;
        return submit(om, op, uri, len, user_data, version);
}

int objmapper_submit_get(struct objmapper *om, const void *uri, size_t len, uint64_t user_data)
{
        return submit_uri(om, OBJM_V3_OP_GET, uri, len, user_data, 0);
}

int objmapper_submit_get_if_changed(struct objmapper *om, const void *uri, size_t len, uint64_t version,
                                    uint64_t user_data)
{
        return submit_uri(om, OBJM_V3_OP_GET, uri, len, user_data, version);
}

int objmapper_submit_stat(struct objmapper *om, const void *uri, size_t len, uint64_t user_data)
{
        return submit_uri(om, OBJM_V3_OP_STAT, uri, len, user_data, 0);
}

int objmapper_submit_ping(struct objmapper *om, uint64_t user_data)
{
        return submit(om, OBJM_V3_OP_PING, NULL, 0, user_data, 0);
}

int objmapper_submit_read(struct objmapper *om, const void *uri, size_t len, void *buf, size_t n,
                          const struct objmapper_read_options *options, uint64_t user_data)
{
        struct objm_slots_read q;
        int r = uri && len && buf && n && n <= INT_MAX ? objm_read_options_decode(options, &q) : -EINVAL;

        if (r == 0 && len > OBJMAPPER_URI_MAX)
                r = -ENAMETOOLONG;
        if (r == 0)
                r = prepare(om);
        if (r < 0)
                return r;
        if (!q.range_length || q.range_length > n)
                q.range_length = n;
        q.buf = buf;
        q.user_data = user_data;
        return objm_slots_add_read(&om->slots, &q, uri, len);
}

int objmapper_flush(struct objmapper *om)
{
        objm_session_flush(om);
        return om->dead;
}

/*
 * Receives until @n are done, all is answered, nothing is left to receive, or PIECES_MAX pieces of one body came. Looks
 * once even with nothing in flight: a poll that woke the caller may have been for the end of the connection.
 */
static void receive_some(struct objmapper *om, size_t n)
{
        unsigned pieces = 0;

        while (om->slots.n_done < n && pieces < PIECES_MAX && objm_session_receive(om)) {
                if (om->state == OBJM_SESSION_READY && !om->slots.n_sent)
                        return;
                pieces = om->filling ? pieces + 1 : 0;
        }
}

int objmapper_reap(struct objmapper *om, struct objmapper_completion *ret, size_t n)
{
        size_t taken;

        objm_session_advance(om, false);
        receive_some(om, n);
        taken = objm_slots_take_done(&om->slots, ret, n);
        return taken ? (int)taken : objm_slots_in_flight(&om->slots) ? 0 : om->dead;
}

int objmapper_wait(struct objmapper *om, struct objmapper_completion *ret, size_t n, int timeout_ms)
{
        int r;

        if (timeout_ms == 0) {
                objm_session_flush(om);
                return objmapper_reap(om, ret, n);
        }
        objm_session_flush(om); /* before the time is read */
        r = objm_wait_done(om, objm_wait_deadline(timeout_ms));
        if (r < 0)
                return r == -ENODATA ? om->dead : 0;
        return (int)objm_slots_take_done(&om->slots, ret, n);
}

size_t objmapper_in_flight(const struct objmapper *om)
{
        return objm_slots_in_flight(&om->slots);
}
