/* SPDX-License-Identifier: MIT */
#include "config_entries.h"
#include "config_build.h"
#include "transport/inet.h"
#include "transport/udp_address.h"
#include "units.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define ID_MAX (UINT32_MAX - 1) /* the last one means "none" to the kernel */

typedef int (*entry_key_fn)(struct config_reader *r, const config_setting_t *s, void *entry);

struct entry_key {
        const char *name;
        bool required;
        entry_key_fn read;
};

/* Reads one `{ ... }` of a list by its table of keys. */
static int read_entry(struct config_reader *r, const config_setting_t *group, const struct entry_key *keys, size_t n,
                      void *entry)
{
        if (!config_setting_is_group(group))
                return config_reader_fail(r, group, "must be a group { ... }");
        for (size_t i = 0; i < n; i++) {
                if (keys[i].required && !config_setting_get_member(group, keys[i].name))
                        return config_reader_fail(r, group, "has no %s", keys[i].name);
        }
        for (int i = 0; i < config_setting_length(group); i++) {
                const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
                size_t k = 0;
                int e;

                while (k < n && strcmp(keys[k].name, config_setting_name(s)) != 0)
                        k++;
                if (k == n)
                        return config_reader_fail(r, s, "unknown key");
                e = keys[k].read(r, s, entry);
                if (e < 0)
                        return e;
        }
        return 0;
}

static int check_list(struct config_reader *r, const config_setting_t *list)
{
        if (!config_setting_is_list(list))
                return config_reader_fail(r, list, "must be a list ( { ... }, ... )");
        if (config_setting_length(list) == 0)
                return config_reader_fail(r, list, "must have at least one entry");
        return 0;
}

static int read_path(struct config_reader *r, const config_setting_t *s, size_t max, const char **ret)
{
        int e = config_reader_string(r, s, max, ret);

        if (e == 0 && (*ret)[0] != '/')
                return config_reader_fail(r, s, "must be an absolute path");
        return e;
}

/* ---- listen ---- */

/* What an entry of each transport has beside it. */
static const struct listen_kind {
        const char *word;
        const char *needs; /* the key that cannot be left out */
        const char *keys[4];
} listen_kinds[] = {
        [CONFIG_TRANSPORT_UNIX] = {"unix", "path", {"path", "mode", "group"}},
        [CONFIG_TRANSPORT_TCP] = {"tcp", "port", {"address", "port"}},
        [CONFIG_TRANSPORT_UDP] = {"udp", "port", {"address", "port"}},
};

static int listen_transport(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct config_listen *l = entry;
        const char *text;
        int e = config_reader_string(r, s, 64, &text);

        if (e < 0)
                return e;
        for (size_t i = 0; i < objm_array_len(listen_kinds); i++) {
                if (strcmp(text, listen_kinds[i].word) == 0) {
                        l->transport = (enum config_transport)i;
                        return 0;
                }
        }
        return config_reader_fail(r, s, "must be \"unix\", \"tcp\" or \"udp\"");
}

static int listen_path(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct config_listen *l = entry;
        const char *text;
        int e = read_path(r, s, CONFIG_SOCKET_PATH_MAX, &text);

        return e < 0 ? e : config_reader_store(r, s, text, &l->path);
}

static int listen_mode(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct config_listen *l = entry;
        const char *text;

        if (config_setting_type(s) != CONFIG_TYPE_STRING)
                return config_reader_fail(r, s, "must be a string of octal digits such as \"0660\"");
        text = config_setting_get_string(s);
        if (units_parse_mode(text, &l->mode) < 0)
                return config_reader_fail(r, s, "must be octal digits up to \"0777\", not \"%s\"", text);
        return 0;
}

static int listen_group(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct config_listen *l = entry;
        const char *text;
        int e = config_reader_string(r, s, 256, &text);

        if (e < 0)
                return e;
        if (!getgrnam(text))
                return config_reader_fail(r, s, "there is no group \"%s\"", text);
        return config_reader_store(r, s, text, &l->group);
}

