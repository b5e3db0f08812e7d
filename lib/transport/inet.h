/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_INET_H
#define OBJM_TRANSPORT_INET_H
/*
 * Internet addresses as people write them: in numbers only, so that nothing here asks a name server and waits.
 * "127.0.0.1", "::1", "fe80::1%eth0"; with a port "127.0.0.1:9999", "[::1]:9999".
 */
#include "base/attr.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define OBJM_INET_TEXT 63 /* the longest address: INET6_ADDRSTRLEN, '%' and the name of an interface */
#define OBJM_INET_PAIR (OBJM_INET_TEXT + 9) /* the same with brackets and a port, and NUL */

struct objm_inet {
        union {
                struct sockaddr any;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        };
        socklen_t len;
};

/* 0; -EINVAL: not an address in numbers; -ENODEV: there is no such interface behind the '%'. */
int objm_inet_parse(const char *address, uint16_t port, struct objm_inet *ret) objm_must_check;

/* Takes "ADDRESS:PORT" apart; @cap bytes at @address, OBJM_INET_TEXT + 1 are enough. 0 or -EINVAL. */
int objm_inet_split(const char *pair, char *address, size_t cap, uint16_t *ret_port) objm_must_check;

/* Both in one. */
int objm_inet_parse_pair(const char *pair, struct objm_inet *ret) objm_must_check;

/* "ADDRESS:PORT" in @buf of OBJM_INET_PAIR bytes, which is returned. */
const char *objm_inet_format(const struct objm_inet *addr, char *buf);

/* Address, interface and port are the same. */
bool objm_inet_same(const struct objm_inet *a, const struct objm_inet *b);

#endif
