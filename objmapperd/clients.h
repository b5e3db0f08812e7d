/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CLIENTS_H
#define OBJMAPPERD_CLIENTS_H
/*
 * A look at all open connections from any thread, for reports. Workers wait for it only where a connection begins or
 * ends.
 */
#include "objmapperd/connection.h"

#define CLIENTS_HOT_NS UINT64_C(1000000000) /* had a reply within this time */

struct client {
        bool tcp;
        uid_t uid; /* of Unix sockets */
        uint64_t requests, bytes;
        uint64_t open_ns, idle_ns; /* since it began; since its last reply, or since it began */
        enum worker_wait waits;
};

/*
 * Returns how many connections are open; *ret_hot of them are hot. The first @cap, of all workers in turn, are
 * described in @rows.
 */
size_t clients_look(struct server *s, uint64_t now_ns, struct client *rows, size_t cap, size_t *ret_hot);

/* "request", "rest", "peer", "job", "body": what a connection waits for. */
const char *client_waits_name(enum worker_wait waits);

#endif
