/* SPDX-License-Identifier: MIT */
#include "client/wire.h"

#include "protocol/v1.h"

#include <errno.h>

int objm_status_errno(uint8_t status)
{
        switch ((enum objm_status)status) {
        case OBJM_STATUS_OK:
                return 0;
        case OBJM_STATUS_NOT_FOUND:
                return -ENOENT;
        case OBJM_STATUS_INVALID_REQUEST:
                return -EINVAL;
        case OBJM_STATUS_URI_TOO_LONG:
                return -ENAMETOOLONG;
        case OBJM_STATUS_INVALID_MODE:
        case OBJM_STATUS_UNSUPPORTED:
        case OBJM_STATUS_CAPABILITY:
                return -EOPNOTSUPP;
        case OBJM_STATUS_DENIED:
                return -EACCES;
        case OBJM_STATUS_INTERNAL:
        case OBJM_STATUS_STORAGE:
                return -EIO;
        case OBJM_STATUS_NO_MEMORY:
                return -ENOMEM;
        case OBJM_STATUS_TIMEOUT:
                return -ETIMEDOUT;
        case OBJM_STATUS_UNAVAILABLE:
                return -EBUSY;
        case OBJM_STATUS_VERSION:
                return -EPROTONOSUPPORT;
        case OBJM_STATUS_PROTOCOL:
                break;
        }
        return -EPROTO;
}

int objm_wire_metadata(const uint8_t *metadata, size_t len, struct objm_reply *reply)
{
        const uint8_t *data;
        uint64_t number;
        size_t at = 0, n;
        uint8_t type;
        int r;

        while ((r = objm_v1_metadata_next(metadata, len, &at, &type, &data, &n)) > 0) {
                if (type == OBJM_V1_META_ERROR) {
                        reply->text = data;
                        reply->text_len = n;
                }
                if (type != OBJM_V1_META_SIZE && type != OBJM_V1_META_MTIME)
                        continue;
                r = objm_v1_metadata_number(data, n, &number);
                if (r < 0)
                        return r;
                if (type == OBJM_V1_META_MTIME) {
                        reply->object.mtime = (int64_t)number;
                } else {
                        reply->object.size = number;
                        reply->has_size = true;
                }
        }
        return r;
}
