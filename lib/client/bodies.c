/* SPDX-License-Identifier: MIT */
#include "client/bodies.h"

/* One read at a time, and a few that were given up with a descriptor still to come. */
#define DEPTH 16

static int open_inner(struct objmapper *om)
{
        struct objmapper_options o = {
                .size = sizeof(o),
                .flags = om->flags & ~(unsigned)OBJMAPPER_SPLIT_BODIES,
                .version = om->version,
                .timeout_ms = om->timeout_ms,
                .depth = om->slots.depth < DEPTH ? om->slots.depth : DEPTH,
        };

        return objmapper_connect(om->path, &o, &om->bodies);
}

int objm_bodies_of(struct objmapper *om, struct objmapper **ret)
{
        int r = 0;

        if (!(om->flags & OBJMAPPER_SPLIT_BODIES)) {
                *ret = om;
                return 0;
        }
        if (!om->bodies)
                r = open_inner(om);
        if (r == 0)
                *ret = om->bodies;
        return r;
}
