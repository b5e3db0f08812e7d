/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_FAMILIES_H
#define OBJMAPPERD_FAMILIES_H
/*
 * The metrics that are reported, by name; objmapperd(8) has the list.
 */
#include "concurrency/pool.h"
#include "objmapperd/metrics.h"
#include "objmapperd/sink.h"
#include "storage/store.h"

/* What is known at one time. */
struct stats {
        struct metrics sum; /* of all threads */
        struct objm_pool_counts pool;
        struct objm_store_counts index;
        uint64_t uptime_ns;
        uint64_t connections, connections_max, connections_hot; /* hot: had a reply in the last second */
        uint64_t bodies, bodies_max;
        uint64_t rings;
        bool draining;
};

void families_write(struct stats *st, struct sink *s);

struct client;

/* The same of connections, one by one. */
void families_write_clients(const struct client *clients, size_t n, struct sink *s);

#endif
