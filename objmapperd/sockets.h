/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SOCKETS_H
#define OBJMAPPERD_SOCKETS_H
/*
 * The listening sockets: those that systemd passed (sd_listen_fds(3)) if any, else those of the configuration.
 */
#include "objmapperd/config.h"
#include "transport/unix.h"

struct sockets {
        struct objm_unix_listener *listeners;
        size_t n;
};

/* 0, or negative errno with @err set. */
int sockets_open(const struct config *config, struct sockets *ret, struct config_error *err) objm_must_check;
void sockets_close(struct sockets *s);

#endif
