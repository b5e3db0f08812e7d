/* SPDX-License-Identifier: MIT */
#include "objmapperd/quota.h"

#include "base/clock.h"

#include <string.h>

int quota_init(struct quota *q, struct quota_rate network, struct quota_rate total)
{
        memset(q, 0, sizeof(*q)); /* empty very long ago: full */
        q->network_rate = network;
        q->total_rate = total;
        return objm_hash_key_init(&q->key);
}

static uint64_t token_ns(const struct quota_rate *rate)
{
        return OBJM_NS_PER_S / rate->per_s;
}

/* A bucket that was empty longer ago than it takes to fill is full, no more. */
static void cap(struct quota_bucket *b, const struct quota_rate *rate, uint64_t now_ns)
{
        uint64_t full = rate->burst * token_ns(rate);

        if (now_ns > full && b->since_ns < now_ns - full)
                b->since_ns = now_ns - full;
}

static bool has_token(struct quota_bucket *b, const struct quota_rate *rate, uint64_t now_ns)
{
        cap(b, rate, now_ns);
        return b->since_ns + token_ns(rate) <= now_ns;
}

bool quota_take(struct quota *q, const struct objm_inet *from, uint64_t now_ns)
{
        uint8_t network[OBJM_UDP_ADDRESS_NETWORK];
        struct quota_bucket *b;

        objm_udp_address_network(from, network);
        b = &q->network[objm_hash(&q->key, network, sizeof(network)) % QUOTA_NETWORKS];
        if (!has_token(b, &q->network_rate, now_ns) || !has_token(&q->total, &q->total_rate, now_ns))
                return false;
        b->since_ns += token_ns(&q->network_rate);
        q->total.since_ns += token_ns(&q->total_rate);
        return true;
}
