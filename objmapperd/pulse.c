/* SPDX-License-Identifier: MIT */
#include "objmapperd/pulse.h"

static void on_all_answered(struct objm_mail *m)
{
        struct pulse *p = objm_container_of(m, struct pulse, answered_mail);

        p->asking = false;
        p->on_answered(p);
}

void pulse_init(struct pulse *p, struct objm_loop *home, void (*on_answered)(struct pulse *p))
{
        *p = (struct pulse){.home = home, .on_answered = on_answered, .answered_mail.deliver = on_all_answered};
}

static void answer(struct pulse *p)
{
        if (atomic_fetch_sub_explicit(&p->missing, 1, memory_order_acq_rel) == 1)
                objm_loop_post(p->home, &p->answered_mail);
}

void pulse_forget(struct beat *b)
{
        if (atomic_exchange_explicit(&b->asked, false, memory_order_acq_rel))
                answer(b->pulse);
}

static void on_beat(struct objm_mail *m)
{
        pulse_forget(objm_container_of(m, struct beat, mail));
}

bool pulse_begin(struct pulse *p)
{
        if (p->asking)
                return false;
        p->asking = true;
        atomic_store_explicit(&p->missing, 1, memory_order_relaxed);
        return true;
}

void pulse_ask(struct pulse *p, struct beat *b, struct objm_loop *loop)
{
        b->pulse = p;
        b->mail.deliver = on_beat;
        atomic_fetch_add_explicit(&p->missing, 1, memory_order_relaxed);
        atomic_store_explicit(&b->asked, true, memory_order_release);
        objm_loop_post(loop, &b->mail);
}

void pulse_end(struct pulse *p)
{
        answer(p);
}
