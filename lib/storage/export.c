/* SPDX-License-Identifier: MIT */
#include "storage/export.h"

#include "storage/entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *copy_list(const void *list, size_t n, size_t size)
{
        void *copy = calloc(n ? n : 1, size);

        if (copy && n)
                memcpy(copy, list, n * size);
        return copy;
}

static void export_deinit(struct objm_export *e)
{
        objm_tree_deinit(&e->tree);
        free(e->prefix);
        free(e->uids);
        free(e->gids);
}

static int export_init(struct objm_export *e, const struct objm_export_config *c)
{
        size_t len = strlen(c->prefix);

        *e = (struct objm_export){.tree.root = -1};
        if (len == 0 || len > OBJM_URI_MAX || c->prefix[len - 1] != '/')
                return -EINVAL;
        e->prefix = strdup(c->prefix);
        e->prefix_len = len;
        e->follow_symlinks = c->follow_symlinks;
        e->uids = copy_list(c->allow_uids, c->n_allow_uids, sizeof(*e->uids));
        e->n_uids = c->n_allow_uids;
        e->gids = copy_list(c->allow_gids, c->n_allow_gids, sizeof(*e->gids));
        e->n_gids = c->n_allow_gids;
        if (!e->prefix || !e->uids || !e->gids)
                return -ENOMEM;
        return objm_tree_init(&e->tree, c->path, c->follow_symlinks);
}

static bool stands_twice(const struct objm_exports *x, const char *prefix)
{
        for (size_t i = 0; i < x->n; i++)
                if (strcmp(x->item[i].prefix, prefix) == 0)
                        return true;
        return false;
}

static int by_length_descending(const void *a, const void *b)
{
        const struct objm_export *x = a, *y = b;

        return (x->prefix_len < y->prefix_len) - (x->prefix_len > y->prefix_len);
}

int objm_exports_init(struct objm_exports *x, const struct objm_export_config *config, size_t n, size_t *ret_bad)
{
        x->n = 0;
        x->item = calloc(n ? n : 1, sizeof(*x->item));
        if (!x->item)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                struct objm_export *e = &x->item[i];
                int r = export_init(e, &config[i]);

                if (r == 0 && stands_twice(x, e->prefix))
                        r = -EINVAL;
                if (r < 0) {
                        export_deinit(e);
                        objm_exports_deinit(x);
                        if (ret_bad)
                                *ret_bad = i;
                        return r;
                }
                x->n++;
        }
        qsort(x->item, x->n, sizeof(*x->item), by_length_descending);
        return 0;
}

void objm_exports_deinit(struct objm_exports *x)
{
        for (size_t i = 0; i < x->n; i++)
                export_deinit(&x->item[i]);
        free(x->item);
        x->item = NULL;
        x->n = 0;
}

const struct objm_export *objm_exports_find(const struct objm_exports *x, const void *uri, size_t len)
{
        for (size_t i = 0; i < x->n; i++) {
                const struct objm_export *e = &x->item[i];

                if (len >= e->prefix_len && memcmp(uri, e->prefix, e->prefix_len) == 0)
                        return e;
        }
        return NULL;
}

bool objm_export_allows(const struct objm_export *e, const struct objm_peer *peer)
{
        if (!peer || e->n_uids + e->n_gids == 0)
                return true;
        if (peer->remote)
                return false;
        for (size_t i = 0; i < e->n_uids; i++)
                if (e->uids[i] == peer->uid)
                        return true;
        return objm_peer_in_groups(peer, e->gids, e->n_gids);
}
