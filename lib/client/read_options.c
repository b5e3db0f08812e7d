/* SPDX-License-Identifier: MIT */
#include "client/read_options.h"

#include <errno.h>
#include <string.h>

static int wire_mode(int mode, uint8_t *ret)
{
        static const uint8_t modes[] = {
                [OBJMAPPER_MODE_AUTO] = OBJM_MODE_AUTO,
                [OBJMAPPER_MODE_FD] = OBJM_MODE_FD,
                [OBJMAPPER_MODE_COPY] = OBJM_MODE_COPY,
                [OBJMAPPER_MODE_SPLICE] = OBJM_MODE_SPLICE,
        };

        if (mode < 0 || (size_t)mode >= objm_array_len(modes))
                return -EINVAL;
        *ret = modes[mode];
        return 0;
}

int objm_read_options_decode(const struct objmapper_read_options *options, struct objm_slots_read *ret)
{
        struct objmapper_read_options o = {0};

        if (options) {
                if (options->size < sizeof(options->size))
                        return -EINVAL;
                memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
        }
        if (o.offset > INT64_MAX || o.length > (uint64_t)INT64_MAX - o.offset)
                return -EINVAL;
        *ret = (struct objm_slots_read){
                .range_offset = o.offset, .range_length = o.length, .if_version = o.if_version};
        return wire_mode(o.mode, &ret->mode);
}
