/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_BODIES_H
#define OBJM_CLIENT_BODIES_H
/*
 * OBJMAPPER_SPLIT_BODIES: the read calls have a connection of their own, so that nothing is ever queued behind a body.
 * It is a whole handle inside the user's, with its own requests, state and errors. The read calls touch that one, the
 * other calls the outer one, and neither looks at what of the other changes: this is what lets two threads use them.
 */
#include "base/attr.h"
#include "client/session.h"

/*
 * Stores the handle to read with: @om itself without the flag, else the inner one, which is connected first where there
 * is none yet. 0, or what objmapper_connect() says; then the next call tries again.
 */
int objm_bodies_of(struct objmapper *om, struct objmapper **ret) objm_must_check;

#endif
