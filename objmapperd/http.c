/* SPDX-License-Identifier: MIT */
#include "objmapperd/http.h"

#include "base/fd.h"
#include "objmapperd/log.h"
#include "objmapperd/stats.h"
#include "transport/inet.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int explain(const char *endpoint, int error, struct config_error *err)
{
        if (error == -ENOSYS)
                snprintf(err->text, sizeof(err->text), "metrics.http: libmicrohttpd is not there");
        else
                snprintf(err->text, sizeof(err->text), "metrics.http: %s: %s", endpoint, strerror(-error));
        return error;
}

#if __has_include(<microhttpd.h>)
#include <microhttpd.h>

#define LIBRARY        "libmicrohttpd.so.12"
#define CONTENT_TYPE   "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define CONNECTIONS    16u
#define TIMEOUT_S      10u
#define MEMORY_EACH    ((size_t)16 * 1024)

struct http {
        struct server *server;
        void *library;
        __typeof__(&MHD_start_daemon) start;
        __typeof__(&MHD_stop_daemon) stop;
        __typeof__(&MHD_create_response_from_buffer) response;
        __typeof__(&MHD_add_response_header) add_header;
        __typeof__(&MHD_queue_response) queue;
        __typeof__(&MHD_destroy_response) destroy;
        struct MHD_Daemon *daemon;
        struct objm_unix_listener local; /* fd -1: none */
        int tcp_fd;
        char *endpoint; /* as configured */
};

/* ---- in the library's thread ---- */

static enum MHD_Result answer(struct http *h, struct MHD_Connection *c, unsigned status, char *text, size_t len,
                              enum MHD_ResponseMemoryMode mode)
{
        struct MHD_Response *r = h->response(len, text, mode);
        enum MHD_Result done;

        if (!r) {
                if (mode == MHD_RESPMEM_MUST_FREE)
                        free(text);
                return MHD_NO;
        }
        (void)h->add_header(r, "Content-Type", status == MHD_HTTP_OK ? CONTENT_TYPE : "text/plain; charset=utf-8");
        done = h->queue(c, status, r);
        h->destroy(r);
        return done;
}

static enum MHD_Result say(struct http *h, struct MHD_Connection *c, unsigned status, const char *text)
{
        return answer(h, c, status, (char *)text, strlen(text), MHD_RESPMEM_MUST_COPY);
}

static int print(struct server *s, char **ret, size_t *ret_len)
{
        struct objm_qsbr_reader reader;
        int r;

        objm_qsbr_register(s->qsbr, &reader);
        objm_qsbr_online(&reader);
        r = stats_print(s, server_snapshot(s), OBJM_V3_STATS_TEXT, ret, ret_len);
        objm_qsbr_unregister(&reader);
        objm_qsbr_poll(s->qsbr);
        return r;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state)
{
        struct http *h = userdata;
        size_t len;
        char *text;

        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
                return say(h, c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        if (strcmp(url, "/metrics") != 0)
                return say(h, c, MHD_HTTP_NOT_FOUND, "see /metrics\n");
        if (print(h->server, &text, &len) < 0)
                return say(h, c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
        return answer(h, c, MHD_HTTP_OK, text, len, MHD_RESPMEM_MUST_FREE);
}

/* ---- in the main thread ---- */

static int load(struct http *h)
{
        h->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (!h->library)
                return -ENOSYS;
        h->start = (__typeof__(h->start))dlsym(h->library, "MHD_start_daemon");
        h->stop = (__typeof__(h->stop))dlsym(h->library, "MHD_stop_daemon");
        h->response = (__typeof__(h->response))dlsym(h->library, "MHD_create_response_from_buffer");
        h->add_header = (__typeof__(h->add_header))dlsym(h->library, "MHD_add_response_header");
        h->queue = (__typeof__(h->queue))dlsym(h->library, "MHD_queue_response");
        h->destroy = (__typeof__(h->destroy))dlsym(h->library, "MHD_destroy_response");
        return h->start && h->stop && h->response && h->add_header && h->queue && h->destroy ? 0 : -ENOSYS;
}

static int listen_at(struct http *h, const char *endpoint)
{
        struct objm_unix_listen how = {.path = endpoint, .mode = 0660, .group = (gid_t)-1};
        struct objm_inet addr;
        int r;

        if (endpoint[0] == '/') {
                r = objm_unix_listen(&how, &h->local);
                if (r < 0)
                        h->local.fd = -1;
                return r;
        }
        r = objm_inet_parse_pair(endpoint, &addr);
        return r == 0 ? objm_tcp_listen(&addr, &h->tcp_fd) : r;
}

static void say_where(const struct http *h)
{
        char text[OBJM_INET_PAIR];
        struct objm_inet addr;

        if (h->tcp_fd < 0)
                log_line(LOG_INFO, "metrics at %s", h->endpoint);
        else if (objm_tcp_name(h->tcp_fd, &addr) == 0)
                log_line(LOG_INFO, "metrics at http://%s/metrics", objm_inet_format(&addr, text));
}

/* The library closes what it listens on, hence a descriptor of its own. */
int http_serve(struct http *h, struct server *s, struct config_error *err)
{
        int fd = fcntl(h->tcp_fd >= 0 ? h->tcp_fd : h->local.fd, F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
                return explain(h->endpoint, -errno, err);
        h->server = s;
        h->daemon = h->start(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, h,
                             MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
                             MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_EACH,
                             MHD_OPTION_END);
        if (!h->daemon) {
                objm_fd_close(fd);
                return explain(h->endpoint, -ENOMEM, err);
        }
        say_where(h);
        return 0;
}

int http_open(const char *endpoint, struct http **ret, struct config_error *err)
{
        struct http *h = calloc(1, sizeof(*h));
        int r;

        if (!h)
                return explain(endpoint, -ENOMEM, err);
        h->local.fd = h->local.lock_fd = h->tcp_fd = -1;
        h->endpoint = strdup(endpoint);
        r = h->endpoint ? load(h) : -ENOMEM;
        if (r == 0)
                r = listen_at(h, endpoint);
        if (r < 0) {
                http_stop(h);
                return explain(endpoint, r, err);
        }
        *ret = h;
        return 0;
}

bool http_is_at(const struct http *h, const char *endpoint)
{
        return h && endpoint ? strcmp(h->endpoint, endpoint) == 0 : !h && !endpoint;
}

void http_stop(struct http *h)
{
        if (!h)
                return;
        if (h->daemon)
                h->stop(h->daemon);
        if (h->local.fd >= 0)
                objm_unix_listener_deinit(&h->local);
        objm_fd_close(h->tcp_fd);
        if (h->library)
                dlclose(h->library);
        free(h->endpoint);
        free(h);
}

#else

int http_open(const char *endpoint, struct http **ret, struct config_error *err)
{
        return explain(endpoint, -ENOSYS, err);
}

int http_serve(struct http *h, struct server *s, struct config_error *err)
{
        return explain("", -ENOSYS, err);
}

bool http_is_at(const struct http *h, const char *endpoint)
{
        return !endpoint;
}

void http_stop(struct http *h)
{
}

#endif
