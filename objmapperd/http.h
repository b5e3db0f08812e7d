/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_HTTP_H
#define OBJMAPPERD_HTTP_H
/*
 * GET /metrics: the numbers of STATS as OpenMetrics text, for whoever can connect. libmicrohttpd does the talking, in a
 * thread of its own; it is loaded when an endpoint is configured, so that others do not pay for it.
 */
#include "base/attr.h"
#include "objmapperd/server.h"

struct http;

/*
 * Loads and listens, before the sandbox closes. @endpoint: "ADDRESS:PORT", or the path of a socket (mode 0660). 0, or
 * negative errno: -ENOSYS without libmicrohttpd, -EINVAL not an endpoint, what bind(2) says. Port 0: the kernel chooses
 * one, which is logged.
 */
int http_open(const char *endpoint, struct http **ret) objm_must_check;

/* Begins to answer. 0 or negative errno. */
int http_serve(struct http *h, struct server *s) objm_must_check;

/* Before server_free(). NULL is fine. */
void http_stop(struct http *h);

#endif
