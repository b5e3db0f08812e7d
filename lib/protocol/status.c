/* SPDX-License-Identifier: MIT */
#include "protocol/status.h"

const char *objm_status_text(uint8_t status)
{
        switch ((enum objm_status)status) {
        case OBJM_STATUS_OK:
                return "ok";
        case OBJM_STATUS_NOT_FOUND:
                return "not found";
        case OBJM_STATUS_INVALID_REQUEST:
                return "invalid request";
        case OBJM_STATUS_INVALID_MODE:
                return "invalid mode";
        case OBJM_STATUS_URI_TOO_LONG:
                return "URI too long";
        case OBJM_STATUS_UNSUPPORTED:
                return "unsupported";
        case OBJM_STATUS_DENIED:
                return "denied";
        case OBJM_STATUS_INTERNAL:
                return "internal error";
        case OBJM_STATUS_STORAGE:
                return "storage error";
        case OBJM_STATUS_NO_MEMORY:
                return "out of memory";
        case OBJM_STATUS_TIMEOUT:
                return "timeout";
        case OBJM_STATUS_UNAVAILABLE:
                return "unavailable";
        case OBJM_STATUS_PROTOCOL:
                return "protocol error";
        case OBJM_STATUS_VERSION:
                return "version not supported";
        case OBJM_STATUS_CAPABILITY:
                return "capability missing";
        }
        return "unknown status";
}
