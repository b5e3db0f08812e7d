/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RING_ATTACH_H
#define OBJMAPPERD_RING_ATTACH_H
/*
 * RING_ATTACH: making a ring takes system calls enough to be felt by the other clients of a worker, so the pool does
 * it, as background work.
 */
#include "objmapperd/connection.h"

/* OBJM_STATUS_OK when attach_start() may be tried, else what to answer; *ret_text says more. */
uint8_t ring_attach_check(const struct connection *c, const struct request *rq, const char **ret_text);

/* 0: the answer will follow by itself; -EBUSY, -ENOMEM. */
int ring_attach_start(struct connection *c, const struct request *rq) objm_must_check;

#endif
