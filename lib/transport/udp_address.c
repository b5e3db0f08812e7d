/* SPDX-License-Identifier: MIT */
#include "transport/udp_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FIRST_FREE_PORT 1024

int objm_udp_address_parse(const char *text, uint16_t port, struct objm_udp_address *ret)
{
        struct objm_udp_address a = {.len = sizeof(a.in)};

        if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1) {
                a.in.sin_family = AF_INET;
                a.in.sin_port = htons(port);
        } else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1) {
                a.in6.sin6_family = AF_INET6;
                a.in6.sin6_port = htons(port);
                a.len = sizeof(a.in6);
        } else {
                return -EINVAL;
        }
        *ret = a;
        return 0;
}

static int parse_port(const char *text, uint16_t *ret)
{
        unsigned port = 0;

        if (!*text || strlen(text) > 5 || text[strspn(text, "0123456789")])
                return -EINVAL;
        for (; *text; text++)
                port = port * 10 + (unsigned)(*text - '0');
        if (port < 1 || port > UINT16_MAX)
                return -EINVAL;
        *ret = (uint16_t)port;
        return 0;
}

int objm_udp_address_parse_pair(const char *text, struct objm_udp_address *ret)
{
        const char *colon = strrchr(text, ':'), *end = colon;
        char host[INET6_ADDRSTRLEN];
        struct objm_udp_address a;
        uint16_t port;
        int brackets;

        if (!colon || parse_port(colon + 1, &port) < 0)
                return -EINVAL;
        brackets = *text == '[' && colon > text + 1 && colon[-1] == ']';
        text += brackets;
        end -= brackets;
        if ((size_t)(end - text) >= sizeof(host))
                return -EINVAL;
        memcpy(host, text, (size_t)(end - text));
        host[end - text] = 0;
        if (objm_udp_address_parse(host, port, &a) < 0 || (a.family == AF_INET6) != brackets)
                return -EINVAL;
        *ret = a;
        return 0;
}

uint16_t objm_udp_address_port(const struct objm_udp_address *a)
{
        return ntohs(a->family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

void objm_udp_address_format(const struct objm_udp_address *a, char ret[OBJM_UDP_ADDRESS_TEXT])
{
        char host[INET6_ADDRSTRLEN] = "?";

        if (a->family == AF_INET)
                inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
        else
                inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
        snprintf(ret, OBJM_UDP_ADDRESS_TEXT, a->family == AF_INET ? "%s:%u" : "[%s]:%u", host,
                 (unsigned)objm_udp_address_port(a));
}

/* 0/8 is this network, 224/4 are groups, 240/4 is reserved and ends in the broadcast address (RFC 6890). */
static bool is_unicast4(uint32_t host_order)
{
        return host_order >> 24 && host_order >> 28 < 0xe;
}

bool objm_udp_address_is_unicast(const struct objm_udp_address *a)
{
        const struct in6_addr *in6 = &a->in6.sin6_addr;
        uint32_t mapped;

        if (a->family == AF_INET)
                return is_unicast4(ntohl(a->in.sin_addr.s_addr));
        if (a->family != AF_INET6)
                return false;
        if (!IN6_IS_ADDR_V4MAPPED(in6))
                return !IN6_IS_ADDR_MULTICAST(in6) && !IN6_IS_ADDR_UNSPECIFIED(in6);
        memcpy(&mapped, in6->s6_addr + 12, sizeof(mapped));
        return is_unicast4(ntohl(mapped));
}

bool objm_udp_address_answerable(const struct objm_udp_address *a)
{
        return objm_udp_address_is_unicast(a) && objm_udp_address_port(a) >= FIRST_FREE_PORT;
}

void objm_udp_address_identity(const struct objm_udp_address *a, uint8_t ret[OBJM_UDP_ADDRESS_IDENTITY])
{
        memset(ret, 0, OBJM_UDP_ADDRESS_IDENTITY);
        ret[0] = (uint8_t)a->family;
        if (a->family == AF_INET) {
                memcpy(ret + 2, &a->in.sin_port, 2);
                memcpy(ret + 4, &a->in.sin_addr, 4);
        } else {
                memcpy(ret + 2, &a->in6.sin6_port, 2);
                memcpy(ret + 4, &a->in6.sin6_addr, 16);
                memcpy(ret + 20, &a->in6.sin6_scope_id, 4);
        }
}

void objm_udp_address_network(const struct objm_udp_address *a, uint8_t ret[OBJM_UDP_ADDRESS_NETWORK])
{
        memset(ret, 0, OBJM_UDP_ADDRESS_NETWORK);
        ret[0] = (uint8_t)a->family;
        if (a->family == AF_INET)
                memcpy(ret + 1, &a->in.sin_addr, 3);
        else
                memcpy(ret + 1, &a->in6.sin6_addr, 7);
}
