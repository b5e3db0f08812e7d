/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_WIRE_H
#define OBJM_CLIENT_WIRE_H
/*
 * What differs between the versions of the protocol: how a request is written and how a reply reads. Pure.
 */
#include "client/slots.h"
#include "protocol/status.h"
#include <stdbool.h>

struct objm_reply {
        uint8_t status;
        uint8_t n_fds;
        uint8_t mode;                   /* with has_id: how the object comes */
        bool has_id;                    /* version 3; in version 1 replies come in the order of the requests */
        uint8_t op;                     /* with has_id */
        uint32_t id;                    /* with has_id */
        bool has_size;                  /* object.size is known */
        uint64_t body_len;              /* bytes that follow */
        struct objmapper_object object; /* without the descriptor */
        const uint8_t *text;            /* with a refusal: for people, inside the input; NULL: none */
        size_t text_len;
};

struct objm_wire {
        int version;
        /* The longest encoded request with a URI of @uri_len bytes. */
        size_t (*request_size)(size_t uri_len);
        /*
         * What to ask for in place of s->mode where the server grants @capabilities and, when it is @remote, passes no
         * descriptors; 0: it cannot serve that.
         */
        uint8_t (*mode)(const struct objm_slot *s, uint64_t capabilities, bool remote);
        /* Writes the request, in mode s->asked; 0: it does not fit, or this version has no such operation. */
        size_t (*encode)(void *buf, size_t cap, const struct objm_slot *s, uint32_t id);
        /*
         * Reads the reply at the start of @buf, up to its body; MORE and BAD as in status.h, nothing is set then.
         * @first, or NULL, is the oldest request that has been sent.
         */
        enum objm_decode (*decode)(const uint8_t *buf, size_t len, const struct objm_slot *first,
                                   struct objm_reply *ret, size_t *ret_used);
};

extern const struct objm_wire objm_wire_v1, objm_wire_v3;

/* The one table from wire status to 0 or -errno. */
int objm_status_errno(uint8_t status);

/* Fills in what metadata says of an object. -EBADMSG when it is malformed. */
int objm_wire_metadata(const uint8_t *metadata, size_t len, struct objm_reply *reply) objm_must_check;

#endif
