/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include "base/clock.h"

#include <sched.h>

#define SCORE_MAX   1024
#define SCORE_PAYS  (SCORE_MAX / 4)
#define BACKOFF_MAX 1024
#define GAP_NS      12000 /* a look takes a microsecond; after this long the thread was not on its CPU */

static bool one_cpu(void)
{
        cpu_set_t set;

        return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;
}

void objm_spin_init(struct objm_spin *s, uint32_t budget_ns)
{
        *s = (struct objm_spin){.budget_ns = budget_ns && !one_cpu() ? budget_ns : 0, .score = SCORE_MAX / 2,
                                .backoff = 1};
}

bool objm_spin_begin(struct objm_spin *s)
{
        if (!s->budget_ns)
                return false;
        if (s->skip) {
                s->skip--;
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

void objm_spin_end(struct objm_spin *s, bool found)
{
        if (found && objm_clock_ns() - s->last > GAP_NS)
                found = false;
        s->score = (uint16_t)(s->score - s->score / 8 + (found && !s->preempted ? SCORE_MAX / 8 : 0));
        if (s->score >= SCORE_PAYS) {
                s->backoff = 1;
                return;
        }
        s->skip = s->backoff;
        if (s->backoff < BACKOFF_MAX)
                s->backoff = (uint16_t)(s->backoff * 2);
}
