/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_QUARANTINE_H
#define OBJMAPPERD_QUARANTINE_H
/*
 * Sockets of connections that are over while their clients have not taken all that was sent. Closing such a socket
 * gives nothing back: descriptors in flight stay charged to the daemon's user until the client receives them or ends,
 * and a client that connects anew could pile up more (unix(7), ETOOMANYREFS). So the socket stays, shut down, and with
 * it the connection's place and what it has taken of its user's limits, until nothing is unread. The worker's thread.
 */
#include "base/attr.h"
#include <stdbool.h>

struct connection;
struct worker;

/*
 * Keeps the connection's socket, already out of the loop, and its allowance, if that is needed. False: it is not, or
 * there is no memory, and both stay the caller's.
 */
bool quarantine_take(struct connection *c) objm_must_check;

/* Looks at each; the kernel's events should have told, so this is for what they may have missed. */
void quarantine_look(struct worker *w);

/* Closes all of them, whatever is unread. */
void quarantine_end(struct worker *w);

/* No event names those any more that have left: frees them. */
void quarantine_bury(struct worker *w);

#endif
