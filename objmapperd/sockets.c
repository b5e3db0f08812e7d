/* SPDX-License-Identifier: MIT */
#include "objmapperd/sockets.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static int fail(struct config_error *err, int error, const char *what)
{
        snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(-error));
        return error;
}

static int adopt(int fd, struct objm_unix_listener *ret, struct config_error *err)
{
        int r = objm_unix_adopt_listener(fd, ret);

        return r < 0 ? fail(err, r, "a socket passed by the service manager is no listening Unix stream socket") : 0;
}

static int open_one(const struct config_listen *l, struct objm_unix_listener *ret, struct config_error *err)
{
        struct objm_unix_listen how = {.path = l->path, .mode = l->mode, .group = (gid_t)-1};
        struct group *gr;
        int r;

        if (l->group) {
                gr = getgrnam(l->group);
                if (!gr)
                        return fail(err, -ESRCH, l->group);
                how.group = gr->gr_gid;
        }
        r = objm_unix_listen(&how, ret);
        return r < 0 ? fail(err, r, l->path) : 0;
}

int sockets_open(const struct config *config, struct sockets *ret, struct config_error *err)
{
        int passed = sd_listen_fds(1), r = passed < 0 ? fail(err, passed, "LISTEN_FDS") : 0;
        size_t n = passed > 0 ? (size_t)passed : config->n_listen;
        struct sockets s = {.listeners = calloc(n ? n : 1, sizeof(*s.listeners))};

        if (!s.listeners)
                return fail(err, -ENOMEM, "listen");
        for (; r == 0 && s.n < n; s.n += r == 0)
                r = passed > 0 ? adopt(SD_LISTEN_FDS_START + (int)s.n, &s.listeners[s.n], err)
                               : open_one(&config->listen[s.n], &s.listeners[s.n], err);
        if (r < 0) {
                sockets_close(&s);
                return r;
        }
        *ret = s;
        return 0;
}

void sockets_close(struct sockets *s)
{
        for (size_t i = 0; i < s->n; i++)
                objm_unix_listener_deinit(&s->listeners[i]);
        free(s->listeners);
        *s = (struct sockets){0};
}