static int listen_address(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct config_listen *l = entry;
        struct objm_inet addr;
        const char *text;
        int e = config_reader_string(r, s, OBJM_INET_TEXT, &text);

        if (e < 0)
                return e;
        if (objm_inet_parse(text, 0, &addr) < 0)
                return config_reader_fail(r, s, "must be an IPv4 or IPv6 address in numbers, not \"%s\"", text);
        return config_reader_store(r, s, text, &l->address);
}

static int listen_port(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct config_listen *l = entry;
        uint64_t port;
        int e = config_reader_number(r, s, 0, UINT16_MAX, &port);

        if (e == 0)
                l->port = (uint16_t)port;
        return e;
}

static const struct entry_key listen_keys[] = {
        {"transport", true, listen_transport},
        {"path", false, listen_path},
        {"mode", false, listen_mode},
        {"group", false, listen_group},
        {"address", false, listen_address},
        {"port", false, listen_port},
};

/* The keys have been read in the order of the file: whether they go with the transport is known afterwards. */
static int check_kind(struct config_reader *r, const config_setting_t *group, const struct config_listen *l)
{
        const struct listen_kind *kind = &listen_kinds[l->transport];

        if (!config_setting_get_member(group, kind->needs))
                return config_reader_fail(r, group, "has no %s", kind->needs);
        for (int i = 0; i < config_setting_length(group); i++) {
                const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
                const char *name = config_setting_name(s);
                size_t k = 0;

                while (kind->keys[k] && strcmp(kind->keys[k], name) != 0)
                        k++;
                if (!kind->keys[k] && strcmp(name, "transport") != 0)
                        return config_reader_fail(r, s, "does not go with transport \"%s\"", kind->word);
        }
        return 0;
}

/* Datagrams are taken at one address only: so nothing that was sent to many is answered, and from the address asked. */
static int check_single(struct config_reader *r, const config_setting_t *group, const struct config_listen *l)
{
        struct objm_inet addr;

        if (l->transport != CONFIG_TRANSPORT_UDP || !l->address)
                return 0;
        if (objm_inet_parse(l->address, l->port, &addr) == 0 && objm_udp_address_is_unicast(&addr))
                return 0;
        return config_reader_fail(r, config_setting_get_member(group, "address"),
                                  "must be one address of this machine, not \"%s\"", l->address);
}

/* Port 0 is another one each time. */
static bool same_place(const struct config_listen *a, const struct config_listen *b)
{
        struct objm_inet x, y;

        if (a->transport != b->transport || a->port != b->port)
                return false;
        if (a->transport == CONFIG_TRANSPORT_UNIX)
                return strcmp(a->path, b->path) == 0;
        return a->port && objm_inet_parse(config_listen_address(a), a->port, &x) == 0 &&
               objm_inet_parse(config_listen_address(b), b->port, &y) == 0 && objm_inet_same(&x, &y);
}

/* "FILE:LINE" */
static int place_of(const struct config_reader *r, const config_setting_t *group, char **ret)
{
        const char *file = config_setting_source_file(group);

        if (asprintf(ret, "%s:%u", file ? file : r->path, (unsigned)config_setting_source_line(group)) >= 0)
                return 0;
        *ret = NULL;
        return -ENOMEM;
}

static int check_listen(struct config_reader *r, const config_setting_t *group)
{
        struct config *c = r->config;
        struct config_listen *l = &c->listen[c->n_listen - 1];
        int e = check_kind(r, group, l);

        if (e == 0)
                e = check_single(r, group, l);
        if (e == 0)
                e = place_of(r, group, &l->origin);
        if (e < 0)
                return e;
        for (size_t i = 0; i + 1 < c->n_listen; i++) {
                if (same_place(&c->listen[i], l))
                        return config_reader_fail(r, group, "listens on %s a second time",
                                                  l->path ? l->path : config_listen_address(l));
        }
        return 0;
}

int config_entries_listen(struct config_reader *r, const config_setting_t *list)
{
        int e = check_list(r, list);

        for (int i = 0; e == 0 && i < config_setting_length(list); i++) {
                const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
                struct config_listen *l;

                e = config_add_listen(r->config, &l);
                if (e < 0)
                        return e;
                e = read_entry(r, group, listen_keys, objm_array_len(listen_keys), l);
                if (e == 0)
                        e = check_listen(r, group);
        }
        return e;
}

