/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_CALL_H
#define OBJM_CLIENT_CALL_H
/*
 * What the blocking calls have in common.
 */
#include "client/objmapper.h"
#include "client/session.h"

/* 0; -EBUSY when submitted requests are in flight, or a read call is going on. */
int objm_call_begin(struct objmapper *om);

/* With abandoned requests: gives up the connection if it takes no others before these are answered. */
void objm_call_unclog(struct objmapper *om);

/* The deadline has come: abandons what is in flight. -ETIMEDOUT, or -EBUSY when the server was there without room. */
int objm_call_give_up(struct objmapper *om);

/* The length of @uri, or more than OBJMAPPER_URI_MAX; 0 for NULL. */
size_t objm_call_length(const char *uri);

#endif
