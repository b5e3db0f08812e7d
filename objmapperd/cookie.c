/* SPDX-License-Identifier: MIT */
#include "objmapperd/cookie.h"

#include "base/clock.h"

#include <string.h>

static uint64_t of_period(const struct objm_siphash_key *key, const struct objm_inet *peer, uint64_t period)
{
        uint8_t message[OBJM_UDP_ADDRESS_IDENTITY + sizeof(period)];
        uint64_t hash;

        objm_udp_address_identity(peer, message);
        memcpy(message + OBJM_UDP_ADDRESS_IDENTITY, &period, sizeof(period));
        hash = objm_siphash(key, message, sizeof(message));
        return hash ? hash : 1;
}

/* Periods count from 1, so that there always is one before. */
static uint64_t period_of(uint64_t now_ns)
{
        return now_ns / (COOKIE_PERIOD_S * OBJM_NS_PER_S) + 1;
}

uint64_t cookie_make(const struct objm_siphash_key *key, const struct objm_inet *peer, uint64_t now_ns)
{
        return of_period(key, peer, period_of(now_ns));
}

/* 1 when equal, by arithmetic alone. */
static unsigned equal(uint64_t a, uint64_t b)
{
        uint64_t diff = a ^ b;

        return (unsigned)(1 ^ ((diff | (0 - diff)) >> 63));
}

bool cookie_is_good(const struct objm_siphash_key *key, const struct objm_inet *peer, uint64_t now_ns,
                    uint64_t cookie)
{
        uint64_t period = period_of(now_ns);

        return equal(cookie, of_period(key, peer, period)) | equal(cookie, of_period(key, peer, period - 1));
}
