/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_TASK_H
#define OBJMAPPERD_TASK_H
/*
 * A request that is run in another thread, because it needs the disk or because the concurrency model says so, and
 * comes back to its connection's worker by mail.
 */
#include "objmapperd/connection.h"

/* Copies @rq and its URI. 0: connection_on_reply() will follow; -EBUSY: too much waits already; -ENOMEM, -EAGAIN. */
int task_start(struct connection *c, const struct request *rq) objm_must_check;

#endif
