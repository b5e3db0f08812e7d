/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_QUOTA_H
#define OBJMAPPERD_QUOTA_H
/*
 * How many datagrams are answered: token buckets, one for all senders together and one for each network (/24 of IPv4,
 * /56 of IPv6). Networks are spread over a table of fixed size by a keyed hash: those that meet in a place share it, so
 * that forged senders neither make it grow nor push anybody out, and cannot aim. One thread.
 */
#include "base/attr.h"
#include "base/hash.h"
#include "transport/udp_address.h"
#include <stdbool.h>
#include <stdint.h>

#define QUOTA_NETWORKS 4096

/* Tokens a second, and how many a bucket holds. */
struct quota_rate {
        uint32_t per_s, burst;
};

struct quota_bucket {
        uint64_t since_ns; /* when it was, or would have been, empty; the past counts as tokens */
};

struct quota {
        struct quota_rate network_rate, total_rate;
        struct objm_hash_key key;
        struct quota_bucket total, network[QUOTA_NETWORKS];
};

/* All buckets are full at @now_ns. 0 or negative errno of getrandom(2). */
int quota_init(struct quota *q, struct quota_rate network, struct quota_rate total) objm_must_check;

/* Takes a token out of both buckets, or none. @now_ns does not go backwards. */
bool quota_take(struct quota *q, const struct objm_inet *from, uint64_t now_ns);

#endif
