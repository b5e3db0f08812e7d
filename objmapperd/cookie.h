/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_COOKIE_H
#define OBJMAPPERD_COOKIE_H
/*
 * Cookies: what a sender can only know if datagrams to its address reach it. SipHash of address, port and the current
 * period under a key of this process, so that nothing is stored for any sender. A cookie is good in its period and in
 * the next one.
 */
#include "base/siphash.h"
#include "transport/udp_address.h"
#include <stdbool.h>
#include <stdint.h>

#define COOKIE_PERIOD_S 30

/* @now_ns is objm_clock_ns() or coarse. Never 0. */
uint64_t cookie_make(const struct objm_siphash_key *key, const struct objm_inet *peer, uint64_t now_ns);

/* Takes as long for every value of @cookie. */
bool cookie_is_good(const struct objm_siphash_key *key, const struct objm_inet *peer, uint64_t now_ns,
                    uint64_t cookie);

#endif
