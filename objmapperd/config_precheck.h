/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_PRECHECK_H
#define OBJMAPPERD_CONFIG_PRECHECK_H
/*
 * What libconfig 1.5 (Debian 12) does not check, looked at before it reads a file: an @include that names a directory
 * or another file that cannot be read makes its scanner call exit(3), which would end a daemon on reload; and an
 * integer over 32 bits loses its upper bits without a word, so that uid 4294967296 would be root.
 */
#include "base/attr.h"
#include "config.h"

/* Looks at @path and, with names relative to @dir, at all it includes. 0, or negative errno with @err set. */
int config_precheck(const char *path, const char *dir, struct config_error *err) objm_must_check;

#endif
