/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_UDP_ADDRESS_H
#define OBJM_TRANSPORT_UDP_ADDRESS_H
/*
 * What matters of the address that a datagram came from.
 */
#include "transport/inet.h"
#include <stdbool.h>
#include <stdint.h>

uint16_t objm_udp_address_port(const struct objm_inet *a);

/* One host's, as far as the address tells: neither unspecified nor of a group, nor of a class never given out. */
bool objm_udp_address_is_unicast(const struct objm_inet *a);

/*
 * May a datagram from there be answered at all? Only from one host and from a port that no service listens on by its
 * privilege (1024 and up), so that no two services can be made to answer each other. The broadcast addresses of this
 * machine's own networks are not known here; the kernel refuses to send there (EACCES, without SO_BROADCAST).
 */
bool objm_udp_address_answerable(const struct objm_inet *a);

#define OBJM_UDP_ADDRESS_IDENTITY 24
#define OBJM_UDP_ADDRESS_NETWORK  8

/* All that tells one sender from another, in a form for hashing: address, scope and port. */
void objm_udp_address_identity(const struct objm_inet *a, uint8_t ret[OBJM_UDP_ADDRESS_IDENTITY]);

/* What one owner is likely to have as a whole, in a form for hashing: the first 24 bits of IPv4, 56 of IPv6. */
void objm_udp_address_network(const struct objm_inet *a, uint8_t ret[OBJM_UDP_ADDRESS_NETWORK]);

#endif
