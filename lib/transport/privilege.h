/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_PRIVILEGE_H
#define OBJM_TRANSPORT_PRIVILEGE_H
/*
 * What a process may do beside its user's number, as the mask of its effective capabilities: bit CAP_x is 1 << CAP_x
 * (capabilities(7)). In a user namespace of its own a process has all of them, and they are worth nothing outside.
 */
#include "base/attr.h"
#include <stdint.h>

/* This process's. 0 if they cannot be known. */
uint64_t objm_privilege_own(void);

/*
 * Those of the process that has connected @sock, a Unix socket, as they are now; none if it is seen to be in a user
 * namespace below this one's, which needs a /proc that shows other users' processes. -ESRCH: it has ended, or is not to
 * be seen from here; or another negative errno. Before Linux 6.5, which has no SO_PEERPIDFD, a process that has been
 * given the number of one that has ended is taken for that.
 */
int objm_privilege_of_peer(int sock, uint64_t *ret) objm_must_check;

#endif
