/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_DATAGRAM_H
#define OBJMAPPERD_DATAGRAM_H
/*
 * The service for datagrams: one thread that takes them in batches and answers what can be answered from memory at
 * once. What needs the disk goes to the pool, DATAGRAM_COLD_MAX requests at a time, so that senders without a
 * connection, whom no other limit counts, cannot fill its queue.
 *
 * Before a datagram costs anything but its decoding it has to be a whole request from an address that may be answered,
 * and to be within the rates; else it is dropped in silence. Who has shown a good cookie has rates of its own, which
 * forged senders cannot use up. Requests come from nobody known: exports with lists of users or groups are denied.
 */
#include "base/attr.h"
#include "objmapperd/server.h"

struct datagram;

/* Replies a second, and in a burst: to one network (/24, /56), and to all. */
#define DATAGRAM_NETWORK_RATE  {1000, 250}
#define DATAGRAM_TOTAL_RATE    {10000, 2500}
#define DATAGRAM_KNOWN_NETWORK {10000, 2500}
#define DATAGRAM_KNOWN_TOTAL   {50000, 12500}

#define DATAGRAM_COLD_MAX 16

/* Starts the thread, without a socket. 0 or negative errno. */
int datagram_start(struct server *s, struct datagram **ret) objm_must_check;

/* As those of listener.h; a socket that is removed is not read any more: what waits in it is lost. */
int datagram_add(struct datagram *d, const struct listening *socket) objm_must_check;
int datagram_go(struct datagram *d) objm_must_check;
void datagram_remove(struct datagram *d, const struct listening *socket);

/* See server_ask(). NULL is fine. */
void datagram_ask(struct datagram *d, struct pulse *p);

/* Takes no more datagrams; the thread has ended when this returns. Idempotent. NULL is fine. */
void datagram_stop(struct datagram *d);

/* After stop(), and when the pool has been stopped. NULL is fine. */
void datagram_free(struct datagram *d);

#endif
