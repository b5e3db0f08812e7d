/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_ALLOWANCE_H
#define OBJMAPPERD_ALLOWANCE_H
/*
 * What a connection may have at a time, by itself and together with the others of its user: requests answered in a
 * second, descriptors that the client has not received, memory for what it has not read. The worker's thread, but for
 * allowance_open().
 *
 * The kernel does not say when a descriptor is received, only how much is unread (SIOCOUTQ): so all that was sent
 * counts until nothing is unread.
 */
#include "objmapperd/account.h"

struct connection;
struct server;

struct allowance {
        struct account *account; /* NULL: given back */
        struct rate requests;
        uint32_t granted;     /* requests that have tokens and whose replies have not left */
        uint32_t unread_fds;  /* sent since the client was last seen to have read everything */
        uint32_t charged_fds; /* to the account: the same while its limit is set, and those that are about to leave */
        uint32_t charged_bytes;
};

enum {
        ALLOWANCE_WAIT = 1,    /* the client has to read first */
        ALLOWANCE_REFUSED = 2, /* the client's connections together have all that they may */
};

/* For a connection to be; @bytes is its send buffer. As account_open(). */
int allowance_open(struct server *s, const struct objm_peer *peer, uint32_t bytes, struct allowance *ret)
        objm_must_check;

/* Gives everything back, unless it has been. */
void allowance_close(struct server *s, struct allowance *a);

/* Has one more request than @pending, whose replies have not left, its tokens? @likely: as many more may follow. */
bool allowance_covers(struct connection *c, unsigned pending, size_t likely) objm_must_check;

/* @n replies have left. */
void allowance_use(struct connection *c, unsigned n);

/* No more replies leave for now: what is not used goes back. */
void allowance_settle(struct connection *c);

/* A descriptor is to leave, behind @pending others and those that jobs may find. 0: it may; or a condition above. */
int allowance_take_fd(struct connection *c, size_t pending) objm_must_check;

/* May a job find one more? */
bool allowance_has_room(struct connection *c) objm_must_check;

/* Of those that were to leave, @n have, or have not. */
void allowance_fds_left(struct connection *c, size_t n);
void allowance_fds_dropped(struct connection *c, size_t n);

/* Looks whether the client has taken its descriptors, and gives them back to the account if so. False: it has not. */
bool allowance_look(struct connection *c);

/* How large a send buffer of @wanted bytes may be; it is charged. At least @least. */
uint32_t allowance_sndbuf(struct connection *c, uint32_t wanted, uint32_t least) objm_must_check;

/* The send buffer has become @bytes. */
void allowance_sndbuf_is(struct connection *c, uint32_t bytes);

#endif
