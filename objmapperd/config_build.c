/* SPDX-License-Identifier: MIT */
#include "config_build.h"
#include <errno.h>
#include <stdlib.h>

int config_add_listen(struct config *c, struct config_listen **ret)
{
        struct config_listen *p = reallocarray(c->listen, c->n_listen + 1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        c->listen = p;
        p[c->n_listen] = (struct config_listen){.mode = 0660};
        *ret = &p[c->n_listen++];
        return 0;
}

int config_add_export(struct config *c, struct objm_export_config **ret)
{
        struct objm_export_config *p = reallocarray(c->exports, c->n_exports + 1, sizeof(*p));
        char **origin;

        if (!p)
                return -ENOMEM;
        c->exports = p;
        origin = reallocarray(c->export_origin, c->n_exports + 1, sizeof(*origin));
        if (!origin)
                return -ENOMEM;
        c->export_origin = origin;
        origin[c->n_exports] = NULL;
        p[c->n_exports] = (struct objm_export_config){0};
        *ret = &p[c->n_exports++];
        return 0;
}

void config_clear_listen(struct config *c)
{
        for (size_t i = 0; i < c->n_listen; i++) {
                free(c->listen[i].path);
                free(c->listen[i].group);
                free(c->listen[i].address);
                free(c->listen[i].origin);
        }
        free(c->listen);
        c->listen = NULL;
        c->n_listen = 0;
}

void config_clear_exports(struct config *c)
{
        for (size_t i = 0; i < c->n_exports; i++) {
                free(c->export_origin[i]);
                free((char *)c->exports[i].prefix);
                free((char *)c->exports[i].path);
                free((uid_t *)c->exports[i].allow_uids);
                free((gid_t *)c->exports[i].allow_gids);
        }
        free(c->exports);
        free(c->export_origin);
        c->exports = NULL;
        c->export_origin = NULL;
        c->n_exports = 0;
}
