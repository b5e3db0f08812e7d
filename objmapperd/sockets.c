/* SPDX-License-Identifier: MIT */
#include "objmapperd/sockets.h"

#include "base/fd.h"
#include "objmapperd/log.h"
#include "transport/tcp.h"
#include "transport/udp.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

static int fail(struct config_error *err, int error, const char *what)
{
        snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(-error));
        return error;
}

/* The same about an entry of the configuration, with its place. */
static int fail_at(struct config_error *err, int error, const struct config_listen *l, const char *what)
{
        snprintf(err->text, sizeof(err->text), "%s%s%s: %s", l->origin ? l->origin : "", l->origin ? ": " : "", what,
                 strerror(-error));
        return error;
}

static int adopt_stream(int fd, struct listening *ret)
{
        int r = objm_unix_adopt_listener(fd, &ret->file);

        ret->fd = fd;
        ret->transport = CONFIG_TRANSPORT_UNIX;
        if (r == -EINVAL) {
                r = objm_tcp_adopt_listener(fd);
                ret->transport = CONFIG_TRANSPORT_TCP;
        }
        return r;
}

static int adopt(struct sockets *s, int fd, struct config_error *err)
{
        int r;

        if (sd_is_socket(fd, AF_UNSPEC, SOCK_DGRAM, -1) > 0) {
                r = objm_udp_adopt(fd);
                if (r == 0)
                        s->datagrams[s->n_datagrams++] = fd;
        } else {
                r = adopt_stream(fd, &s->listeners[s->n]);
                s->n += r == 0;
        }
        if (r < 0)
                return fail(err, r, "a socket passed by the service manager listens neither on Unix nor on TCP, and is "
                            "no UDP socket of one address");
        return 0;
}

static int open_unix(const struct config_listen *l, struct listening *ret, struct config_error *err)
{
        struct objm_unix_listen how = {.path = l->path, .mode = l->mode, .group = (gid_t)-1};
        struct group *gr;
        int r;

        if (l->group) {
                gr = getgrnam(l->group);
                if (!gr)
                        return fail_at(err, -ESRCH, l, l->group);
                how.group = gr->gr_gid;
        }
        r = objm_unix_listen(&how, &ret->file);
        ret->fd = ret->file.fd;
        return r < 0 ? fail_at(err, r, l, l->path) : 0;
}

static int open_tcp(const struct config_listen *l, struct listening *ret, struct config_error *err)
{
        char text[OBJM_INET_PAIR];
        struct objm_inet addr;
        int r = objm_inet_parse(config_listen_address(l), l->port, &addr);

        if (r < 0)
                return fail_at(err, r, l, config_listen_address(l));
        r = objm_tcp_listen(&addr, &ret->fd);
        return r < 0 ? fail_at(err, r, l, objm_inet_format(&addr, text)) : 0;
}

static int open_udp(const struct config_listen *l, int *ret_fd, struct config_error *err)
{
        char text[OBJM_INET_PAIR];
        struct objm_inet addr;
        int r = objm_inet_parse(config_listen_address(l), l->port, &addr);

        if (r < 0)
                return fail_at(err, r, l, config_listen_address(l));
        r = objm_udp_bind(&addr, ret_fd);
        return r < 0 ? fail_at(err, r, l, objm_inet_format(&addr, text)) : 0;
}

static int open_one(struct sockets *s, const struct config_listen *l, struct config_error *err)
{
        struct listening *next = &s->listeners[s->n];
        int r = -EINVAL;

        next->transport = l->transport;
        switch (l->transport) {
        case CONFIG_TRANSPORT_UNIX:
                r = open_unix(l, next, err);
                break;
        case CONFIG_TRANSPORT_TCP:
                r = open_tcp(l, next, err);
                break;
        case CONFIG_TRANSPORT_UDP:
                r = open_udp(l, &s->datagrams[s->n_datagrams], err);
                s->n_datagrams += r == 0;
                return r;
        }
        s->n += r == 0;
        return r;
}

int sockets_open(const struct config *config, struct sockets *ret, struct config_error *err)
{
        int passed = sd_listen_fds(1), r = passed < 0 ? fail(err, passed, "LISTEN_FDS") : 0;
        size_t n = passed > 0 ? (size_t)passed : config->n_listen;
        struct sockets s = {.listeners = calloc(n ? n : 1, sizeof(*s.listeners)),
                            .datagrams = calloc(n ? n : 1, sizeof(*s.datagrams))};

        if (!s.listeners || !s.datagrams)
                r = fail(err, -ENOMEM, "listen");
        for (size_t i = 0; r == 0 && i < n; i++)
                r = passed > 0 ? adopt(&s, SD_LISTEN_FDS_START + (int)i, err) : open_one(&s, &config->listen[i], err);
        if (r < 0) {
                sockets_close(&s);
                return r;
        }
        *ret = s;
        return 0;
}

void sockets_log(const struct sockets *s)
{
        char text[OBJM_INET_PAIR];
        struct objm_inet addr;

        for (size_t i = 0; i < s->n; i++)
                if (s->listeners[i].transport == CONFIG_TRANSPORT_TCP &&
                    objm_tcp_name(s->listeners[i].fd, &addr) == 0)
                        log_line(LOG_INFO, "listening on tcp://%s", objm_inet_format(&addr, text));
        for (size_t i = 0; i < s->n_datagrams; i++)
                if (objm_udp_name(s->datagrams[i], &addr) == 0)
                        log_line(LOG_INFO, "listening on udp://%s", objm_inet_format(&addr, text));
}

void sockets_close(struct sockets *s)
{
        for (size_t i = 0; i < s->n; i++) {
                struct listening *l = &s->listeners[i];

                if (l->transport == CONFIG_TRANSPORT_UNIX)
                        objm_unix_listener_deinit(&l->file);
                else
                        objm_fd_close(l->fd);
        }
        for (size_t i = 0; i < s->n_datagrams; i++)
                objm_fd_close(s->datagrams[i]);
        free(s->listeners);
        free(s->datagrams);
        *s = (struct sockets){0};
}
