/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_EXPORT_H
#define OBJM_STORAGE_EXPORT_H
/*
 * The exports of a store: for each a prefix, a tree and who may use it. Const once built.
 */
#include "base/attr.h"
#include "base/peer.h"
#include "storage/store.h"
#include "storage/tree.h"
#include <stdbool.h>
#include <stddef.h>

struct objm_export {
        char *prefix;
        size_t prefix_len;
        struct objm_tree tree;
        bool follow_symlinks;
        uid_t *uids;
        size_t n_uids;
        gid_t *gids;
        size_t n_gids;
};

struct objm_exports {
        size_t n;
        struct objm_export *item; /* longest prefix first */
};

/* As objm_store_new() says of exports. */
int objm_exports_init(struct objm_exports *x, const struct objm_export_config *config, size_t n,
                      size_t *ret_bad) objm_must_check;
void objm_exports_deinit(struct objm_exports *x);

/* The export with the longest prefix of @uri, or NULL. */
const struct objm_export *objm_exports_find(const struct objm_exports *x, const void *uri, size_t len);

/*
 * @peer NULL: the daemon itself, allowed all. A remote peer is on no list; OBJM_UID_UNMAPPED has to be on that of uids,
 * whatever its groups.
 */
bool objm_export_allows(const struct objm_export *e, const struct objm_peer *peer);

#endif
