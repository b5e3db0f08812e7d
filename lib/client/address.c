/* SPDX-License-Identifier: MIT */
#include "client/address.h"

#include <errno.h>
#include <string.h>

#define TCP  "tcp://"
#define UNIX "unix://"

int objm_address_parse(const char *text, struct objm_address *ret)
{
        struct objm_address a = {.tcp = strncmp(text, TCP, strlen(TCP)) == 0};
        int r;

        if (a.tcp) {
                r = objm_inet_parse_pair(text + strlen(TCP), &a.inet);
                if (r < 0)
                        return r;
                if (!a.inet.v4.sin_port) /* where that of IPv6 is, too */
                        return -EINVAL;
        } else {
                a.path = strncmp(text, UNIX, strlen(UNIX)) == 0 ? text + strlen(UNIX) : text;
        }
        *ret = a;
        return 0;
}
