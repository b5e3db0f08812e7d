/* SPDX-License-Identifier: MIT */
#include "config_reader.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEY_PATH_MAX 128

/* "exports[1].path": the names from the root down to @s, list entries by number. */
static void key_path(const config_setting_t *s, char *buf, size_t cap)
{
        char up[KEY_PATH_MAX] = "";
        const char *name = config_setting_name(s);

        if (config_setting_is_root(s))
                return;
        key_path(config_setting_parent(s), up, sizeof(up));
        if (name)
                snprintf(buf, cap, "%s%s%s", up, up[0] ? "." : "", name);
        else
                snprintf(buf, cap, "%s[%d]", up, config_setting_index(s));
}

int config_reader_fail(struct config_reader *r, const config_setting_t *s, const char *format, ...)
{
        const char *file = config_setting_source_file(s);
        char key[KEY_PATH_MAX] = "", what[256];
        va_list ap;

        va_start(ap, format);
        vsnprintf(what, sizeof(what), format, ap);
        va_end(ap);
        key_path(s, key, sizeof(key));
        snprintf(r->err->text, sizeof(r->err->text), "%s:%u: %s: %s", file ? file : r->path,
                 (unsigned)config_setting_source_line(s), key, what);
        return -EINVAL;
}

int config_reader_string(struct config_reader *r, const config_setting_t *s, size_t max, const char **ret)
{
        const char *text;

        if (config_setting_type(s) != CONFIG_TYPE_STRING)
                return config_reader_fail(r, s, "must be a string");
        text = config_setting_get_string(s);
        if (text[0] == '\0')
                return config_reader_fail(r, s, "must not be empty");
        if (strlen(text) > max)
                return config_reader_fail(r, s, "is longer than %zu bytes", max);
        *ret = text;
        return 0;
}

int config_reader_boolean(struct config_reader *r, const config_setting_t *s, bool *ret)
{
        if (config_setting_type(s) != CONFIG_TYPE_BOOL)
                return config_reader_fail(r, s, "must be true or false");
        *ret = config_setting_get_bool(s);
        return 0;
}

int config_reader_number(struct config_reader *r, const config_setting_t *s, uint64_t min, uint64_t max,
                         uint64_t *ret)
{
        int type = config_setting_type(s);
        long long value;

        if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
                return config_reader_fail(r, s, "must be an integer");
        value = type == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);
        if (value < 0 || (uint64_t)value < min || (uint64_t)value > max)
                return config_reader_fail(r, s, "must be %" PRIu64 " to %" PRIu64 ", not %lld", min, max, value);
        *ret = (uint64_t)value;
        return 0;
}

int config_reader_store(struct config_reader *r, const config_setting_t *s, const char *text, char **field)
{
        char *copy = strdup(text);

        if (!copy) {
                config_reader_fail(r, s, "out of memory");
                return -ENOMEM;
        }
        free(*field);
        *field = copy;
        return 0;
}
