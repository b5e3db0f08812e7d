/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include "base/clock.h"

#include <sched.h>
#include <sys/resource.h>

#define SCORE_MAX   1024
#define SCORE_PAYS  (SCORE_MAX / 2)
#define BACKOFF_MAX 1024
#define PENALTY_MIN 512
#define PENALTY_MAX 16384
#define CALM        4096  /* occasions without a preemption after which the next one counts as the first */
#define SAMPLE      64    /* occasions between two looks at how often the kernel has switched */
#define GAP_NS      12000 /* a look takes a microsecond; after this long the thread was not on its CPU */

static bool one_cpu(void)
{
        cpu_set_t set;

        return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;
}

void objm_spin_init(struct objm_spin *s, uint32_t budget_ns)
{
        *s = (struct objm_spin){.budget_ns = budget_ns && !one_cpu() ? budget_ns : 0, .score = SCORE_MAX,
                                .backoff = 1, .penalty = PENALTY_MIN};
}

bool objm_spin_begin(struct objm_spin *s)
{
        if (!s->budget_ns)
                return false;
        if (s->skip) {
                s->skip--;
                s->sampled++;
                return false;
        }
        s->start = s->last = objm_clock_ns();
        s->preempted = false;
        return true;
}

bool objm_spin_more(struct objm_spin *s)
{
        uint64_t now = objm_clock_ns();

        if (now - s->last > GAP_NS)
                s->preempted = true;
        s->last = now;
        return !s->preempted && now - s->start < s->budget_ns;
}

static void on_preemption(struct objm_spin *s)
{
        if (s->calm >= CALM)
                s->penalty = PENALTY_MIN;
        s->skip = s->penalty;
        if (s->penalty < PENALTY_MAX)
                s->penalty *= 2;
        s->calm = 0;
}

/*
 * One who shares this CPU and is quick leaves gaps too short to see, and each answer then costs two switches that
 * sleeping would have spared. getrusage(2) knows, but costs as much as a look: hence now and then.
 */
static bool displaced(struct objm_spin *s)
{
        struct rusage ru;
        long before = s->switches;
        uint32_t occasions = ++s->sampled;

        if (occasions < SAMPLE)
                return false;
        s->sampled = 0;
        if (getrusage(RUSAGE_THREAD, &ru) < 0)
                return false;
        s->switches = ru.ru_nivcsw;
        return ru.ru_nivcsw - before >= occasions / 4; /* of those passed by too: what happened then counts as well */
}

static void on_failure(struct objm_spin *s)
{
        s->skip = s->backoff;
        if (s->backoff < BACKOFF_MAX)
                s->backoff *= 2;
}

void objm_spin_end(struct objm_spin *s, bool found)
{
        uint64_t now = objm_clock_ns();
        bool preempted = s->preempted || now - s->last > GAP_NS;

        s->last = now;
        s->score = s->score - s->score / 8 + (found && !preempted ? SCORE_MAX / 8 : 0);
        s->calm++;
        if (displaced(s) || preempted)
                on_preemption(s);
        else if (s->score < SCORE_PAYS)
                on_failure(s);
        else
                s->backoff = 1;
}
