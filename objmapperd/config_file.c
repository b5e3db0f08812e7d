/* SPDX-License-Identifier: MIT */
#include "config_file.h"
#include "base/clock.h"
#include "config_build.h"
#include "config_entries.h"
#include "config_precheck.h"
#include "config_reader.h"
#include "config_schema.h"
#include "transport/inet.h"
#include "units.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDPOINT_MAX 107 /* what a socket's path may have */

static int read_bytes(struct config_reader *r, const config_setting_t *s, const struct config_key *key, uint32_t *ret)
{
        uint64_t value;

        if (config_setting_type(s) == CONFIG_TYPE_STRING) {
                const char *text = config_setting_get_string(s);

                if (units_parse_size(text, &value) < 0)
                        return config_reader_fail(r, s, "must be a size such as \"4K\", not \"%s\"", text);
                if (value < key->min || value > key->max)
                        return config_reader_fail(r, s, "must be %u to %u bytes", key->min, key->max);
        } else if (config_reader_number(r, s, key->min, key->max, &value) < 0) {
                return -EINVAL;
        }
        *ret = (uint32_t)value;
        return 0;
}

static int read_duration(struct config_reader *r, const config_setting_t *s, const struct config_key *key,
                         uint64_t *ret)
{
        uint64_t ns;

        if (config_setting_type(s) == CONFIG_TYPE_STRING) {
                const char *text = config_setting_get_string(s);

                if (units_parse_duration(text, &ns) < 0)
                        return config_reader_fail(r, s, "must be a time such as \"60s\" or \"500ms\", not \"%s\"",
                                                  text);
                if (ns > key->max * OBJM_NS_PER_S)
                        return config_reader_fail(r, s, "must not be longer than %us", key->max);
        } else {
                if (config_reader_number(r, s, 0, key->max, &ns) < 0)
                        return -EINVAL;
                ns *= OBJM_NS_PER_S;
        }
        *ret = ns;
        return 0;
}

static int read_choice(struct config_reader *r, const config_setting_t *s, const struct config_key *key, int *ret)
{
        const struct config_choice *choice;
        char words[128] = "";
        const char *text;
        int e = config_reader_string(r, s, 64, &text);

        if (e < 0)
                return e;
        choice = config_choice_find(key->choices, text);
        if (choice) {
                *ret = choice->value;
                return 0;
        }
        for (choice = key->choices; choice->word; choice++) {
                size_t at = strlen(words);

                snprintf(words + at, sizeof(words) - at, "%s\"%s\"", at ? ", " : "", choice->word);
        }
        return config_reader_fail(r, s, "must be one of %s, not \"%s\"", words, text);
}

static int read_unsupported(struct config_reader *r, const config_setting_t *s)
{
        switch (config_setting_type(s)) {
        case CONFIG_TYPE_BOOL:
                if (!config_setting_get_bool(s))
                        return 0;
                break;
        case CONFIG_TYPE_INT:
                if (config_setting_get_int(s) == 0)
                        return 0;
                break;
        case CONFIG_TYPE_STRING:
                if (config_setting_get_string(s)[0] == '\0')
                        return 0;
                break;
        }
        return config_reader_fail(r, s, "is not supported by this version");
}

static int read_endpoint(struct config_reader *r, const config_setting_t *s, char **ret)
{
        const char *text = config_setting_get_string(s);
        struct objm_inet addr;
        int e;

        if (text && text[0] == '\0') {
                free(*ret);
                *ret = NULL;
                return 0;
        }
        e = config_reader_string(r, s, ENDPOINT_MAX, &text);
        if (e < 0)
                return e;
        if (text[0] != '/' && objm_inet_parse_pair(text, &addr) < 0)
                return config_reader_fail(r, s, "must be ADDRESS:PORT in numbers, or the path of a socket");
        free(*ret);
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int read_key(struct config_reader *r, const config_setting_t *s, const struct config_key *key)
{
        void *field = (char *)r->config + key->offset;
        uint64_t number;
        int e;

        switch (key->type) {
        case CONFIG_BOOLEAN:
                return config_reader_boolean(r, s, field);
        case CONFIG_NUMBER:
                e = config_reader_number(r, s, key->min, key->max, &number);
                if (e == 0)
                        *(uint32_t *)field = (uint32_t)number;
                return e;
        case CONFIG_BYTES:
                return read_bytes(r, s, key, field);
        case CONFIG_DURATION:
                return read_duration(r, s, key, field);
        case CONFIG_GIDS:
                return config_entries_gids(r, s, field);
        case CONFIG_ENDPOINT:
                return read_endpoint(r, s, field);
        case CONFIG_CHOICE:
                return read_choice(r, s, key, field);
        case CONFIG_UNSUPPORTED:
                return read_unsupported(r, s);
        }
        return -EINVAL;
}

static int read_group(struct config_reader *r, const config_setting_t *s, const struct config_group *group)
{
        if (!config_setting_is_group(s))
                return config_reader_fail(r, s, "must be a group { ... }");
        for (int i = 0; i < config_setting_length(s); i++) {
                const config_setting_t *member = config_setting_get_elem(s, (unsigned)i);
                const struct config_key *key = config_schema_key(group, config_setting_name(member));
                int e = key ? read_key(r, member, key) : config_reader_fail(r, member, "unknown key");

                if (e < 0)
                        return e;
        }
        return 0;
}

static int read_top(struct config_reader *r, const config_setting_t *s)
{
        const char *name = config_setting_name(s);
        const struct config_group *group;

        if (strcmp(name, "listen") == 0) {
                config_clear_listen(r->config);
                return config_entries_listen(r, s);
        }
        if (strcmp(name, "exports") == 0) {
                config_clear_exports(r->config);
                return config_entries_exports(r, s);
        }
        group = config_schema_group(name);
        return group ? read_group(r, s, group) : config_reader_fail(r, s, "unknown key");
}

/* Parses @path into @file; includes are found relative to its directory. */
static int parse(const char *path, config_t *file, struct config_error *err)
{
        const char *slash = strrchr(path, '/'), *where;
        char *dir objm_cleanup(objm_freep) = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
        int e;

        if (!dir)
                return -ENOMEM;
        e = config_precheck(path, dir, err);
        if (e < 0)
                return e;
        config_set_include_dir(file, dir);
        if (config_read_file(file, path) == CONFIG_TRUE)
                return 0;
        where = config_error_file(file);
        snprintf(err->text, sizeof(err->text), "%s:%d: %s", where ? where : path, config_error_line(file),
                 config_error_text(file));
        return -EINVAL;
}

int config_file_read(const char *path, struct config *c, struct config_error *err)
{
        struct config_reader r = {.path = path, .config = c, .err = err};
        const config_setting_t *root;
        config_t file;
        int e;

        config_init(&file);
        e = parse(path, &file, err);
        root = config_root_setting(&file);
        for (int i = 0; e == 0 && i < config_setting_length(root); i++)
                e = read_top(&r, config_setting_get_elem(root, (unsigned)i));
        config_destroy(&file);
        return e;
}
