/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_DATAGRAM_REPLY_H
#define OBJMAPPERD_DATAGRAM_REPLY_H
/*
 * From a request out of a datagram to the bytes of the datagram that answers it, within the room there is.
 */
#include "objmapperd/request.h"
#include "protocol/udp.h"

struct datagram_ask {
        struct request rq;
        uint64_t cookie; /* fresh, for the sender */
        size_t room;     /* bytes that the reply may have: OBJM_UDP_HEADER at least, OBJM_UDP_DATAGRAM_MAX at most */
};

/* @u has been decoded from a datagram; pointers are borrowed from it. */
struct datagram_ask datagram_ask_from(const struct objm_udp_request *u, uint64_t cookie, size_t room);

/*
 * Writes the reply, reading the object if it fits. Returns its length, or 0: with @nowait, the object's bytes are not
 * in memory. Closes reply->fd. @r becomes what has been said: the status, and whether there is a body.
 */
size_t datagram_put(const struct datagram_ask *a, struct reply *r, bool nowait, uint8_t out[OBJM_UDP_DATAGRAM_MAX])
        objm_must_check;

/* Writes the reply that says no more than @status; its length. */
size_t datagram_put_refusal(const struct datagram_ask *a, uint8_t status, uint8_t out[OBJM_UDP_DATAGRAM_MAX]);

#endif
