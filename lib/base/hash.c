/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include "base/hash.h"

#include <errno.h>
#include <sys/random.h>
#include <xxhash.h>

_Static_assert(OBJM_HASH_SECRET_SIZE >= XXH3_SECRET_SIZE_MIN, "secret too short for XXH3");

int objm_hash_key_init(struct objm_hash_key *key)
{
        size_t have = 0;

        while (have < sizeof(key->secret)) {
                ssize_t n = getrandom(key->secret + have, sizeof(key->secret) - have, 0);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0)
                        have += (size_t)n;
        }
        return 0;
}

uint64_t objm_hash(const struct objm_hash_key *key, const void *data, size_t len)
{
#ifdef OBJM_HASH_CONSTANT
        (void)key, (void)data, (void)len;
        return UINT64_C(0x0123456789abcdef);
#else
        return XXH3_64bits_withSecret(data, len, key->secret, sizeof(key->secret));
#endif
}

uint64_t objm_hash_public(const void *data, size_t len)
{
        return XXH3_64bits(data, len);
}
