/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_SIPHASH_H
#define OBJM_BASE_SIPHASH_H
/*
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a keyed function whose values cannot
 * be foretold without the key. Unlike those of objm_hash() they may be shown to others, as authenticators of 64 bits.
 */
#include "base/attr.h"
#include <stddef.h>
#include <stdint.h>

struct objm_siphash_key {
        uint64_t k0, k1; /* the key's 16 bytes, little-endian */
};

/* Draws a new key. 0, or negative errno of getrandom(2). */
int objm_siphash_key_init(struct objm_siphash_key *key) objm_must_check;

/* Takes as long for every content of @data. */
uint64_t objm_siphash(const struct objm_siphash_key *key, const void *data, size_t len);

#endif
