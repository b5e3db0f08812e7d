/* SPDX-License-Identifier: MIT */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H
/*
 * What every decoder of lib/protocol promises, whatever the bytes.
 */
#include "protocol/status.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_CHECK(x)                                                                  \
        do {                                                                           \
                if (!(x)) {                                                            \
                        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #x); \
                        abort();                                                       \
                }                                                                      \
        } while (0)

/* A decoder without its message. */
typedef enum objm_decode (*fuzz_decode_fn)(const void *buf, size_t len, size_t *ret_used);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int fuzz_inside(const void *p, size_t len, const uint8_t *data, size_t used)
{
        const uint8_t *at = p;

        return at >= data && len <= used && (size_t)(at - data) <= used - len;
}

/* Every prefix of a message asks for more, and never for more than the message. */
static inline void fuzz_prefixes(fuzz_decode_fn decode, const uint8_t *data, size_t used)
{
        for (size_t len = 0; len < used; len++) {
                size_t need = 0;

                FUZZ_CHECK(decode(data, len, &need) == OBJM_DECODE_MORE);
                FUZZ_CHECK(need > len && need <= used);
        }
}

/* With as many bytes as were asked for the decoder gets further, and what is bad stays bad. */
static inline void fuzz_extended(fuzz_decode_fn decode, const uint8_t *data, size_t size, size_t len,
                                 enum objm_decode before)
{
        uint8_t *longer = calloc(1, len);
        size_t need = 0;
        enum objm_decode after;

        FUZZ_CHECK(longer != NULL);
        memcpy(longer, data, size);
        after = decode(longer, len, &need);
        if (before == OBJM_DECODE_BAD)
                FUZZ_CHECK(after == OBJM_DECODE_BAD);
        else
                FUZZ_CHECK(after != OBJM_DECODE_MORE || need > len);
        free(longer);
}

/* The properties of one decode of @data, where no message is longer than @max; returns what it said. */
static inline enum objm_decode fuzz_framing(fuzz_decode_fn decode, const uint8_t *data, size_t size, size_t max)
{
        size_t used = SIZE_MAX;
        enum objm_decode d = decode(data, size, &used);

        switch (d) {
        case OBJM_DECODE_OK:
                FUZZ_CHECK(used > 0 && used <= size && used <= max);
                fuzz_prefixes(decode, data, used);
                break;
        case OBJM_DECODE_MORE:
                FUZZ_CHECK(used > size && used <= max);
                fuzz_extended(decode, data, size, used, d);
                break;
        case OBJM_DECODE_BAD:
                fuzz_extended(decode, data, size, size + 1, d);
                break;
        }
        return d;
}

#endif
