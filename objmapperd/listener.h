/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LISTENER_H
#define OBJMAPPERD_LISTENER_H
/*
 * The accept thread: takes connections from every listening socket, checks limits and credentials, and hands each to a
 * worker. Out of descriptors or memory it pauses for a moment, in which clients wait in the backlog; it never spins.
 */
#include "objmapperd/server.h"

struct listener;

/* Starts the thread, without a socket. 0 or negative errno. */
int listener_start(struct server *s, struct listener **ret) objm_must_check;

/*
 * The main thread, and done when they return. The socket stays the caller's. add() does not accept from it before
 * go(); remove() first accepts what has connected, then the socket is not used any more. 0 or negative errno.
 */
int listener_add(struct listener *l, const struct listening *socket) objm_must_check;
int listener_go(struct listener *l) objm_must_check;
void listener_remove(struct listener *l, const struct listening *socket);

/* See server_ask(). */
void listener_ask(struct listener *l, struct pulse *p);

/* Ends the thread and frees. NULL is fine. */
void listener_stop(struct listener *l);

#endif
