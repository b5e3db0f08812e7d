/* SPDX-License-Identifier: MIT */
#include "storage/name.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static enum objm_store_condition check_segment(const char *s, size_t len)
{
        if (len == 0 || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
                return OBJM_STORE_INVALID;
        return len > NAME_MAX ? OBJM_STORE_NOT_FOUND : OBJM_STORE_OK;
}

enum objm_store_condition objm_name_check(const void *path, size_t len)
{
        enum objm_store_condition result = OBJM_STORE_OK;
        const char *s = path, *end = s + len;

        if (memchr(path, 0, len))
                return OBJM_STORE_INVALID;
        for (;;) {
                const char *slash = memchr(s, '/', (size_t)(end - s));
                enum objm_store_condition c = check_segment(s, (size_t)((slash ? slash : end) - s));

                if (c == OBJM_STORE_INVALID)
                        return c;
                if (c != OBJM_STORE_OK)
                        result = c;
                if (!slash)
                        return result;
                s = slash + 1;
        }
}

bool objm_name_is_below(const char *path, const char *dir)
{
        size_t len = strlen(dir);

        return strncmp(path, dir, len) == 0 && (path[len] == 0 || path[len] == '/');
}

void objm_name_escape(const void *name, size_t len, char *ret, size_t size)
{
        const unsigned char *s = name;
        size_t at = 0;

        for (size_t i = 0; i < len && at + 5 <= size; i++) {
                if (s[i] >= 0x20 && s[i] < 0x7f && s[i] != '\\')
                        ret[at++] = (char)s[i];
                else
                        at += (size_t)snprintf(ret + at, size - at, "\\x%02x", s[i]);
        }
        ret[at] = 0;
}
