/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_ENTRIES_H
#define OBJMAPPERD_CONFIG_ENTRIES_H
/*
 * The entries of the lists `listen` and `exports`. Each reads the whole list into a config that has none of its kind.
 */
#include "config_reader.h"

int config_entries_listen(struct config_reader *r, const config_setting_t *list) objm_must_check;
int config_entries_exports(struct config_reader *r, const config_setting_t *list) objm_must_check;

#endif
