/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_BUILD_H
#define OBJMAPPERD_CONFIG_BUILD_H
/*
 * Growing a configuration that is not published yet. New entries hang in the configuration at once, so that
 * config_free() frees them whatever happens next; pointers to earlier entries are void after an add.
 */
#include "base/attr.h"
#include "config.h"

#define CONFIG_SOCKET_PATH_MAX 107  /* sun_path of unix(7) less its NUL */
#define CONFIG_PREFIX_MAX      4095 /* a URI has 4096 bytes at most, one of them behind the prefix */

/* *ret has the defaults of an entry. 0 or -ENOMEM. */
int config_add_listen(struct config *c, struct config_listen **ret) objm_must_check;
int config_add_export(struct config *c, struct objm_export_config **ret) objm_must_check;

void config_clear_listen(struct config *c);
void config_clear_exports(struct config *c);

#endif
