/* SPDX-License-Identifier: MIT */
/*
 * The input as what an instance has left about its connections: as it is, and with a header that fits it, behind which
 * the checksum hides nothing. Whatever is taken is within the bounds of a connection, and is written the same again.
 */
#include "fuzz.h"
#include "objmapperd/connection.h"
#include "objmapperd/handover_image.h"

static void check_entry(const struct handover_entry *e, const uint8_t *data, size_t at, size_t end)
{
        size_t size = HANDOVER_IMAGE_HEADER + (end - at);
        uint8_t *again = malloc(size);

        FUZZ_CHECK(end > at && end - at == HANDOVER_ENTRY + e->in_len);
        FUZZ_CHECK(fuzz_inside(e->in, e->in_len, data, end));
        FUZZ_CHECK(e->in_len <= WORKER_RX_BYTES && e->batch_limit >= 1 && e->batch_limit <= CONNECTION_BATCH_MAX);
        FUZZ_CHECK(e->jobs_max >= 1 && e->jobs_max <= CONNECTION_JOBS_MAX);
        FUZZ_CHECK(again != NULL);
        FUZZ_CHECK(handover_image_put(again, size, 0, e) == size);
        FUZZ_CHECK(memcmp(again + HANDOVER_IMAGE_HEADER, data + at, end - at) == 0);
        free(again);
}

static void read_all(const uint8_t *data, size_t size)
{
        size_t at = HANDOVER_IMAGE_HEADER, before = at;
        struct handover_entry e;
        uint32_t count;

        if (handover_image_check(data, size, &count) < 0)
                return;
        while (handover_image_next(data, size, &at, &e) == 0) {
                check_entry(&e, data, before, at);
                before = at;
        }
        FUZZ_CHECK(at == before && at <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t *whole = malloc(size + 1);

        FUZZ_CHECK(whole != NULL);
        memcpy(whole, data, size);
        read_all(whole, size);
        if (size >= HANDOVER_IMAGE_HEADER) {
                handover_image_finish(whole, size, 1);
                FUZZ_CHECK(handover_image_check(whole, size, &(uint32_t){0}) == 0);
                read_all(whole, size);
        }
        free(whole);
        return 0;
}
