/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include "base/attr.h"
#include "base/clock.h"

#include <limits.h>
#include <sched.h>
#include <sys/resource.h>

#define SCORE_MAX   1024
#define SCORE_PAYS  (SCORE_MAX / 2)
#define BACKOFF_MAX 1024
#define PAUSE_MIN   (8 * OBJM_NS_PER_MS)
#define PAUSE_MAX   (128 * OBJM_NS_PER_MS) /* what is tried then takes some 3 ms at most */
#define CALM        4096  /* occasions without that after which the next time counts as the first */
#define FORGIVEN    4     /* of so many ns that pass, one that others had is forgotten */
#define DEBT_MAX    (OBJM_SPIN_DEBT_NS + 14 * OBJM_NS_PER_MS) /* polling stops for 56 ms at most */
#define SAMPLE      64    /* occasions between two looks at how often the kernel has switched */
#define GAP_NS      12000 /* a look takes a microsecond; after this long something else had the CPU */
#define UNTIMED_GAP_NS 200000 /* the same when what was found and done in between is in it, too */

static bool one_cpu(void)
{
        cpu_set_t set;

        return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;
}

void objm_spin_init(struct objm_spin *s, uint32_t budget_ns)
{
        *s = (struct objm_spin){.budget_ns = budget_ns && !one_cpu() ? budget_ns : 0, .usual_ns = budget_ns,
                                .score = SCORE_MAX, .backoff = 1, .pause_ns = PAUSE_MIN,
                                .switches_seen = LONG_MAX};
}

/* True when others had too much of this CPU of late. */
static bool indebted(struct objm_spin *s, uint64_t now)
{
        uint64_t forgiven = (now - s->debt_at) / FORGIVEN;

        if (objm_likely(!s->debt))
                return false;
        s->debt -= forgiven < s->debt ? forgiven : s->debt;
        s->debt_at += forgiven * FORGIVEN;
        return s->debt > OBJM_SPIN_DEBT_NS;
}

static void borrow(struct objm_spin *s, uint64_t ns, uint64_t now)
{
        (void)indebted(s, now);
        s->debt = s->debt + ns < DEBT_MAX ? s->debt + ns : DEBT_MAX;
        s->debt_at = now;
}

/* False: this one is to be passed by. */
static bool is_taken(struct objm_spin *s)
{
        if (!s->budget_ns)
                return false;
        s->in_vain = s->preempted = false;
        if (!s->skip)
                return true;
        s->skip--;
        s->sampled++;
        return false;
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
static void on_gap(struct objm_spin *s, uint64_t now)
{
        bool known;
        long n;

        s->start += now - s->last;
        known = count_switches(&n);
        if (!known || n > s->switches_seen) {
                s->preempted = true;
                borrow(s, now - s->last, now);
        }
        if (known)
                s->switches_seen = n;
}

static void see_gap(struct objm_spin *s, uint64_t now)
{
        if (now - s->last > GAP_NS)
                on_gap(s, now);
        s->last = now;
}

/* After occasions at which nobody looked at the time: what others had shows now, if it was long. */
static void see_start(struct objm_spin *s, uint64_t now)
{
        if (now - s->last > UNTIMED_GAP_NS)
                on_gap(s, now);
        s->start = s->last = now;
}

static void see(struct objm_spin *s, uint64_t now)
{
        if (s->start)
                see_gap(s, now);
        else
                see_start(s, now);
}

bool objm_spin_begin(struct objm_spin *s)
{
        if (!is_taken(s))
                return false;
        s->start = s->last = objm_clock_ns();
        if (s->start >= s->resumes_at && !indebted(s, s->start))
                return true;
        s->sampled++;
        return false;
}

bool objm_spin_begin_untimed(struct objm_spin *s)
{
        if (s->debt || s->last < s->resumes_at)
                return objm_spin_begin(s);
        if (!is_taken(s))
                return false;
        s->start = 0;
        return true;
}

bool objm_spin_more(struct objm_spin *s)
{
        uint64_t now = objm_clock_ns();

        see(s, now);
        return now - s->start < s->budget_ns && !(s->preempted && s->debt > OBJM_SPIN_DEBT_NS);
}

static void on_displacement(struct objm_spin *s)
{
        if (s->calm >= CALM)
                s->pause_ns = PAUSE_MIN;
        s->resumes_at = s->last + s->pause_ns;
        if (s->pause_ns < PAUSE_MAX)
                s->pause_ns *= 2;
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

void objm_spin_end_often(struct objm_spin *s, bool found)
{
        s->score = s->score - s->score / 8 + (found && !s->preempted ? SCORE_MAX / 8 : 0);
        s->calm++;
        s->in_vain = !found && !s->preempted;
        if (displaced(s))
                on_displacement(s);
        else if (s->score >= SCORE_PAYS)
                s->backoff = 1;
        else if (!found && !s->preempted)
                on_failure(s);
}

void objm_spin_end(struct objm_spin *s, bool found)
{
        see(s, objm_clock_ns());
        objm_spin_end_often(s, found);
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
        s->skip = 0;
        s->backoff = 1;
}
