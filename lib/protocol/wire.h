/* SPDX-License-Identifier: MIT */
#ifndef OBJM_PROTOCOL_WIRE_H
#define OBJM_PROTOCOL_WIRE_H
/*
 * Big-endian numbers at any alignment, and bytes. What is public is the formats, v1.h and v3.h.
 */
#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t objm_wire_get_u16(const uint8_t *p)
{
        uint16_t v;

        memcpy(&v, p, sizeof(v));
        return be16toh(v);
}

static inline uint32_t objm_wire_get_u32(const uint8_t *p)
{
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return be32toh(v);
}

static inline uint64_t objm_wire_get_u64(const uint8_t *p)
{
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return be64toh(v);
}

static inline void objm_wire_put_u16(uint8_t *p, uint16_t v)
{
        v = htobe16(v);
        memcpy(p, &v, sizeof(v));
}

static inline void objm_wire_put_u32(uint8_t *p, uint32_t v)
{
        v = htobe32(v);
        memcpy(p, &v, sizeof(v));
}

static inline void objm_wire_put_u64(uint8_t *p, uint64_t v)
{
        v = htobe64(v);
        memcpy(p, &v, sizeof(v));
}

/* memcpy() that takes NULL for no bytes; returns the end. */
static inline uint8_t *objm_wire_put_bytes(uint8_t *p, const void *data, size_t len)
{
        if (len > 0)
                memcpy(p, data, len);
        return p + len;
}

#endif
