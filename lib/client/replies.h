/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_REPLIES_H
#define OBJM_CLIENT_REPLIES_H
/*
 * What an answer may be like, however it comes.
 */
#include "client/wire.h"

/* True when descriptors and body of @r are what the request asked for. */
bool objm_reply_fits(const struct objm_slot *s, const struct objm_reply *r);

#endif
