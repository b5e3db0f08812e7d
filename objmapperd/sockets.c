/* SPDX-License-Identifier: MIT */
#include "objmapperd/sockets.h"

#include "base/fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static int fail(struct config_error *err, int error, const char *what)
{
        snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(-error));
        return error;
}

static int keep(int fd, int *which)
{
        objm_fd_close(*which);
        *which = fd;
        return 0;
}

/* Descriptors come in no order, and beside the sockets are those of the store. */
static int adopt(struct sockets *s, int fd, const char *name, struct config_error *err)
{
        int r, unwanted objm_cleanup(objm_fd_closep) = -1;

        if (strcmp(name, HANDOVER_CONNECTIONS_NAME) == 0) {
                s->stored.queues[s->stored.n_queues++] = fd;
                return 0;
        }
        if (strcmp(name, HANDOVER_IMAGE_NAME) == 0)
                return keep(fd, &s->stored.image_fd);
        if (strcmp(name, HANDOVER_WATCH_NAME) == 0)
                return keep(fd, handover_is_watch(fd) ? &s->stored.watch_fd : &unwanted);
        s->passed = true;
        r = listening_adopt(fd, &s->item[s->n], err);
        s->n += r == 0;
        return r;
}

static int adopt_all(size_t n, char *const *names, struct sockets *s, struct config_error *err)
{
        int r = 0;

        s->item = calloc(n, sizeof(struct listening *));
        s->stored.queues = calloc(n, sizeof(int));
        if (!s->item || !s->stored.queues)
                return fail(err, -ENOMEM, "listen");
        for (size_t i = 0; r == 0 && i < n; i++)
                r = adopt(s, SD_LISTEN_FDS_START + (int)i, names[i], err);
        return r;
}

static void free_names(char **names, size_t n)
{
        for (size_t i = 0; names && i < n; i++)
                free(names[i]);
        free(names);
}

int sockets_open(const struct config *config, struct sockets *ret, struct config_error *err)
{
        struct sockets s = {.stored = HANDOVER_STORED_INIT};
        struct sockets_plan plan;
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names), r = 0;

        if (n < 0)
                return fail(err, n, "LISTEN_FDS");
        if (n > 0)
                r = adopt_all((size_t)n, names, &s, err);
        free_names(names, (size_t)n);
        if (r == 0 && !s.passed) {
                r = sockets_plan(&s, config, &plan, err);
                if (r == 0)
                        sockets_commit(&s, &plan);
        }
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
                listening_free(s->item[i]);
        free(s->item);
        handover_forget(&s->stored);
        *s = (struct sockets){.stored = HANDOVER_STORED_INIT};
}

static bool has(struct listening *const *item, size_t n, const struct listening *socket)
{
        for (size_t i = 0; i < n; i++)
                if (item[i] == socket)
                        return true;
        return false;
}

bool sockets_plan_lacks(const struct sockets_plan *p, const struct listening *socket)
{
        return !p->passed && !has(p->item, p->n, socket);
}

/* What is there already, and not yet taken: two entries may ask for port 0 of one address. */
static struct listening *find(const struct sockets *s, const struct sockets_plan *p, const struct config_listen *l)
{
        for (size_t i = 0; i < s->n; i++)
                if (listening_is(s->item[i], l) && !has(p->item, p->n, s->item[i]))
                        return s->item[i];
        return NULL;
}

static int plan_one(const struct sockets *s, struct sockets_plan *p, struct config_error *err)
{
        const struct config_listen *l = &p->config->listen[p->n];
        struct listening *kept = find(s, p, l);
        int r = kept ? listening_narrow(kept, l, err) : listening_new(l, &p->item[p->n], err);

        if (r < 0)
                return r;
        if (kept)
                p->item[p->n] = kept;
        p->is_new[p->n] = !kept;
        p->n++;
        return 0;
}

int sockets_plan(const struct sockets *s, const struct config *config, struct sockets_plan *ret,
                 struct config_error *err)
{
        size_t n = s->passed ? 0 : config->n_listen;
        struct sockets_plan p = {.config = config, .passed = s->passed};
        int r = 0;

        p.item = calloc(n + 1, sizeof(struct listening *));
        p.is_new = calloc(n + 1, sizeof(bool));
        if (!p.item || !p.is_new)
                r = fail(err, -ENOMEM, "listen");
        while (r == 0 && p.n < n)
                r = plan_one(s, &p, err);
        if (r < 0) {
                sockets_drop(&p);
                return r;
        }
        *ret = p;
        return 0;
}

static void plan_deinit(struct sockets_plan *p)
{
        free(p->item);
        free(p->is_new);
        *p = (struct sockets_plan){0};
}

void sockets_commit(struct sockets *s, struct sockets_plan *p)
{
        struct listening **old = s->item;

        if (!p->passed) {
                for (size_t i = 0; i < p->n; i++)
                        listening_settle(p->item[i], &p->config->listen[i]);
                for (size_t i = 0; i < s->n; i++)
                        if (sockets_plan_lacks(p, old[i]))
                                listening_free(old[i]);
                s->item = p->item;
                s->n = p->n;
                p->item = old;
        }
        plan_deinit(p);
}

void sockets_drop(struct sockets_plan *p)
{
        for (size_t i = 0; i < p->n; i++) {
                if (p->is_new[i])
                        listening_free(p->item[i]);
                else
                        listening_undo(p->item[i]);
        }
        plan_deinit(p);
}
