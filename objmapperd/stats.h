/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_STATS_H
#define OBJMAPPERD_STATS_H
/*
 * What STATS answers with.
 */
#include "base/attr.h"
#include "objmapperd/server.h"

/* One JSON object that ends in a newline, allocated with malloc(3). In a thread that may use @snap. */
int stats_json(struct server *s, const struct snapshot *snap, char **ret, size_t *ret_len) objm_must_check;

/* The same as a file in memory, which the caller closes. 0 or negative errno. */
int stats_open(struct server *s, const struct snapshot *snap, int *ret_fd, uint64_t *ret_len) objm_must_check;

#endif
