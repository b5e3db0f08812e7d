/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_CREW_H
#define OBJM_CONCURRENCY_CREW_H
/*
 * A bounded set of threads that come when there is a job for them and end when there has been none for a while. A job
 * never waits for a thread: when all are busy it is refused. Who was idle last comes first, so that the others end.
 */
#include "base/attr.h"
#include "concurrency/pool.h"

struct objm_crew;

enum {
        OBJM_CREW_BUSY = 1,
};

/* No thread is started yet. @name (up to 15 characters) becomes theirs; they end after @idle_ms without a job. */
int objm_crew_new(unsigned max_threads, unsigned idle_ms, const char *name, struct objm_qsbr *qsbr,
                  struct objm_crew **ret) objm_must_check;

/*
 * Runs the job in a thread of its own, whose reader is online. 0; OBJM_CREW_BUSY: max_threads jobs run, or the system
 * has no thread to give; the job is taken only on 0. Any thread.
 */
int objm_crew_run(struct objm_crew *c, struct objm_job *job) objm_must_check;

/*
 * True when a job that goes on had better end, because another was refused; one answer for each that was, up to
 * max_threads of them. Any thread; cheap.
 */
bool objm_crew_wanted(struct objm_crew *c);

/* Waits for all jobs to end, joins, frees. run() must not be called any more. NULL is fine. */
void objm_crew_free(struct objm_crew *c);

#endif
