/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_ADDRESS_H
#define OBJM_CLIENT_ADDRESS_H
/*
 * Where a server is, as objmapper_connect() is told: "tcp://ADDRESS:PORT" in numbers, "unix://PATH", or a path.
 */
#include "base/attr.h"
#include "transport/inet.h"
#include <stdbool.h>

struct objm_address {
        bool tcp;
        const char *path;      /* Unix: points into the text */
        struct objm_inet inet; /* TCP */
};

/* 0; -EINVAL: not of these forms; -ENODEV: there is no such interface. */
int objm_address_parse(const char *text, struct objm_address *ret) objm_must_check;

#endif
