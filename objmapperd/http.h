/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_HTTP_H
#define OBJMAPPERD_HTTP_H
/*
 * GET /metrics: the numbers of STATS as OpenMetrics text, for whoever can connect. libmicrohttpd does the talking, in a
 * thread of its own; it is loaded when an endpoint is configured, so that others do not pay for it.
 */
#include "base/attr.h"
#include "objmapperd/config.h"
#include "objmapperd/server.h"

struct http;

/*
 * Loads and listens. @endpoint: "ADDRESS:PORT", or the path of a socket (mode 0660). 0, or negative errno, which @err
 * explains: -ENOSYS without libmicrohttpd, -EINVAL not an endpoint, what bind(2) says. Port 0: the kernel chooses one.
 */
int http_open(const char *endpoint, struct http **ret, struct config_error *err) objm_must_check;

/* Begins to answer, and logs where. 0 or negative errno, which @err explains. */
int http_serve(struct http *h, struct server *s, struct config_error *err) objm_must_check;

/* Is @h what @endpoint asks for? NULL is nothing, for both. */
bool http_is_at(const struct http *h, const char *endpoint);

/* Before server_free(). NULL is fine. */
void http_stop(struct http *h);

#endif
