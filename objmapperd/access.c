/* SPDX-License-Identifier: MIT */
#include "objmapperd/access.h"

#include <unistd.h>

static bool in_list(const struct config_ids *gids, gid_t gid)
{
        for (size_t i = 0; i < gids->n; i++)
                if (gids->id[i] == gid)
                        return true;
        return false;
}

static bool in_groups(const struct config_ids *gids, const struct objm_peer *peer)
{
        if (in_list(gids, peer->gid))
                return true;
        for (uint32_t i = 0; i < peer->n_groups; i++)
                if (in_list(gids, peer->groups[i]))
                        return true;
        return false;
}

bool access_is_admin(const struct config *config, const struct objm_peer *peer)
{
        if (peer->remote || peer->uid == OBJM_UID_UNMAPPED)
                return false;
        return peer->uid == 0 || peer->uid == geteuid() || in_groups(&config->admin_gids, peer);
}
