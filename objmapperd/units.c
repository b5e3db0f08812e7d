/* SPDX-License-Identifier: MIT */
#include "units.h"
#include "base/clock.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

struct unit {
        const char *suffix;
        uint64_t factor;
};

/* Reads the digits at @text; *ret_end is behind them. */
static int parse_digits(const char *text, uint64_t base, uint64_t *ret, const char **ret_end)
{
        uint64_t value = 0;
        const char *p;

        for (p = text; *p >= '0' && *p < (char)('0' + base); p++) {
                if (__builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
                        return -ERANGE;
        }
        if (p == text)
                return -EINVAL;
        *ret = value;
        *ret_end = p;
        return 0;
}

static int parse_with_unit(const char *text, const struct unit *units, size_t n, uint64_t *ret)
{
        const char *end;
        uint64_t value;
        int r = parse_digits(text, 10, &value, &end);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (strcmp(end, units[i].suffix) != 0)
                        continue;
                return __builtin_mul_overflow(value, units[i].factor, ret) ? -ERANGE : 0;
        }
        return -EINVAL;
}

int units_parse_number(const char *text, uint64_t *ret)
{
        static const struct unit none = {"", 1};
        uint64_t value;
        int r = parse_with_unit(text, &none, 1, &value);

        if (r == 0)
                *ret = value;
        return r;
}

int units_parse_duration(const char *text, uint64_t *ret_ns)
{
        static const struct unit units[] = {
                {"", OBJM_NS_PER_S},
                {"ms", OBJM_NS_PER_MS},
                {"s", OBJM_NS_PER_S},
                {"m", 60 * OBJM_NS_PER_S},
                {"h", 3600 * OBJM_NS_PER_S},
        };
        uint64_t value;
        int r = parse_with_unit(text, units, objm_array_len(units), &value);

        if (r == 0)
                *ret_ns = value;
        return r;
}

int units_parse_size(const char *text, uint64_t *ret)
{
        static const struct unit units[] = {
                {"", 1},
                {"K", UINT64_C(1) << 10},
                {"M", UINT64_C(1) << 20},
                {"G", UINT64_C(1) << 30},
        };
        uint64_t value;
        int r = parse_with_unit(text, units, objm_array_len(units), &value);

        if (r == 0)
                *ret = value;
        return r;
}

int units_parse_mode(const char *text, mode_t *ret)
{
        const char *end;
        uint64_t value;
        int r = parse_digits(text, 8, &value, &end);

        if (r < 0)
                return r;
        if (*end != '\0' || end - text > 4)
                return -EINVAL;
        if (value > 0777)
                return -ERANGE;
        *ret = (mode_t)value;
        return 0;
}
