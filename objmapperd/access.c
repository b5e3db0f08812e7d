/* SPDX-License-Identifier: MIT */
#include "objmapperd/access.h"

#include "transport/privilege.h"

#include <linux/capability.h>
#include <unistd.h>

#define WHOLE (UINT64_C(1) << CAP_SYS_ADMIN | UINT64_C(1) << CAP_DAC_OVERRIDE)

static bool is_whole_root(const struct objm_peer *peer)
{
        uint64_t needed = geteuid() == 0 ? WHOLE & objm_privilege_own() : WHOLE, has;

        return objm_privilege_of_peer(peer->sock, &has) == 0 && (has & needed) == needed;
}

bool access_is_admin(const struct config *config, const struct objm_peer *peer)
{
        if (peer->remote || peer->uid == OBJM_UID_UNMAPPED)
                return false;
        if (objm_peer_in_groups(peer, config->admin_gids.id, config->admin_gids.n))
                return true;
        return peer->uid == 0 ? is_whole_root(peer) : peer->uid == geteuid();
}
