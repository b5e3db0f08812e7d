/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_READER_H
#define OBJMAPPERD_CONFIG_READER_H
/*
 * What reading a configuration file needs everywhere: errors that name file, line and key, and values of one type.
 * Every function that fails has set the error; the first one stands.
 */
#include "base/attr.h"
#include "config.h"
#include <libconfig.h>

struct config_reader {
        const char *path; /* of the main file */
        struct config *config;
        struct config_error *err;
};

/* Sets "FILE:LINE: key.path: what" and returns -EINVAL. */
int config_reader_fail(struct config_reader *r, const config_setting_t *s, const char *format, ...)
        objm_printf(3, 4);

/* The value, borrowed from the setting; not empty, no longer than @max bytes. */
int config_reader_string(struct config_reader *r, const config_setting_t *s, size_t max, const char **ret)
        objm_must_check;
int config_reader_boolean(struct config_reader *r, const config_setting_t *s, bool *ret) objm_must_check;
int config_reader_number(struct config_reader *r, const config_setting_t *s, uint64_t min, uint64_t max,
                         uint64_t *ret) objm_must_check;

/* Stores a copy of @text in *field, freeing what was there. */
int config_reader_store(struct config_reader *r, const config_setting_t *s, const char *text, char **field)
        objm_must_check;

#endif
