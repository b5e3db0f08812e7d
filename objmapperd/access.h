/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_ACCESS_H
#define OBJMAPPERD_ACCESS_H
/*
 * Who may ask for control operations. (Who may have objects is the store's: objm_export_allows().)
 */
#include "base/peer.h"
#include "objmapperd/config.h"

/*
 * True for the daemon's own user, members of control.admin_gids, and root with what makes root: CAP_SYS_ADMIN and
 * CAP_DAC_OVERRIDE, or what a daemon that is root itself has of the two. So not for root of most containers, nor for
 * services that are root by number only. Never for who has no uid here: remote peers, and those of other user
 * namespaces. Asks the kernel about a peer that is root; not for the path of each request.
 */
bool access_is_admin(const struct config *config, const struct objm_peer *peer);

#endif
