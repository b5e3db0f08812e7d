/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SOCKETS_H
#define OBJMAPPERD_SOCKETS_H
/*
 * The sockets that clients come to: those that systemd passed (sd_listen_fds(3)) if any, else those of the
 * configuration.
 */
#include "objmapperd/config.h"
#include "transport/unix.h"

struct listening {
        enum config_transport transport;
        int fd;                        /* borrowed from what follows, or owned where nothing does */
        struct objm_unix_listener file; /* Unix */
};

struct sockets {
        struct listening *listeners;
        size_t n;
        int *datagrams; /* UDP sockets; owned */
        size_t n_datagrams;
};

/* 0, or negative errno with @err set. */
int sockets_open(const struct config *config, struct sockets *ret, struct config_error *err) objm_must_check;
void sockets_close(struct sockets *s);

/* Says in the log where TCP and UDP listen: of port 0 the kernel has made another one. */
void sockets_log(const struct sockets *s);

#endif
