/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include "base/clock.h"

#include <limits.h>
#include <sched.h>
#include <sys/resource.h>

#define SCORE_MAX   1024
#define SCORE_PAYS  (SCORE_MAX / 2)
#define BACKOFF_MAX 1024
#define PENALTY_MIN 512
#define PENALTY_MAX 16384
#define CALM        4096  /* occasions without a preemption after which the next one counts as the first */
#define SAMPLE      64    /* occasions between two looks at how often the kernel has switched */
#define GAP_NS      12000 /* a look takes a microsecond; after this long something else had the CPU */

static bool one_cpu(void)
{
        cpu_set_t set;

        return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;
}

void objm_spin_init(struct objm_spin *s, uint32_t budget_ns)
{
        *s = (struct objm_spin){.budget_ns = budget_ns && !one_cpu() ? budget_ns : 0, .usual_ns = budget_ns,
                                .score = SCORE_MAX, .backoff = 1, .penalty = PENALTY_MIN,
                                .switches_seen = LONG_MAX};
}

bool objm_spin_begin(struct objm_spin *s)
{
        if (!s->budget_ns)
                return false;
        s->in_vain = false;
        if (s->skip) {
                s->skip--;
                s->sampled++;
                return false;
        }
        s->start = s->last = objm_clock_ns();
        s->preempted = false;
        return true;
}

static bool count_switches(long *ret)
{
        struct rusage ru;

        if (getrusage(RUSAGE_THREAD, &ru) < 0)
                return false;
        *ret = ru.ru_nivcsw;
        return true;
}

/*
 * What an interrupt or the hypervisor took says nothing about who else wants this CPU, and does not count as time spent
 * polling. Only the kernel's count of involuntary switches tells.
 */
static void on_gap(struct objm_spin *s, uint64_t ns)
{
        long n;

        s->start += ns;
        if (!count_switches(&n)) {
                s->preempted = true;
                return;
        }
        if (n > s->switches_seen)
                s->preempted = true;
        s->switches_seen = n;
}

static void see_gap(struct objm_spin *s, uint64_t now)
{
        if (now - s->last > GAP_NS)
                on_gap(s, now - s->last);
        s->last = now;
}

bool objm_spin_more(struct objm_spin *s)
{
        uint64_t now = objm_clock_ns();

        see_gap(s, now);
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
        long before = s->switches, n;
        uint32_t occasions = ++s->sampled;

        if (occasions < SAMPLE)
                return false;
        s->sampled = 0;
        if (!count_switches(&n))
                return false;
        s->switches = s->switches_seen = n;
        return n - before >= occasions / 4; /* of those passed by too: what happened then counts as well */
}

static void on_failure(struct objm_spin *s)
{
        s->skip = s->backoff;
        if (s->backoff < BACKOFF_MAX)
                s->backoff *= 2;
}

void objm_spin_end(struct objm_spin *s, bool found)
{
        see_gap(s, objm_clock_ns());
        s->score = s->score - s->score / 8 + (found && !s->preempted ? SCORE_MAX / 8 : 0);
        s->calm++;
        s->in_vain = !found && !s->preempted;
        if (displaced(s) || s->preempted)
                on_preemption(s);
        else if (s->score >= SCORE_PAYS)
                s->backoff = 1;
        else if (!found)
                on_failure(s);
}

void objm_spin_slept(struct objm_spin *s)
{
        uint64_t late = (uint64_t)s->usual_ns * OBJM_SPIN_LATE;

        if (!s->in_vain)
                return;
        s->in_vain = false;
        if (objm_clock_ns() - s->start >= late) {
                s->budget_ns = s->usual_ns;
                return;
        }
        s->budget_ns = s->budget_ns < late / 2 ? s->budget_ns * 2 : (uint32_t)late;
        if (s->skip <= BACKOFF_MAX)
                s->skip = 0;
        s->backoff = 1;
}
