/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_PEER_H
#define OBJM_BASE_PEER_H
/*
 * Who is on the other end. Of a Unix socket, the credentials at connect(2) time (SO_PEERCRED, SO_PEERGROUPS). Policy
 * goes by uid and gid, never by pid: the pid may have been recycled. A remote peer came over a network protocol, from
 * this machine or not: it has no credentials and takes no descriptors.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The number that stands for a user of another user namespace who has none in ours (user_namespaces(7)): any of them
 * may be behind it. It is that of nobody, too.
 */
#define OBJM_UID_UNMAPPED 65534

struct objm_peer {
        bool remote; /* nothing of what follows means anything */
        int sock;    /* what it was learned from, and may be asked for more; borrowed */
        uid_t uid;
        gid_t gid;
        uint32_t n_groups;   /* supplementary groups */
        const gid_t *groups; /* owned by whoever filled this in */
};

/*
 * True when it is in one of @n groups. Not when its uid is unmapped: its groups may stand for any, too. A remote peer's
 * mean nothing: ask that first.
 */
static inline bool objm_peer_in_groups(const struct objm_peer *p, const gid_t *gids, size_t n)
{
        for (size_t i = 0; i < n && p->uid != OBJM_UID_UNMAPPED; i++) {
                if (gids[i] == p->gid)
                        return true;
                for (uint32_t k = 0; k < p->n_groups; k++)
                        if (gids[i] == p->groups[k])
                                return true;
        }
        return false;
}

#endif
