/* SPDX-License-Identifier: MIT */
#include "concurrency/ring.h"

static bool aligned(const void *p)
{
        return p && (uintptr_t)p % OBJM_CACHE_LINE == 0;
}

static bool usable(const struct objm_ring_place *at)
{
        return at->size && at->size <= OBJM_RING_SIZE_MAX && !(at->size & (at->size - 1)) && aligned(at->entries) &&
               aligned(at->head) && aligned(at->tail) && aligned(at->asleep);
}

int objm_ring_producer_init(struct objm_ring_producer *p, const struct objm_ring_place *at, uint32_t start)
{
        if (!usable(at))
                return -EINVAL;
        *p = (struct objm_ring_producer){.at = *at, .next = start, .published = start, .seen = start};
        return 0;
}

int objm_ring_consumer_init(struct objm_ring_consumer *c, const struct objm_ring_place *at, uint32_t start)
{
        if (!usable(at))
                return -EINVAL;
        *c = (struct objm_ring_consumer){.at = *at, .next = start, .released = start, .seen = start, .head = start};
        return 0;
}
