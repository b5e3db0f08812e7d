/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_WIRE3_H
#define TESTS_BENCH_WIRE3_H
/*
 * As much of protocol version 3 as the bare programs need, written out by hand so that they share no code with what
 * they are measured against.
 */
#include <stdint.h>
#include <string.h>

enum {
        HELLO = 32,
        HELLO_REPLY = 48,
        REQUEST = 40,
        REPLY = 40,
        URI_LEN_AT = 8,
        ID_AT = 4,
};

static inline void be16(uint8_t *p, unsigned v)
{
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
}

static inline unsigned get16(const uint8_t *p)
{
        return (unsigned)p[0] << 8 | p[1];
}

static inline void be32(uint8_t *p, uint32_t v)
{
        be16(p, v >> 16);
        be16(p + 2, v & 0xffff);
}

static inline void be64(uint8_t *p, uint64_t v)
{
        be32(p, (uint32_t)(v >> 32));
        be32(p + 4, (uint32_t)v);
}

#endif
