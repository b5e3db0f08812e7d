/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SNAPSHOT_H
#define OBJMAPPERD_SNAPSHOT_H
/*
 * What a reload replaces as a whole. Const once published. A thread that is online in the server's QSBR domain may use
 * the snapshot it has loaded until its next quiescent state.
 */
#include "concurrency/qsbr.h"
#include "objmapperd/config.h"
#include "storage/store.h"

struct snapshot {
        struct objm_qsbr_node retired;
        const struct config *config;
        struct objm_store *store;
        uint32_t requests_per_connection; /* 0: no limit; 1 when connections are not persistent */
        bool rate_limited, fds_limited;   /* any limit on requests a second, on descriptors in flight */
};

#endif
