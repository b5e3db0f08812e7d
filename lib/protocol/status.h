/* SPDX-License-Identifier: MIT */
#ifndef OBJM_PROTOCOL_STATUS_H
#define OBJM_PROTOCOL_STATUS_H
/*
 * Status codes, transfer modes and limits that every version of the wire protocol shares.
 */
#include <stdint.h>

#define OBJM_URI_MAX      4096
#define OBJM_METADATA_MAX 1024

enum objm_status {
        OBJM_STATUS_OK = 0,
        OBJM_STATUS_NOT_FOUND = 1,
        OBJM_STATUS_INVALID_REQUEST = 2,
        OBJM_STATUS_INVALID_MODE = 3,
        OBJM_STATUS_URI_TOO_LONG = 4,
        OBJM_STATUS_UNSUPPORTED = 5,
        OBJM_STATUS_DENIED = 6,
        OBJM_STATUS_INTERNAL = 10,
        OBJM_STATUS_STORAGE = 11,
        OBJM_STATUS_NO_MEMORY = 12,
        OBJM_STATUS_TIMEOUT = 13,
        OBJM_STATUS_UNAVAILABLE = 14, /* busy or draining: try again, elsewhere or later */
        OBJM_STATUS_PROTOCOL = 20,
        OBJM_STATUS_VERSION = 21,
        OBJM_STATUS_CAPABILITY = 22,
};

/* The mode byte of version 1; version 3 uses the same letters and adds auto and inline. */
enum objm_mode {
        OBJM_MODE_NONE = 0,
        OBJM_MODE_FD = '1',
        OBJM_MODE_COPY = '2',
        OBJM_MODE_SPLICE = '3',
        OBJM_MODE_AUTO = 'a',   /* in requests: the daemon picks */
        OBJM_MODE_INLINE = 'i', /* in replies: the body follows the header at once */
};

/* What a decoder found at the start of its input. */
enum objm_decode {
        OBJM_DECODE_OK = 0,   /* a whole message; its fields are set */
        OBJM_DECODE_MORE = 1, /* a valid beginning: call again with more bytes */
        OBJM_DECODE_BAD = 2,  /* no message can follow: send the status that was set, then close */
};

/* A short English text for @status ("not found"); never NULL. */
const char *objm_status_text(uint8_t status);

#endif
