/* SPDX-License-Identifier: MIT */
#include "objmapperd/listening.h"

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
#include <unistd.h>

#define GROUP_BITS 070

/* With the place of the entry in the configuration. */
static int fail_at(struct config_error *err, int error, const struct config_listen *l, const char *what)
{
        snprintf(err->text, sizeof(err->text), "%s%s%s: %s", l->origin ? l->origin : "", l->origin ? ": " : "", what,
                 strerror(-error));
        return error;
}

static int fail(struct config_error *err, int error, const char *what)
{
        return fail_at(err, error, &(struct config_listen){0}, what);
}

/* Of the socket file. Without a name it is the daemon's own. */
static int find_group(const struct config_listen *l, gid_t *ret, struct config_error *err)
{
        struct group *gr = l->group ? getgrnam(l->group) : NULL;

        if (l->group && !gr)
                return fail_at(err, -ESRCH, l, l->group);
        *ret = gr ? gr->gr_gid : getegid();
        return 0;
}

static int open_unix(const struct config_listen *l, struct listening *s, struct config_error *err)
{
        struct objm_unix_listen how = {.path = l->path, .mode = l->mode};
        int r = find_group(l, &s->group, err);

        if (r < 0)
                return r;
        how.group = l->group ? s->group : (gid_t)-1;
        s->mode = l->mode;
        r = objm_unix_listen(&how, &s->file);
        if (r < 0)
                return fail_at(err, r, l, l->path);
        s->fd = s->file.fd;
        return 0;
}

static int open_inet(const struct config_listen *l, struct listening *s, struct config_error *err)
{
        char text[OBJM_INET_PAIR];
        int r = objm_inet_parse(config_listen_address(l), l->port, &s->asked);

        if (r < 0)
                return fail_at(err, r, l, config_listen_address(l));
        r = l->transport == CONFIG_TRANSPORT_TCP ? objm_tcp_listen(&s->asked, &s->fd)
                                                 : objm_udp_bind(&s->asked, &s->fd);
        return r < 0 ? fail_at(err, r, l, objm_inet_format(&s->asked, text)) : 0;
}

static struct listening *allocate(enum config_transport transport)
{
        struct listening *s = calloc(1, sizeof(*s));

        if (s)
                *s = (struct listening){.transport = transport, .fd = -1, .file = {.fd = -1, .lock_fd = -1}};
        return s;
}

int listening_new(const struct config_listen *l, struct listening **ret, struct config_error *err)
{
        struct listening *s = allocate(l->transport);
        int r;

        if (!s)
                return fail_at(err, -ENOMEM, l, "listen");
        r = l->transport == CONFIG_TRANSPORT_UNIX ? open_unix(l, s, err) : open_inet(l, s, err);
        if (r < 0) {
                free(s);
                return r;
        }
        *ret = s;
        return 0;
}

static int adopt_stream(int fd, struct listening *s)
{
        int r = objm_unix_adopt_listener(fd, &s->file);

        if (r != -EINVAL)
                return r;
        s->transport = CONFIG_TRANSPORT_TCP;
        return objm_tcp_adopt_listener(fd);
}

static int adopt_datagrams(int fd, struct listening *s)
{
        s->transport = CONFIG_TRANSPORT_UDP;
        return objm_udp_adopt(fd);
}

int listening_adopt(int fd, struct listening **ret, struct config_error *err)
{
        struct listening *s = allocate(CONFIG_TRANSPORT_UNIX);
        int r;

        if (!s)
                return fail(err, -ENOMEM, "listen");
        r = sd_is_socket(fd, AF_UNSPEC, SOCK_DGRAM, -1) > 0 ? adopt_datagrams(fd, s) : adopt_stream(fd, s);
        if (r < 0) {
                free(s);
                return fail(err, r, "a socket passed by the service manager listens neither on Unix nor on TCP, and is "
                            "no UDP socket of one address");
        }
        s->fd = fd;
        *ret = s;
        return 0;
}

void listening_free(struct listening *s)
{
        if (!s)
                return;
        if (s->transport == CONFIG_TRANSPORT_UNIX)
                objm_unix_listener_deinit(&s->file);
        else
                objm_fd_close(s->fd);
        free(s);
}

static bool is_named(const struct listening *s, const struct objm_inet *addr)
{
        struct objm_inet name;
        int r = s->transport == CONFIG_TRANSPORT_TCP ? objm_tcp_name(s->fd, &name) : objm_udp_name(s->fd, &name);

        return r == 0 && objm_inet_same(addr, &name);
}

bool listening_is(const struct listening *s, const struct config_listen *l)
{
        struct objm_inet addr;

        if (s->transport != l->transport)
                return false;
        if (s->transport == CONFIG_TRANSPORT_UNIX)
                return s->file.path && strcmp(s->file.path, l->path) == 0;
        if (objm_inet_parse(config_listen_address(l), l->port, &addr) < 0)
                return false;
        return objm_inet_same(&addr, &s->asked) || is_named(s, &addr);
}

void listening_hide(struct listening *s)
{
        if (s->transport == CONFIG_TRANSPORT_UNIX)
                objm_unix_listener_hide(&s->file);
}

/* Mode first, then group: a new group does not get what the old one had. */
static int allow(struct listening *s, mode_t mode, gid_t group)
{
        return objm_unix_listener_allow(&s->file, mode, group);
}

void listening_undo(struct listening *s)
{
        if (s->narrowed && (allow(s, s->mode & ~(mode_t)GROUP_BITS, s->group) < 0 || allow(s, s->mode, (gid_t)-1) < 0))
                log_line(LOG_WARNING, "%s: its mode could not be set back", s->file.path);
        s->narrowed = false;
}

int listening_narrow(struct listening *s, const struct config_listen *l, struct config_error *err)
{
        mode_t mode;
        gid_t group;
        int r;

        if (s->transport != CONFIG_TRANSPORT_UNIX)
                return 0;
        r = find_group(l, &group, err);
        if (r < 0 || (s->mode == l->mode && s->group == group))
                return r;
        mode = s->mode & l->mode;
        s->narrowed = true;
        if (group == s->group)
                r = allow(s, mode, (gid_t)-1);
        else
                r = allow(s, mode & ~(mode_t)GROUP_BITS, group);
        if (r == 0)
                return 0;
        listening_undo(s);
        return fail_at(err, r, l, l->path);
}

void listening_settle(struct listening *s, const struct config_listen *l)
{
        struct config_error err;

        if (!s->narrowed)
                return;
        s->narrowed = false;
        s->mode = l->mode;
        (void)find_group(l, &s->group, &err);
        if (allow(s, s->mode, (gid_t)-1) < 0)
                log_line(LOG_WARNING, "%s: its mode could not be set", l->path);
}

void listening_log(const struct listening *s)
{
        char text[OBJM_INET_PAIR];
        struct objm_inet addr;

        if (s->transport == CONFIG_TRANSPORT_TCP && objm_tcp_name(s->fd, &addr) == 0)
                log_line(LOG_INFO, "listening on tcp://%s", objm_inet_format(&addr, text));
        if (s->transport == CONFIG_TRANSPORT_UDP && objm_udp_name(s->fd, &addr) == 0)
                log_line(LOG_INFO, "listening on udp://%s", objm_inet_format(&addr, text));
}
