/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_HELLO_H
#define OBJMAPPERD_HELLO_H
/*
 * The first bytes of a connection: they decide the protocol version and, in version 3, what both sides may do.
 */
#include "objmapperd/connection.h"
#include "protocol/v3.h"

/* Draws this start's instance id. Before the first connection. 0 or negative errno. */
int hello_init(void) objm_must_check;

/* That id: OBJM_V3_INSTANCE bytes. */
const uint8_t *hello_instance(void);

/*
 * Looks at the start of the input. True: c->dialect is set, and *ret_used bytes belong to the hello, which has been
 * answered (0 in version 1, which has none). False: more bytes are needed, or the connection is being closed.
 */
bool hello_answer(struct connection *c, const uint8_t *buf, size_t len, size_t *ret_used);

#endif
