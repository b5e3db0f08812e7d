/* SPDX-License-Identifier: MIT */
#include "client/call.h"

#include "client/reason.h"

#include <errno.h>
#include <string.h>

/*
 * The blocking calls: one request, waited for. What is not answered in time is abandoned; its reply, should it come, is
 * dropped and its descriptor closed.
 */

/* All that may be in flight may have been abandoned by calls that timed out; a new connection owes us nothing. */
void objm_call_unclog(struct objmapper *om)
{
        unsigned n = om->slots.n_abandoned;

        if (n == om->slots.depth || (om->state == OBJM_SESSION_READY && n >= om->granted))
                objm_session_drop(om, -ECONNRESET);
}

int objm_call_begin(struct objmapper *om)
{
        if (om->reading || objm_slots_in_flight(&om->slots))
                return -EBUSY;
        if (objm_unlikely(om->slots.n_abandoned))
                objm_call_unclog(om);
        objm_reason_clear(om);
        return 0;
}

int objm_call_give_up(struct objmapper *om)
{
        objm_slots_abandon_all(&om->slots);
        return om->state == OBJM_SESSION_DOWN && om->error == -EBUSY ? -EBUSY : -ETIMEDOUT;
}

static int finish(struct objmapper *om, struct objmapper_object *ret)
{
        struct objmapper_completion c;

        objm_session_flush(om); /* before the time is read, which takes as long as some of the way through a ring */
        if (objm_wait_done(om, objm_wait_deadline(om->timeout_ms)) < 0)
                return objm_call_give_up(om);
        objm_slots_take_done(&om->slots, &c, 1);
        if (c.result == 0 && ret)
                *ret = c.object;
        return c.result;
}

size_t objm_call_length(const char *uri)
{
        return uri ? strnlen(uri, OBJMAPPER_URI_MAX + 1) : 0;
}

int objmapper_get_if_changed(struct objmapper *om, const char *uri, uint64_t version, struct objmapper_object *ret)
{
        int r = objm_call_begin(om);

        if (r == 0)
                r = objmapper_submit_get_if_changed(om, uri, objm_call_length(uri), version, 0);
        return r < 0 ? r : finish(om, ret);
}

int objmapper_get(struct objmapper *om, const char *uri, struct objmapper_object *ret)
{
        return objmapper_get_if_changed(om, uri, 0, ret);
}

int objmapper_stat(struct objmapper *om, const char *uri, struct objmapper_object *ret)
{
        int r = objm_call_begin(om);

        if (r == 0)
                r = objmapper_submit_stat(om, uri, objm_call_length(uri), 0);
        return r < 0 ? r : finish(om, ret);
}

int objmapper_ping(struct objmapper *om)
{
        int r = objm_call_begin(om);

        if (r == 0)
                r = objmapper_submit_ping(om, 0);
        return r < 0 ? r : finish(om, NULL);
}
