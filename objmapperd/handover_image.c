/* SPDX-License-Identifier: MIT */
#include "objmapperd/handover_image.h"

#include "base/hash.h"
#include "objmapperd/connection.h"
#include "objmapperd/transfer.h"
#include "protocol/wire.h"

#include <errno.h>
#include <string.h>

static const uint8_t magic[8] = {'O', 'B', 'J', 'M', 'H', 'O', 'V', 'R'};

enum header_at {
        AT_VERSION = 8,
        AT_COUNT = 12,
        AT_BYTES = 16,
        AT_CHECKSUM = 24,
};

#define FLAG_MAY_RING 1U

enum entry_at {
        AT_COOKIE = 0,
        AT_SERVED = 8,
        AT_INLINE = 12,
        AT_IN_LEN = 16,
        AT_JOBS = 20,
        AT_PROTOCOL = 22,
        AT_BATCH = 23,
        AT_FLAGS = 24,
};

size_t handover_image_put(uint8_t *buf, size_t cap, size_t len, const struct handover_entry *e)
{
        uint8_t *p;

        if (!len)
                len = HANDOVER_IMAGE_HEADER;
        if (len > cap || cap - len < HANDOVER_ENTRY || cap - len - HANDOVER_ENTRY < e->in_len)
                return 0;
        p = buf + len;
        objm_wire_put_u64(p + AT_COOKIE, e->cookie);
        objm_wire_put_u32(p + AT_SERVED, e->served);
        objm_wire_put_u32(p + AT_INLINE, e->inline_limit);
        objm_wire_put_u32(p + AT_IN_LEN, e->in_len);
        objm_wire_put_u16(p + AT_JOBS, e->jobs_max);
        p[AT_PROTOCOL] = e->protocol;
        p[AT_BATCH] = e->batch_limit;
        objm_wire_put_u32(p + AT_FLAGS, e->may_ring ? FLAG_MAY_RING : 0);
        objm_wire_put_bytes(p + HANDOVER_ENTRY, e->in, e->in_len);
        return len + HANDOVER_ENTRY + e->in_len;
}

static uint64_t checksum(const uint8_t *buf, size_t len)
{
        return objm_hash_public(buf + HANDOVER_IMAGE_HEADER, len - HANDOVER_IMAGE_HEADER);
}

void handover_image_finish(uint8_t *buf, size_t len, uint32_t count)
{
        memcpy(buf, magic, sizeof(magic));
        objm_wire_put_u32(buf + AT_VERSION, HANDOVER_IMAGE_VERSION);
        objm_wire_put_u32(buf + AT_COUNT, count);
        objm_wire_put_u64(buf + AT_BYTES, len - HANDOVER_IMAGE_HEADER);
        objm_wire_put_u64(buf + AT_CHECKSUM, checksum(buf, len));
}

int handover_image_check(const uint8_t *buf, size_t len, uint32_t *ret_count)
{
        if (len < HANDOVER_IMAGE_HEADER || memcmp(buf, magic, sizeof(magic)) != 0)
                return -EINVAL;
        if (objm_wire_get_u32(buf + AT_VERSION) != HANDOVER_IMAGE_VERSION)
                return -EPROTO;
        if (objm_wire_get_u64(buf + AT_BYTES) != len - HANDOVER_IMAGE_HEADER ||
            objm_wire_get_u64(buf + AT_CHECKSUM) != checksum(buf, len))
                return -EINVAL;
        *ret_count = objm_wire_get_u32(buf + AT_COUNT);
        return 0;
}

/* What hello_answer() could have come to. */
static bool is_possible(const struct handover_entry *e)
{
        if (e->protocol != 0 && e->protocol != 1 && e->protocol != 3)
                return false;
        return e->batch_limit >= 1 && e->batch_limit <= CONNECTION_BATCH_MAX && e->jobs_max >= 1 &&
               e->jobs_max <= CONNECTION_JOBS_MAX && e->inline_limit <= TRANSFER_INLINE_MAX &&
               e->in_len <= WORKER_RX_BYTES;
}

int handover_image_next(const uint8_t *buf, size_t len, size_t *at, struct handover_entry *ret)
{
        const uint8_t *p = buf + *at;
        struct handover_entry e;

        if (*at > len || len - *at < HANDOVER_ENTRY || objm_wire_get_u32(p + AT_FLAGS) & ~FLAG_MAY_RING)
                return -EINVAL;
        e = (struct handover_entry){
                .cookie = objm_wire_get_u64(p + AT_COOKIE), .served = objm_wire_get_u32(p + AT_SERVED),
                .inline_limit = objm_wire_get_u32(p + AT_INLINE), .in_len = objm_wire_get_u32(p + AT_IN_LEN),
                .jobs_max = objm_wire_get_u16(p + AT_JOBS), .protocol = p[AT_PROTOCOL], .batch_limit = p[AT_BATCH],
                .may_ring = objm_wire_get_u32(p + AT_FLAGS) & FLAG_MAY_RING, .in = p + HANDOVER_ENTRY,
        };
        if (!is_possible(&e) || len - *at - HANDOVER_ENTRY < e.in_len)
                return -EINVAL;
        *at += HANDOVER_ENTRY + e.in_len;
        *ret = e;
        return 0;
}
