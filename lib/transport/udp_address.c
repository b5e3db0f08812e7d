/* SPDX-License-Identifier: MIT */
#include "transport/udp_address.h"

#include <string.h>

#define FIRST_FREE_PORT 1024

uint16_t objm_udp_address_port(const struct objm_inet *a)
{
        return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

/* 0/8 is this network, 224/4 are groups, 240/4 is reserved and ends in the broadcast address (RFC 6890). */
static bool is_unicast4(uint32_t host_order)
{
        return host_order >> 24 && host_order >> 28 < 0xe;
}

bool objm_udp_address_is_unicast(const struct objm_inet *a)
{
        const struct in6_addr *in6 = &a->v6.sin6_addr;
        uint32_t mapped;

        if (a->any.sa_family == AF_INET)
                return is_unicast4(ntohl(a->v4.sin_addr.s_addr));
        if (a->any.sa_family != AF_INET6)
                return false;
        if (!IN6_IS_ADDR_V4MAPPED(in6))
                return !IN6_IS_ADDR_MULTICAST(in6) && !IN6_IS_ADDR_UNSPECIFIED(in6);
        memcpy(&mapped, in6->s6_addr + 12, sizeof(mapped));
        return is_unicast4(ntohl(mapped));
}

bool objm_udp_address_answerable(const struct objm_inet *a)
{
        return objm_udp_address_is_unicast(a) && objm_udp_address_port(a) >= FIRST_FREE_PORT;
}

void objm_udp_address_identity(const struct objm_inet *a, uint8_t ret[OBJM_UDP_ADDRESS_IDENTITY])
{
        memset(ret, 0, OBJM_UDP_ADDRESS_IDENTITY);
        ret[0] = (uint8_t)a->any.sa_family;
        if (a->any.sa_family == AF_INET) {
                memcpy(ret + 2, &a->v4.sin_port, 2);
                memcpy(ret + 4, &a->v4.sin_addr, 4);
        } else {
                memcpy(ret + 2, &a->v6.sin6_port, 2);
                memcpy(ret + 4, &a->v6.sin6_addr, 16);
                memcpy(ret + 20, &a->v6.sin6_scope_id, 4);
        }
}

void objm_udp_address_network(const struct objm_inet *a, uint8_t ret[OBJM_UDP_ADDRESS_NETWORK])
{
        memset(ret, 0, OBJM_UDP_ADDRESS_NETWORK);
        ret[0] = (uint8_t)a->any.sa_family;
        if (a->any.sa_family == AF_INET)
                memcpy(ret + 1, &a->v4.sin_addr, 3);
        else
                memcpy(ret + 1, &a->v6.sin6_addr, 7);
}
