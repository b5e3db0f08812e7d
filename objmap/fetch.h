/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_FETCH_H
#define OBJMAP_FETCH_H
/*
 * An object's bytes into a descriptor, in any mode: through the descriptor that the daemon passes, inside the kernel
 * where that can be, or as the daemon sends them.
 */
#include "objmap/cli.h"
#include <stdbool.h>

struct fetch {
        const char *uri;
        struct objmapper_udp *udp; /* not NULL: by datagram, the whole object */
        int mode;                /* enum objmapper_mode */
        uint64_t offset, length; /* length 0: to the end */
        uint64_t version;        /* not 0: of this version only, and with a byte at the offset or ending there */
        int (*begin)(struct fetch *f, const struct objmapper_object *object); /* before the first byte; or NULL */
        void *userdata;          /* of begin() */
        bool at_target;          /* set: what failed was writing */
        bool onto_itself;        /* set by begin(): what is to be written to is the object */
};

/*
 * @om is not used with f->udp. 0, -ESTALE: not that version, or it changed meanwhile; what @f->begin returned; or
 * another negative errno.
 */
int fetch(struct objmapper *om, struct fetch *f, int to);

/* The mode called @name, or -1. */
int fetch_mode(const char *name);

/* The mode when none was asked for. */
int fetch_default_mode(const struct cli *cli);

/* "OFFSET", "OFFSET-" or "OFFSET-LAST", LAST being the last byte itself. 0 or -1. */
int fetch_range(const char *text, struct fetch *f);

#endif
