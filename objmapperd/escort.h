/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_ESCORT_H
#define OBJMAPPERD_ESCORT_H
/*
 * Threads that accompany clients which take bodies as fast as they come. An escort has one connection: it sends, sleeps
 * until that client has read, and looks for its next request, as a thread of its own would. So the kernel runs both on
 * one CPU, whose cache still has the bytes; the pool, where whoever is free sends the next piece, spreads them.
 *
 * There are few, so a client has to have been fast to get one, and loses it as soon as it pauses for a few ms, or
 * others that were fast go without. What an escort cannot do goes to those who can: waiting for a client, or for a disk
 * to look an object up, to the pool, every request that is not for one body to the worker. To read the object it waits
 * itself: asking the page cache first takes three system calls a body, and while all escorts hang at a disk the others
 * have the pool.
 */
#include "objmapperd/connection.h"

/* Escorts at a time, and how long one stays without a client. */
#define ESCORTS_MAX     16
#define ESCORTS_IDLE_MS 2000

struct transfer;

/* Has the client, by what its worker has seen, taken enough bodies in a row without a pause? */
bool escort_deserved(const struct connection *c);

/* The worker has seen a body leave, which took no pause of the client's. */
void escort_credit(struct connection *c);

/* The same of a connection that has come back. */
void escort_judge(const struct transfer *t);

/* Gives @t with its body to an escort. False: there is none to be had, and it is the caller's still. */
bool escort_takes(struct transfer *t);

/* The same in the pool, when the client deserves it by what the pool has seen. */
bool escort_takes_over(struct transfer *t);

#endif
