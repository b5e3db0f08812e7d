/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RING_JOB_H
#define OBJMAPPERD_RING_JOB_H
/*
 * A request of a ring that needs the disk: run by the pool, which also reads its body, and answered in the ring when it
 * comes back to its connection's worker.
 */
#include "objmapperd/ring.h"

/* Copies @rq and its URI. 0; -EBUSY: too much waits for the pool; -ENOMEM. */
int ring_job_start(struct ring *r, const struct request *rq) objm_must_check;

/* Puts what has come back and had to wait for the client to make room. May close the connection. */
void ring_job_put_done(struct ring *r);

/* The ring ends. */
void ring_job_drop_done(struct ring *r);

#endif
