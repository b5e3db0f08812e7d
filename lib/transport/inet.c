/* SPDX-License-Identifier: MIT */
#include "transport/inet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

/* "fe80::1%eth0": which of the links, for the addresses that every link has. */
static int parse_v6(const char *address, struct sockaddr_in6 *ret)
{
        char digits[INET6_ADDRSTRLEN];
        size_t n = strcspn(address, "%");

        if (n >= sizeof(digits))
                return -EINVAL;
        memcpy(digits, address, n);
        digits[n] = '\0';
        if (inet_pton(AF_INET6, digits, &ret->sin6_addr) != 1)
                return -EINVAL;
        if (!address[n])
                return 0;
        ret->sin6_scope_id = if_nametoindex(address + n + 1);
        return ret->sin6_scope_id ? 0 : -ENODEV;
}

int objm_inet_parse(const char *address, uint16_t port, struct objm_inet *ret)
{
        struct objm_inet a;
        int r;

        memset(&a, 0, sizeof(a));
        if (strlen(address) > OBJM_INET_TEXT)
                return -EINVAL;
        if (inet_pton(AF_INET, address, &a.v4.sin_addr) == 1) {
                a.v4.sin_family = AF_INET;
                a.v4.sin_port = htons(port);
                a.len = sizeof(a.v4);
        } else {
                r = parse_v6(address, &a.v6);
                if (r < 0)
                        return r;
                a.v6.sin6_family = AF_INET6;
                a.v6.sin6_port = htons(port);
                a.len = sizeof(a.v6);
        }
        *ret = a;
        return 0;
}

static int parse_port(const char *text, uint16_t *ret)
{
        unsigned port = 0;
        size_t n = strspn(text, "0123456789");

        if (!n || n > 5 || text[n])
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                port = port * 10 + (unsigned)(text[i] - '0');
        if (port > UINT16_MAX)
                return -EINVAL;
        *ret = (uint16_t)port;
        return 0;
}

int objm_inet_split(const char *pair, char *address, size_t cap, uint16_t *ret_port)
{
        const char *colon = strrchr(pair, ':'), *from = pair, *end = colon;

        if (!colon)
                return -EINVAL;
        if (*pair == '[') {
                from++;
                end--;
                if (end <= from || *end != ']')
                        return -EINVAL;
        }
        /* without brackets the last colon may well be the address's own */
        if ((size_t)(end - from) >= cap || (*pair != '[') != !memchr(from, ':', (size_t)(end - from)))
                return -EINVAL;
        if (parse_port(colon + 1, ret_port) < 0)
                return -EINVAL;
        memcpy(address, from, (size_t)(end - from));
        address[end - from] = '\0';
        return 0;
}

int objm_inet_parse_pair(const char *pair, struct objm_inet *ret)
{
        char address[OBJM_INET_TEXT + 1];
        uint16_t port;
        int r = objm_inet_split(pair, address, sizeof(address), &port);

        return r < 0 ? r : objm_inet_parse(address, port, ret);
}

const char *objm_inet_format(const struct objm_inet *addr, char *buf)
{
        char digits[INET6_ADDRSTRLEN] = "", name[IF_NAMESIZE] = "";

        if (addr->any.sa_family == AF_INET) {
                inet_ntop(AF_INET, &addr->v4.sin_addr, digits, sizeof(digits));
                snprintf(buf, OBJM_INET_PAIR, "%s:%u", digits, ntohs(addr->v4.sin_port));
                return buf;
        }
        inet_ntop(AF_INET6, &addr->v6.sin6_addr, digits, sizeof(digits));
        if (addr->v6.sin6_scope_id && !if_indextoname(addr->v6.sin6_scope_id, name))
                snprintf(name, sizeof(name), "%u", addr->v6.sin6_scope_id);
        snprintf(buf, OBJM_INET_PAIR, "[%s%s%s]:%u", digits, *name ? "%" : "", name, ntohs(addr->v6.sin6_port));
        return buf;
}

bool objm_inet_same(const struct objm_inet *a, const struct objm_inet *b)
{
        return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}
