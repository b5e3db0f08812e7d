/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_ACCESS_H
#define OBJMAPPERD_ACCESS_H
/*
 * Who may ask for control operations. (Who may have objects is the store's: objm_export_allows().)
 */
#include "base/peer.h"
#include "objmapperd/config.h"

/*
 * True for root, the daemon's own user and members of control.admin_gids. Never for who has no uid here: remote peers,
 * and those of other user namespaces.
 */
bool access_is_admin(const struct config *config, const struct objm_peer *peer);

#endif
