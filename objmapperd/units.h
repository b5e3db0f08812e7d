/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_UNITS_H
#define OBJMAPPERD_UNITS_H
/*
 * Numbers as people write them in the configuration and on the command line. The whole text must match; no leading or
 * trailing blanks, no sign. All return 0, -EINVAL (not of that form) or -ERANGE (too large for the type).
 */
#include "base/attr.h"
#include <stdint.h>
#include <sys/types.h>

/* "1000" */
int units_parse_number(const char *text, uint64_t *ret) objm_must_check;

/* "500ms", "60s", "5m", "1h"; without a unit: seconds. In nanoseconds. */
int units_parse_duration(const char *text, uint64_t *ret_ns) objm_must_check;

/* "4096", "16K", "1M", "2G": powers of 1024. In bytes. */
int units_parse_size(const char *text, uint64_t *ret) objm_must_check;

/* "0660": one to four octal digits, permission bits only (at most 0777). */
int units_parse_mode(const char *text, mode_t *ret) objm_must_check;

#endif