/* ---- exports ---- */

static int export_prefix(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct objm_export_config *x = entry;
        const char *text;
        int e = config_reader_string(r, s, CONFIG_PREFIX_MAX, &text);

        if (e < 0)
                return e;
        if (text[strlen(text) - 1] != '/')
                return config_reader_fail(r, s, "must end in \"/\"");
        return config_reader_store(r, s, text, (char **)&x->prefix);
}

static int export_path(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct objm_export_config *x = entry;
        const char *text;
        int e = read_path(r, s, PATH_MAX - 1, &text);

        return e < 0 ? e : config_reader_store(r, s, text, (char **)&x->path);
}

static int export_follow(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct objm_export_config *x = entry;

        return config_reader_boolean(r, s, &x->follow_symlinks);
}

static int user_id(const char *name, uint64_t *ret)
{
        const struct passwd *pw = getpwnam(name);

        if (!pw)
                return -ENOENT;
        *ret = pw->pw_uid;
        return 0;
}

static int group_id(const char *name, uint64_t *ret)
{
        const struct group *gr = getgrnam(name);

        if (!gr)
                return -ENOENT;
        *ret = gr->gr_gid;
        return 0;
}

/* A list of ids or names. uid_t and gid_t are the same type in Linux, so one reader serves both. */
static int read_ids(struct config_reader *r, const config_setting_t *s, int (*by_name)(const char *, uint64_t *),
                    const uint32_t **field, size_t *field_n)
{
        int n = config_setting_length(s);
        uint32_t *ids;

        if (!config_setting_is_aggregate(s) || config_setting_is_group(s))
                return config_reader_fail(r, s, "must be a list of ids or names");
        ids = calloc((size_t)n + 1, sizeof(*ids));
        if (!ids)
                return -ENOMEM;
        *field = ids;
        for (int i = 0; i < n; i++) {
                const config_setting_t *elem = config_setting_get_elem(s, (unsigned)i);
                uint64_t id;

                if (config_setting_type(elem) == CONFIG_TYPE_STRING) {
                        if (by_name(config_setting_get_string(elem), &id) < 0)
                                return config_reader_fail(r, elem, "there is no \"%s\"",
                                                          config_setting_get_string(elem));
                } else if (config_reader_number(r, elem, 0, ID_MAX, &id) < 0) {
                        return -EINVAL;
                }
                ids[(*field_n)++] = (uint32_t)id;
        }
        return 0;
}

static int export_uids(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct objm_export_config *x = entry;

        return read_ids(r, s, user_id, &x->allow_uids, &x->n_allow_uids);
}

static int export_gids(struct config_reader *r, const config_setting_t *s, void *entry)
{
        struct objm_export_config *x = entry;

        return read_ids(r, s, group_id, &x->allow_gids, &x->n_allow_gids);
}

int config_entries_gids(struct config_reader *r, const config_setting_t *list, struct config_ids *ids)
{
        return read_ids(r, list, group_id, (const uint32_t **)&ids->id, &ids->n);
}

static const struct entry_key export_keys[] = {
        {"prefix", true, export_prefix},
        {"path", true, export_path},
        {"follow_symlinks", false, export_follow},
        {"allow_uids", false, export_uids},
        {"allow_gids", false, export_gids},
};

int config_entries_exports(struct config_reader *r, const config_setting_t *list)
{
        int e = check_list(r, list);

        for (int i = 0; e == 0 && i < config_setting_length(list); i++) {
                const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
                struct objm_export_config *x;

                e = config_add_export(r->config, &x);
                if (e < 0)
                        return e;
                e = place_of(r, group, &r->config->export_origin[r->config->n_exports - 1]);
                if (e == 0)
                        e = read_entry(r, group, export_keys, objm_array_len(export_keys), x);
                for (size_t j = 0; e == 0 && j + 1 < r->config->n_exports; j++) {
                        if (strcmp(r->config->exports[j].prefix, x->prefix) == 0)
                                e = config_reader_fail(r, group, "exports %s a second time", x->prefix);
                }
        }
        return e;
}
