/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_HASH_H
#define OBJM_BASE_HASH_H
/*
 * Keyed 64-bit hash: XXH3 with a random 192-byte secret. Never the seeded form (inputs of up to 240 bytes would mix
 * the seed into a public secret) and never shown outside the process. A hash is never identity: compare the key.
 * Built with -DOBJM_HASH_CONSTANT, which hash.c alone looks at, every input hashes alike; all functional tests must
 * pass in such a build.
 */
#include "base/attr.h"
#include <stddef.h>
#include <stdint.h>

#define OBJM_HASH_SECRET_SIZE 192

struct objm_hash_key {
        unsigned char secret[OBJM_HASH_SECRET_SIZE];
};

/* Draws a new secret. 0, or negative errno of getrandom(2). */
int objm_hash_key_init(struct objm_hash_key *key) objm_must_check;

uint64_t objm_hash(const struct objm_hash_key *key, const void *data, size_t len);

/* An unkeyed fingerprint of @len bytes for object versions. The same on every machine and at every start. */
uint64_t objm_hash_public(const void *data, size_t len);

#endif
