/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_HANDOVER_IMAGE_H
#define OBJMAPPERD_HANDOVER_IMAGE_H
/*
 * What an instance of the daemon writes down about connections that the next one goes on with. The reader trusts
 * nothing of it: the next instance may be another version, and the bytes may have been cut short.
 *
 *   "OBJMHOVR" | version u32 | count u32 | bytes that follow u64 | checksum of them u64
 *   each: cookie u64 | served u32 | inline_limit u32 | in_len u32 | jobs_max u16 | protocol u8 | batch_limit u8 |
 *         flags u32 | input
 *
 * All integers are big-endian. Pure: no descriptor, no thread.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDOVER_IMAGE_VERSION 1
#define HANDOVER_IMAGE_HEADER  32
#define HANDOVER_ENTRY         28

struct handover_entry {
        uint64_t cookie; /* SO_COOKIE: which socket it is about */
        uint32_t served, inline_limit;
        uint16_t jobs_max;
        uint8_t protocol; /* version of the protocol; 0: the client has not said */
        uint8_t batch_limit;
        bool may_ring;
        uint32_t in_len;  /* bytes of input not worked on yet */
        const uint8_t *in; /* borrowed */
};

/* Appends to the image at @buf of @len bytes; 0 begins one. Returns its new length, 0 when that is more than @cap. */
size_t handover_image_put(uint8_t *buf, size_t cap, size_t len, const struct handover_entry *e) objm_must_check;

/* Fills in the header once all have been put. @len is at least HANDOVER_IMAGE_HEADER. */
void handover_image_finish(uint8_t *buf, size_t len, uint32_t count);

/* 0, and how many entries to expect; -EINVAL: damaged; -EPROTO: of another version. */
int handover_image_check(const uint8_t *buf, size_t len, uint32_t *ret_count) objm_must_check;

/* The entry at *at, which begins at HANDOVER_IMAGE_HEADER and is moved on. -EINVAL: none that could be. */
int handover_image_next(const uint8_t *buf, size_t len, size_t *at, struct handover_entry *ret) objm_must_check;

#endif
