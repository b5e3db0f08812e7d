/* SPDX-License-Identifier: MIT */
#include "objmapperd/rate.h"

#include "base/clock.h"

/* Of @wanted tokens those that a bucket empty at @since has at @now; *ret_since is when it is empty without them. */
static uint32_t take(uint64_t since, uint32_t per_s, uint32_t wanted, uint64_t now, uint64_t *ret_since)
{
        uint64_t each = OBJM_NS_PER_S / per_s, full = each * per_s, there;

        if (now > full && since < now - full)
                since = now - full;
        there = now > since ? (now - since) / each : 0;
        if (there > wanted)
                there = wanted;
        *ret_since = since + there * each;
        return (uint32_t)there;
}

uint32_t rate_take(struct rate *r, uint32_t per_s, uint32_t wanted, uint64_t now_ns)
{
        return take(r->since_ns, per_s, wanted, now_ns, &r->since_ns);
}

uint32_t rate_shared_take(struct rate_shared *r, uint32_t per_s, uint32_t wanted, uint64_t now_ns)
{
        uint64_t since = atomic_load_explicit(&r->since_ns, memory_order_relaxed), next;
        uint32_t n;

        do {
                n = take(since, per_s, wanted, now_ns, &next);
                if (!n) /* the bucket stays as it is, and its cache line with whoever has it */
                        return 0;
        } while (!atomic_compare_exchange_weak_explicit(&r->since_ns, &since, next, memory_order_relaxed,
                                                        memory_order_relaxed));
        return n;
}

bool rate_shared_is_full(const struct rate_shared *r, uint64_t now_ns)
{
        uint64_t since = atomic_load_explicit(&r->since_ns, memory_order_relaxed);

        return now_ns >= OBJM_NS_PER_S && since <= now_ns - OBJM_NS_PER_S;
}

void rate_give(struct rate *r, uint32_t per_s, uint32_t n)
{
        uint64_t back = (uint64_t)n * (OBJM_NS_PER_S / per_s);

        r->since_ns -= back < r->since_ns ? back : r->since_ns;
}

void rate_shared_give(struct rate_shared *r, uint32_t per_s, uint32_t n)
{
        uint64_t back = (uint64_t)n * (OBJM_NS_PER_S / per_s), since;

        since = atomic_load_explicit(&r->since_ns, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&r->since_ns, &since, since - (back < since ? back : since),
                                                      memory_order_relaxed, memory_order_relaxed))
                ;
}
