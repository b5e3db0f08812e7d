/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_ENTRIES_H
#define OBJMAPPERD_CONFIG_ENTRIES_H
/*
 * The entries of the lists `listen` and `exports`, and lists of groups. Each reads a whole list into what has none.
 */
#include "config_reader.h"

int config_entries_listen(struct config_reader *r, const config_setting_t *list) objm_must_check;
int config_entries_exports(struct config_reader *r, const config_setting_t *list) objm_must_check;
int config_entries_gids(struct config_reader *r, const config_setting_t *list, struct config_ids *ids) objm_must_check;

#endif
