/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_STATS_H
#define OBJMAPPERD_STATS_H
/*
 * What STATS answers with.
 */
#include "base/attr.h"
#include "objmapperd/server.h"
#include "protocol/v3.h"

/* Connections that are described one by one, at most. */
#define STATS_CLIENTS_MAX 1000

/*
 * One JSON object that ends in a newline, or OpenMetrics text; allocated with malloc(3). In a thread that may use
 * @snap. 0 or -ENOMEM.
 */
int stats_print(struct server *s, const struct snapshot *snap, enum objm_v3_stats form, char **ret, size_t *ret_len)
        objm_must_check;

/* The same as a file in memory, which the caller closes. 0 or negative errno. */
int stats_open(struct server *s, const struct snapshot *snap, enum objm_v3_stats form, int *ret_fd, uint64_t *ret_len)
        objm_must_check;

#endif
