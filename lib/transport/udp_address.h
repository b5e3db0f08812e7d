/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_UDP_ADDRESS_H
#define OBJM_TRANSPORT_UDP_ADDRESS_H
/*
 * Address and port of one end of a datagram, IPv4 or IPv6. No names: nothing is looked up.
 */
#include "base/attr.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct objm_udp_address {
        union {
                sa_family_t family;
                struct sockaddr sa;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        };
        socklen_t len;
};

#define OBJM_UDP_ADDRESS_TEXT 64 /* room for "[ADDRESS]:PORT" of any kind */

/* A literal address without brackets. 0 or -EINVAL. */
int objm_udp_address_parse(const char *text, uint16_t port, struct objm_udp_address *ret) objm_must_check;

/* "ADDRESS:PORT", IPv6 in brackets, port 1 to 65535. 0 or -EINVAL. */
int objm_udp_address_parse_pair(const char *text, struct objm_udp_address *ret) objm_must_check;

void objm_udp_address_format(const struct objm_udp_address *a, char ret[OBJM_UDP_ADDRESS_TEXT]);

uint16_t objm_udp_address_port(const struct objm_udp_address *a);

/* One host's, as far as the address tells: neither unspecified nor of a group, nor of a class never given out. */
bool objm_udp_address_is_unicast(const struct objm_udp_address *a);

/*
 * May a datagram from there be answered at all? Only from one host and from a port that no service listens on by its
 * privilege (1024 and up), so that no two services can be made to answer each other. The broadcast addresses of this
 * machine's own networks are not known here; the kernel refuses to send there (EACCES, without SO_BROADCAST).
 */
bool objm_udp_address_answerable(const struct objm_udp_address *a);

#define OBJM_UDP_ADDRESS_IDENTITY 24
#define OBJM_UDP_ADDRESS_NETWORK  8

/* All that tells one sender from another, in a form for hashing: address, scope and port. */
void objm_udp_address_identity(const struct objm_udp_address *a, uint8_t ret[OBJM_UDP_ADDRESS_IDENTITY]);

/* What one owner is likely to have as a whole, in a form for hashing: the first 24 bits of IPv4, 56 of IPv6. */
void objm_udp_address_network(const struct objm_udp_address *a, uint8_t ret[OBJM_UDP_ADDRESS_NETWORK]);

#endif
