/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_FILL_H
#define OBJM_CLIENT_FILL_H
/*
 * Submitted reads: what comes on the socket, bytes or a descriptor of them, goes to the buffer that the caller has lent
 * to the request. A body comes in pieces, and until it is through nothing else can come there: om->filling is its
 * request, which is still on the wire. (A ring's bodies come whole; ringlink.c copies them.)
 *
 * No more than range_length bytes of a slot's buffer are ever written, and none once the request is done: a slot that
 * has a buffer has that length.
 */
#include "base/attr.h"
#include "client/session.h"

/*
 * @len >= 1 bytes that are to come now are the body of @s, and of @object. What the buffer does not take, which
 * happens in version 1 only, is dropped as it comes.
 */
void objm_fill_begin(struct objmapper *om, struct objm_slot *s, const struct objmapper_object *object, uint64_t len);

/* Takes what has arrived of it, 1 byte at least; with the last one the request is done. */
void objm_fill_take(struct objmapper *om);

/* True when so much of it is to come that it is worth a call of its own, right to the buffer. */
bool objm_fill_is_large(const struct objmapper *om);
/* That call, as objm_link_recv_into(). */
ssize_t objm_fill_receive(struct objmapper *om) objm_must_check;

/*
 * Reads the descriptors that have come instead of bytes, of what is done since @mark, and closes them. One whose object
 * has become shorter since is asked for once more.
 */
void objm_fill_from_descriptors(struct objmapper *om, struct objm_list *mark);

#endif
