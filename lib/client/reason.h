/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_REASON_H
#define OBJM_CLIENT_REASON_H
/*
 * What people are told of a refusal, in the caller's buffer (options.reason of objmapper_connect()); without one these
 * do nothing.
 */
#include "client/session.h"

void objm_reason_clear(struct objmapper *om);

/* @text need not end in NUL. It is cut where the buffer ends, and bytes that a terminal would act on become '?'. */
void objm_reason_set(struct objmapper *om, const char *text, size_t len);

/* What the server says with a refusal, if that is more than what the status is called. */
void objm_reason_of(struct objmapper *om, const struct objm_reply *r);

#endif
