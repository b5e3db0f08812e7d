/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "base/clock.h"
#include "config_build.h"
#include "config_file.h"
#include "transport/inet.h"
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/objmapper.sock"
#define DEFAULT_GROUP  "objmapper"
#define DEFAULT_TREE   "/var/lib/objmapper"

static int add_listen(struct config *c, const char *path, const char *group)
{
        struct config_listen *l;
        int r = config_add_listen(c, &l);

        if (r < 0)
                return r;
        l->path = strdup(path);
        l->group = group ? strdup(group) : NULL;
        return l->path && (l->group || !group) ? 0 : -ENOMEM;
}

/* @text is "ADDRESS:PORT", checked. */
static int add_tcp(struct config *c, const char *text)
{
        char address[OBJM_INET_TEXT + 1];
        struct config_listen *l;
        int r = config_add_listen(c, &l);

        if (r < 0)
                return r;
        l->transport = CONFIG_TRANSPORT_TCP;
        r = objm_inet_split(text, address, sizeof(address), &l->port);
        if (r < 0)
                return r;
        l->address = strdup(address);
        l->origin = strdup("--tcp");
        return l->address && l->origin ? 0 : -ENOMEM;
}

static int add_export(struct config *c, const char *prefix, size_t prefix_len, const char *path)
{
        struct objm_export_config *x;
        int r = config_add_export(c, &x);

        if (r < 0)
                return r;
        x->prefix = strndup(prefix, prefix_len);
        x->path = strdup(path);
        return x->prefix && x->path ? 0 : -ENOMEM;
}

static int set_defaults(struct config *c)
{
        int r;

        *c = (struct config){
                .model = CONFIG_MODEL_THREAD_POOL,
                .max_queue_depth = 1000,
                .max_connections = 1000,
                .persistent = true,
                .optimize_for_latency = true,
                .idle_ns = 60 * OBJM_NS_PER_S,
                .request_ns = 30 * OBJM_NS_PER_S,
                .drain_ns = 5 * OBJM_NS_PER_S,
                .scan = true,
                .watch = true,
                .uri_length = 4096,
                .in_flight = 256,
                .ring_enabled = true,
                .ring_entries = 256,
                .ring_arena = 262144,
                .ring_idle_ns = 60 * OBJM_NS_PER_S,
                .sandbox = true,
                .log_level = LOG_INFO,
        };
        r = add_listen(c, DEFAULT_SOCKET, getgrnam(DEFAULT_GROUP) ? DEFAULT_GROUP : NULL);
        return r < 0 ? r : add_export(c, "/", 1, DEFAULT_TREE);
}

static int fail(struct config_error *err, const char *option, const char *value, const char *what)
{
        snprintf(err->text, sizeof(err->text), "%s %s: %s", option, value, what);
        return -EINVAL;
}

/* "PREFIX=DIR"; PREFIX ends in '/', so the first "/=" ends it and either part may have a '=' of its own. */
static int apply_export(struct config *c, const char *text, struct config_error *err)
{
        const char *end = strstr(text, "/=");
        size_t len = end ? (size_t)(end - text) + 1 : 0;

        if (!end)
                return fail(err, "--export", text, "must be PREFIX=DIR, and PREFIX must end in \"/\"");
        if (end[2] == '\0')
                return fail(err, "--export", text, "DIR must not be empty");
        if (len > CONFIG_PREFIX_MAX)
                return fail(err, "--export", text, "PREFIX is too long");
        for (size_t i = 0; i < c->n_exports; i++) {
                if (strlen(c->exports[i].prefix) == len && strncmp(c->exports[i].prefix, text, len) == 0)
                        return fail(err, "--export", text, "exports this PREFIX a second time");
        }
        return add_export(c, text, len, end + 2);
}

static int apply_listen(struct config *c, const struct options *o, struct config_error *err)
{
        struct objm_inet addr;
        int r = 0;

        if (o->socket_path || o->n_tcp > 0)
                config_clear_listen(c);
        if (o->socket_path) {
                if (o->socket_path[0] == '\0' || strlen(o->socket_path) > CONFIG_SOCKET_PATH_MAX)
                        return fail(err, "--socket", o->socket_path, "must be a path of 1 to 107 bytes");
                r = add_listen(c, o->socket_path, NULL);
        }
        for (size_t i = 0; r == 0 && i < o->n_tcp; i++) {
                if (objm_inet_parse_pair(o->tcp[i], &addr) < 0)
                        return fail(err, "--tcp", o->tcp[i],
                                    "must be ADDRESS:PORT in numbers, an IPv6 address in brackets");
                r = add_tcp(c, o->tcp[i]);
        }
        return r;
}

static int apply_options(struct config *c, const struct options *o, struct config_error *err)
{
        int r = apply_listen(c, o, err);

        if (r == 0 && o->n_exports > 0)
                config_clear_exports(c);
        for (size_t i = 0; r == 0 && i < o->n_exports; i++)
                r = apply_export(c, o->exports[i], err);
        if (o->model >= 0)
                c->model = (enum config_model)o->model;
        if (o->pool_size >= 0)
                c->pool_size = (unsigned)o->pool_size;
        if (o->copy_pool_size >= 0)
                c->copy_pool_size = (unsigned)o->copy_pool_size;
        return r;
}

static const char *file_to_read(const struct options *o)
{
        if (o->config_path)
                return o->config_path;
        return access(CONFIG_DEFAULT_PATH, F_OK) == 0 ? CONFIG_DEFAULT_PATH : NULL;
}

static int build(struct config *c, const struct options *o, struct config_error *err)
{
        const char *path = file_to_read(o);
        int r = set_defaults(c);

        if (r == 0 && path)
                r = config_file_read(path, c, err);
        return r < 0 ? r : apply_options(c, o, err);
}

int config_load(const struct options *o, struct config **ret, struct config_error *err)
{
        struct config *c = calloc(1, sizeof(*c));
        int r = -ENOMEM;

        err->text[0] = '\0';
        if (c)
                r = build(c, o, err);
        if (r < 0) {
                if (err->text[0] == '\0')
                        snprintf(err->text, sizeof(err->text), "%s", strerrordesc_np(-r));
                config_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

void config_free(struct config *c)
{
        if (!c)
                return;
        config_clear_listen(c);
        config_clear_exports(c);
        free(c->admin_gids.id);
        free(c->http);
        free(c);
}

static bool same_ids(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
        return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof(*a)) == 0);
}

static bool same_export(const struct objm_export_config *a, const struct objm_export_config *b)
{
        return strcmp(a->prefix, b->prefix) == 0 && strcmp(a->path, b->path) == 0 &&
               a->follow_symlinks == b->follow_symlinks &&
               same_ids(a->allow_uids, a->n_allow_uids, b->allow_uids, b->n_allow_uids) &&
               same_ids(a->allow_gids, a->n_allow_gids, b->allow_gids, b->n_allow_gids);
}

bool config_same_store(const struct config *a, const struct config *b)
{
        if (a->n_exports != b->n_exports || a->scan != b->scan || a->watch != b->watch)
                return false;
        for (size_t i = 0; i < a->n_exports; i++) {
                if (!same_export(&a->exports[i], &b->exports[i]))
                        return false;
        }
        return true;
}
