/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LISTENER_H
#define OBJMAPPERD_LISTENER_H
/*
 * The accept thread: takes connections from every listening socket, checks limits and credentials, and hands each to a
 * worker. Out of descriptors or memory it pauses for a moment, in which clients wait in the backlog; it never spins.
 */
#include "objmapperd/server.h"

struct listener;

/* Starts the thread. The sockets stay the caller's. 0 or negative errno. */
int listener_start(struct server *s, const struct listening *sockets, size_t n, struct listener **ret) objm_must_check;

/* See server_ask(). */
void listener_ask(struct listener *l, struct pulse *p);

/* Ends the thread and frees. NULL is fine. */
void listener_stop(struct listener *l);

#endif
