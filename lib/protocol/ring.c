/* SPDX-License-Identifier: MIT */
#include "protocol/ring.h"

#include "protocol/wire.h"

struct attach_wire {
        uint8_t entries[4], arena[4], reserved[8];
};

struct grant_wire {
        uint8_t entries[4], arena[4], size[4], entries_at[4], arena_at[4], body_max[4], reserved[8];
};

_Static_assert(sizeof(struct attach_wire) == OBJM_RING_ATTACH_EXTRA, "attach");
_Static_assert(sizeof(struct grant_wire) == OBJM_RING_GRANT, "grant");
_Static_assert(offsetof(struct grant_wire, size) == 8 && offsetof(struct grant_wire, body_max) == 20, "grant");

uint32_t objm_ring_grant(uint32_t wanted, uint32_t most, uint32_t least)
{
        uint32_t n = wanted && wanted < most ? wanted : most;

        while (n & (n - 1))
                n &= n - 1;
        return n < least ? least : n;
}

bool objm_ring_attach_decode(const uint8_t *extra, size_t len, struct objm_ring_geometry *ret_wanted)
{
        const struct attach_wire *w = (const struct attach_wire *)extra;

        if (len < sizeof(*w))
                return false;
        ret_wanted->entries = objm_wire_get_u32(w->entries);
        ret_wanted->arena = objm_wire_get_u32(w->arena);
        return true;
}

void objm_ring_attach_encode(uint8_t extra[OBJM_RING_ATTACH_EXTRA], const struct objm_ring_geometry *wanted)
{
        struct attach_wire *w = (struct attach_wire *)extra;

        objm_wire_put_u32(w->entries, wanted->entries);
        objm_wire_put_u32(w->arena, wanted->arena);
        memset(w->reserved, 0, sizeof(w->reserved));
}

bool objm_ring_grant_decode(const uint8_t body[OBJM_RING_GRANT], struct objm_ring_geometry *ret)
{
        const struct grant_wire *w = (const struct grant_wire *)body;
        struct objm_ring_geometry g = {objm_wire_get_u32(w->entries), objm_wire_get_u32(w->arena)};

        if (!objm_ring_geometry_good(&g) || objm_wire_get_u32(w->size) != objm_ring_memory_size(&g) ||
            objm_wire_get_u32(w->entries_at) != OBJM_RING_ENTRIES_AT ||
            objm_wire_get_u32(w->arena_at) != objm_ring_arena_at(&g) || objm_wire_get_u32(w->body_max) > g.arena)
                return false;
        *ret = g;
        return true;
}

void objm_ring_grant_encode(uint8_t body[OBJM_RING_GRANT], const struct objm_ring_geometry *g)
{
        struct grant_wire *w = (struct grant_wire *)body;

        objm_wire_put_u32(w->entries, g->entries);
        objm_wire_put_u32(w->arena, g->arena);
        objm_wire_put_u32(w->size, objm_ring_memory_size(g));
        objm_wire_put_u32(w->entries_at, OBJM_RING_ENTRIES_AT);
        objm_wire_put_u32(w->arena_at, objm_ring_arena_at(g));
        objm_wire_put_u32(w->body_max, g->arena);
        memset(w->reserved, 0, sizeof(w->reserved));
}
