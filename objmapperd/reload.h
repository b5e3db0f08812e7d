/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_RELOAD_H
#define OBJMAPPERD_RELOAD_H
/*
 * From one configuration to the next, in the main thread, while everything else runs: sockets that are new are
 * opened, those that are gone closed, the rest stays, and so it is with the place of metrics; exports, limits, timeouts
 * and the log's level change at once. All of it or nothing: what can fail is done first.
 */
#include "objmapperd/config.h"
#include "objmapperd/http.h"
#include "objmapperd/server.h"
#include "objmapperd/sockets.h"
#include "objmapperd/watch.h"

/* What it works on; borrowed. */
struct reload_of {
        const struct options *options;
        struct server *server;
        struct sockets *sockets;
        struct watch *watch;
        struct http **http;
};

/* 0; -EINVAL: the configuration cannot be used, -ENOMEM; then nothing has changed, and @err and the log say why. */
int reload(const struct reload_of *of, struct config_error *err) objm_must_check;

/* Says in @err and in the log what became of an attempt to use @config; @bad as of server_new(). */
void reload_explain(const struct config *config, size_t bad, int error, struct config_error *err);

#endif
