/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TESTS_THREADS_H
#define OBJM_TESTS_THREADS_H
/*
 * Counting the threads of the process. A joined thread leaves /proc only a moment after pthread_join() has returned, so
 * the number without any test's threads is learned once, before the first test.
 */
#include "resources.h"

#include <pthread.h>
#include <sched.h>
#include <sys/types.h>

static unsigned threads_at_rest;

static inline unsigned count_threads(void)
{
        return count_entries("/proc/self/task");
}

static inline void *tell_tid(void *tid)
{
        *(pid_t *)tid = gettid();
        return NULL;
}

/* Group setup. A sanitizer starts a thread of its own with the first one: that one is among those at rest. */
static inline int count_threads_at_rest(void **state)
{
        char name[64];
        pthread_t t;
        pid_t tid;

        if (pthread_create(&t, NULL, tell_tid, &tid) || pthread_join(t, NULL))
                return -1;
        snprintf(name, sizeof(name), "/proc/self/task/%d", tid);
        while (access(name, F_OK) == 0)
                sched_yield();
        threads_at_rest = count_threads();
        return 0;
}

/* Until only those at rest are left; also what a test that counts begins with. */
static inline void wait_for_threads_to_leave(void)
{
        while (count_threads() != threads_at_rest)
                sched_yield();
}

#endif
