/* SPDX-License-Identifier: MIT */
#include "base/siphash.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

struct state {
        uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
        return x << bits | x >> (64 - bits);
}

static void mix(struct state *s, unsigned rounds)
{
        while (rounds--) {
                s->v0 += s->v1;
                s->v2 += s->v3;
                s->v1 = rotate(s->v1, 13) ^ s->v0;
                s->v3 = rotate(s->v3, 16) ^ s->v2;
                s->v0 = rotate(s->v0, 32);
                s->v2 += s->v1;
                s->v0 += s->v3;
                s->v1 = rotate(s->v1, 17) ^ s->v2;
                s->v3 = rotate(s->v3, 21) ^ s->v0;
                s->v2 = rotate(s->v2, 32);
        }
}

static void absorb(struct state *s, uint64_t word)
{
        s->v3 ^= word;
        mix(s, 2);
        s->v0 ^= word;
}

uint64_t objm_siphash(const struct objm_siphash_key *key, const void *data, size_t len)
{
        struct state s = {key->k0 ^ UINT64_C(0x736f6d6570736575), key->k1 ^ UINT64_C(0x646f72616e646f6d),
                          key->k0 ^ UINT64_C(0x6c7967656e657261), key->k1 ^ UINT64_C(0x7465646279746573)};
        const unsigned char *p = data;
        uint64_t word = 0;
        size_t left;

        for (left = len; left >= sizeof(word); left -= sizeof(word), p += sizeof(word)) {
                memcpy(&word, p, sizeof(word));
                absorb(&s, le64toh(word));
        }
        word = 0;
        if (left)
                memcpy(&word, p, left);
        absorb(&s, le64toh(word) | (uint64_t)len << 56);
        s.v2 ^= 0xff;
        mix(&s, 4);
        return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

int objm_siphash_key_init(struct objm_siphash_key *key)
{
        struct objm_siphash_key fresh;
        ssize_t n;

        do
                n = getrandom(&fresh, sizeof(fresh), 0); /* up to 256 bytes come whole */
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        *key = fresh;
        return 0;
}
