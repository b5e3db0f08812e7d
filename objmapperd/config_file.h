/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_FILE_H
#define OBJMAPPERD_CONFIG_FILE_H
/*
 * Reads a libconfig file over a configuration that has the defaults. On failure @c is half-changed: free it.
 */
#include "base/attr.h"
#include "config.h"

/* 0, or negative errno with @err set. */
int config_file_read(const char *path, struct config *c, struct config_error *err) objm_must_check;

#endif
