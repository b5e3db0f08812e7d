/* SPDX-License-Identifier: MIT */
#include "client/objmapper.h"

#include "base/clock.h"
#include "client/epoch.h"
#include "client/reason.h"
#include "client/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_DEPTH      256
#define DEFAULT_TIMEOUT_MS 2000
#define SPIN_NS            30000
#define ALL_FLAGS          (OBJMAPPER_NO_RECONNECT | OBJMAPPER_NO_SPIN | OBJMAPPER_NO_BATCH | \
                            OBJMAPPER_SPLIT_BODIES | OBJMAPPER_RING)

/* Copies what the caller's struct has; a caller built against an older header has a shorter one. */
static int read_options(const struct objmapper_options *options, struct objmapper_options *ret)
{
        struct objmapper_options o = {0};

        if (options) {
                if (options->size < sizeof(options->size))
                        return -EINVAL;
                memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
        }
        if (o.flags & ~(unsigned)ALL_FLAGS || (o.version != 0 && o.version != 1 && o.version != 3) ||
            o.timeout_ms < -1 || o.depth > OBJM_SLOTS_MAX || (o.reason && !o.reason_size))
                return -EINVAL;
        if (!o.depth)
                o.depth = DEFAULT_DEPTH;
        if (!o.timeout_ms)
                o.timeout_ms = DEFAULT_TIMEOUT_MS;
        *ret = o;
        return 0;
}

/* The handle's address tells the handles of a process apart, the time those of different processes. */
static void init_state(struct objmapper *om, const struct objmapper_options *o)
{
        om->flags = o->flags;
        om->version = o->version;
        om->timeout_ms = o->timeout_ms;
        om->reason = o->reason;
        om->reason_size = o->reason_size;
        om->slots.metadata = o->reason;
        objm_reason_clear(om);
        om->epoch = objm_epoch();
        objm_backoff_init(&om->backoff, objm_clock_ns() ^ (uint64_t)(uintptr_t)om);
        objm_spin_init(&om->spin, o->flags & OBJMAPPER_NO_SPIN ? 0 : SPIN_NS);
}

static int allocate(const char *socket, const struct objmapper_options *o, struct objmapper **ret)
{
        struct objmapper *om = calloc(1, sizeof(*om));

        if (!om)
                return -ENOMEM;
        om->link.sock = -1;
        objm_ring_client_none(&om->ring.end);
        om->path = strdup(socket ? socket : OBJMAPPER_SOCKET);
        if (!om->path || objm_link_init(&om->link, o->depth) < 0 || objm_slots_init(&om->slots, o->depth) < 0) {
                objmapper_free(om);
                return -ENOMEM;
        }
        init_state(om, o);
        *ret = om;
        return 0;
}

int objmapper_connect(const char *socket, const struct objmapper_options *options, struct objmapper **ret)
{
        struct objmapper_options o;
        struct objmapper *om;
        int r;

        r = read_options(options, &o);
        if (r < 0)
                return r;
        r = allocate(socket, &o, &om);
        if (r < 0)
                return r;
        r = objm_wait_ready(om, objm_wait_deadline(om->timeout_ms));
        if (r < 0) {
                objmapper_free(om);
                return r;
        }
        *ret = om;
        return 0;
}

/* What it is connected to is the parent's: this process has no connection before the next call that may make one. */
static bool is_parents(const struct objmapper *om)
{
        return objm_epoch() != om->epoch;
}

void objmapper_free(struct objmapper *om)
{
        if (!om)
                return;
        objmapper_free(om->bodies);
        objm_slots_deinit(&om->slots);
        objm_ringlink_close(om, is_parents(om));
        objm_link_deinit(&om->link);
        free(om->path);
        free(om->text);
        free(om);
}

int objmapper_fd(const struct objmapper *om)
{
        return is_parents(om) ? -1 : om->link.sock;
}

short objmapper_events(const struct objmapper *om)
{
        /* To say so changes nothing that the caller can see. */
        bool ready = !is_parents(om) && objm_ringlink_arm((struct objmapper *)om);

        return ready || objm_session_wants_send(om) ? POLLIN | POLLOUT : POLLIN;
}

int objmapper_timeout(const struct objmapper *om)
{
        uint64_t now;

        if (!objm_list_empty(&om->slots.done) || (is_parents(om) && objm_slots_in_flight(&om->slots)))
                return 0;
        if (om->state != OBJM_SESSION_DOWN || objm_list_empty(&om->slots.queued))
                return -1;
        now = objm_clock_ns();
        return om->retry_at <= now ? 0 : (int)((om->retry_at - now + OBJM_NS_PER_MS - 1) / OBJM_NS_PER_MS);
}

unsigned objmapper_generation(const struct objmapper *om)
{
        return om->generation;
}

int objmapper_protocol(const struct objmapper *om)
{
        return om->state == OBJM_SESSION_READY && !is_parents(om) ? om->wire->version : 0;
}

int objmapper_instance(const struct objmapper *om, unsigned char ret[OBJMAPPER_INSTANCE])
{
        if (om->state != OBJM_SESSION_READY || is_parents(om))
                return -ENOTCONN;
        if (om->wire->version < 3)
                return -EOPNOTSUPP;
        memcpy(ret, om->instance, OBJMAPPER_INSTANCE);
        return 0;
}

const char *objmapper_version(void)
{
        return OBJM_VERSION;
}
