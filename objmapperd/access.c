/* SPDX-License-Identifier: MIT */
#include "objmapperd/access.h"

#include <unistd.h>

bool access_is_admin(const struct config *config, const struct objm_peer *peer)
{
        if (peer->remote || peer->uid == OBJM_UID_UNMAPPED)
                return false;
        return peer->uid == 0 || peer->uid == geteuid() ||
               objm_peer_in_groups(peer, config->admin_gids.id, config->admin_gids.n);
}
