/* SPDX-License-Identifier: MIT */
#include "objmapperd/reload.h"

#include "objmapperd/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void reload_explain(const struct config *config, size_t bad, int error, struct config_error *err)
{
        struct log_about about = {0};
        const char *origin;

        if (bad < config->n_exports) {
                origin = config->export_origin[bad];
                about = (struct log_about){.message = LOG_MESSAGE_EXPORT, .export = config->exports[bad].prefix};
                snprintf(err->text, sizeof(err->text), "%s%sexport %s: %s: %s", origin ? origin : "",
                         origin ? ": " : "", about.export, config->exports[bad].path, strerror(-error));
        } else {
                snprintf(err->text, sizeof(err->text), "the configuration cannot be used: %s", strerror(-error));
        }
        log_about_text(LOG_ERR, &about, err->text);
}

/* What threads have been started with. */
static const struct {
        const char *name;
        size_t offset, size;
} fixed[] = {
#define FIXED(name) {"concurrency." #name, offsetof(struct config, name), sizeof(((struct config *)0)->name)}
        FIXED(model), FIXED(pool_size), FIXED(copy_pool_size), FIXED(max_queue_depth), FIXED(optimize_for_latency),
};

static void say_what_is_fixed(const struct config *old, const struct config *new)
{
        for (size_t i = 0; i < objm_array_len(fixed); i++)
                if (memcmp((const char *)old + fixed[i].offset, (const char *)new + fixed[i].offset, fixed[i].size))
                        log_line(LOG_WARNING, "%s: changed, which takes a restart", fixed[i].name);
}

static const struct snapshot *current(struct server *server)
{
        return atomic_load_explicit(&server->snapshot, memory_order_relaxed);
}

static int swap(struct server *server, struct config *config, struct watch *watch, struct config_error *err)
{
        struct objm_store *old = current(server)->store;
        size_t bad = SIZE_MAX;
        int r;

        watch_set(watch, NULL);
        say_what_is_fixed(current(server)->config, config);
        r = server_reload(server, config, &bad);
        if (r < 0)
                reload_explain(config, bad, r, err);
        watch_set(watch, current(server)->store);
        if (current(server)->store != old)
                handover_leave_watch(objm_store_watch_fd(current(server)->store));
        return r;
}

/* On failure those before it are taken out again. */
static int add_new(struct server *server, const struct sockets_plan *p, struct config_error *err)
{
        int r = 0;
        size_t i;

        for (i = 0; r == 0 && i < p->n; i++)
                if (p->is_new[i])
                        r = server_add_socket(server, p->item[i]);
        if (r == 0)
                return 0;
        snprintf(err->text, sizeof(err->text), "listen: %s", strerror(-r));
        log_line(LOG_ERR, "%s", err->text);
        for (i--; i > 0; i--)
                if (p->is_new[i - 1])
                        server_remove_socket(server, p->item[i - 1]);
        return r;
}

static void remove_new(struct server *server, const struct sockets_plan *p)
{
        for (size_t i = 0; i < p->n; i++)
                if (p->is_new[i])
                        server_remove_socket(server, p->item[i]);
}

static void remove_gone(struct server *server, const struct sockets *s, const struct sockets_plan *p)
{
        for (size_t i = 0; i < s->n; i++) {
                if (!sockets_plan_lacks(p, s->item[i]))
                        continue;
                listening_hide(s->item[i]);
                server_remove_socket(server, s->item[i]);
        }
}

/* New sockets are served when the new exports are: they may be for other people than the old ones were. */
static void finish(struct server *server, struct sockets *sockets, struct sockets_plan *plan)
{
        int r;

        for (size_t i = 0; i < plan->n; i++)
                if (plan->is_new[i])
                        listening_log(plan->item[i]);
        remove_gone(server, sockets, plan);
        sockets_commit(sockets, plan);
        r = server_go(server);
        if (r < 0)
                log_line(LOG_ERR, "a new socket is not served: %s", strerror(-r));
}

/* Where metrics are had from now on, NULL: nowhere; until move_metrics(), at the old place too. */
static int add_metrics(const char *endpoint, struct server *server, struct http **ret, struct config_error *err)
{
        struct http *h = NULL;
        int r = endpoint ? http_open(endpoint, &h, err) : 0;

        if (h && r == 0)
                r = http_serve(h, server, err);
        if (r < 0) {
                log_line(LOG_ERR, "%s", err->text);
                http_stop(h);
                return r;
        }
        *ret = h;
        return 0;
}

static void move_metrics(struct http **http, struct http *to)
{
        if (!to)
                log_line(LOG_INFO, "no metrics by HTTP any more");
        http_stop(*http);
        *http = to;
}

/* The sockets that are new are prepared. On failure nothing has changed. */
static int change(const struct reload_of *of, struct config *config, struct config_error *err)
{
        bool moves = !http_is_at(*of->http, config->http);
        struct http *http = NULL;
        int r = moves ? add_metrics(config->http, of->server, &http, err) : 0;

        if (r < 0)
                return r;
        r = swap(of->server, config, of->watch, err);
        if (r < 0)
                http_stop(http);
        else if (moves)
                move_metrics(of->http, http);
        return r;
}

/* Takes @config on success. */
static int use(const struct reload_of *of, struct config *config, struct config_error *err)
{
        struct sockets_plan plan;
        int r = sockets_plan(of->sockets, config, &plan, err);

        if (r < 0) {
                log_line(LOG_ERR, "%s", err->text);
                return r;
        }
        r = add_new(of->server, &plan, err);
        if (r == 0) {
                r = change(of, config, err);
                if (r < 0)
                        remove_new(of->server, &plan);
        }
        if (r < 0) {
                sockets_drop(&plan);
                return r;
        }
        finish(of->server, of->sockets, &plan);
        log_set_level(config->log_level);
        return 0;
}

int reload(const struct reload_of *of, struct config_error *err)
{
        struct config *config;
        int r = config_load(of->options, &config, err);

        if (r < 0) {
                log_line(LOG_ERR, "%s", err->text);
        } else {
                r = use(of, config, err);
                if (r < 0)
                        config_free(config);
        }
        return r == 0 || r == -ENOMEM ? r : -EINVAL;
}
