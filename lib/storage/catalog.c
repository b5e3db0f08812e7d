/* SPDX-License-Identifier: MIT */
#include "storage/catalog.h"

#include "storage/name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int objm_catalog_init(struct objm_catalog *c, const struct objm_store_config *config, struct objm_qsbr *qsbr,
                      size_t *ret_bad)
{
        int r = objm_exports_init(&c->exports, config->exports, config->n_exports, ret_bad);

        if (r < 0)
                return r;
        r = objm_index_new(qsbr, &c->index);
        if (r < 0)
                return r;
        atomic_init(&c->changes, 0);
        atomic_init(&c->generation, 2);
        c->log = config->log;
        c->log_userdata = config->log_userdata;
        return 0;
}

void objm_catalog_deinit(struct objm_catalog *c)
{
        objm_index_free(c->index);
        c->index = NULL;
        objm_exports_deinit(&c->exports);
}

static bool append(struct objm_uri *u, const char *s, size_t len)
{
        if (len > sizeof(u->bytes) - u->len)
                return false;
        memcpy(u->bytes + u->len, s, len);
        u->len += len;
        return true;
}

bool objm_uri_join(struct objm_uri *u, const struct objm_export *e, const char *dir, const char *name)
{
        u->len = 0;
        return append(u, e->prefix, e->prefix_len) && append(u, dir, strlen(dir)) && append(u, "/", dir[0] ? 1 : 0) &&
               append(u, name, strlen(name));
}

bool objm_catalog_owns(const struct objm_catalog *c, const struct objm_export *e, const struct objm_uri *u)
{
        return c->exports.n == 1 || objm_exports_find(&c->exports, u->bytes, u->len) == e;
}

void objm_catalog_learn(struct objm_catalog *c, const void *uri, size_t len, const struct objm_object_info *info,
                        uint64_t seen)
{
        if (objm_index_learn(c->index, uri, len, info, seen) < 0)
                objm_catalog_forget(c, uri, len);
}

static uint16_t current_generation(const struct objm_catalog *c)
{
        return atomic_load_explicit(&c->generation, memory_order_relaxed);
}

int objm_catalog_confirm(struct objm_catalog *c, const struct objm_uri *u, const struct stat *st, bool watched)
{
        struct objm_object_info info = objm_tree_info(st);
        uint16_t generation = current_generation(c) | (watched && st->st_nlink == 1);
        int r = objm_index_put(c->index, u->bytes, u->len, &info, generation);

        if (r < 0)
                objm_catalog_forget(c, u->bytes, u->len);
        return r;
}

void objm_catalog_forget(struct objm_catalog *c, const void *uri, size_t len)
{
        objm_index_remove(c->index, uri, len);
}

static uint16_t generation_of(const struct objm_entry *e)
{
        return atomic_load_explicit(&e->generation, memory_order_relaxed);
}

bool objm_catalog_is_reported(const struct objm_catalog *c, const struct objm_entry *e)
{
        return generation_of(e) == (current_generation(c) | 1);
}

bool objm_catalog_is_current(const struct objm_catalog *c, const struct objm_entry *e)
{
        return (generation_of(e) | 1) == (current_generation(c) | 1);
}

void objm_catalog_next_generation(struct objm_catalog *c)
{
        uint16_t next = (uint16_t)(current_generation(c) + 2);

        atomic_store_explicit(&c->generation, next ? next : 2, memory_order_relaxed);
}

void objm_catalog_log(const struct objm_catalog *c, int priority, const char *format, ...)
{
        char line[512];
        va_list args;

        if (!c->log)
                return;
        va_start(args, format);
        vsnprintf(line, sizeof(line), format, args);
        va_end(args);
        c->log(c->log_userdata, priority, line);
}

void objm_catalog_log_name(const struct objm_catalog *c, int priority, const struct objm_export *e, const char *path,
                           const char *text)
{
        char name[256];

        if (!c->log)
                return;
        objm_name_escape(path, strlen(path), name, sizeof(name));
        objm_catalog_log(c, priority, "%s%s: %s", e->prefix, name, text);
}
