/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_H
#define OBJMAPPERD_CONFIG_H
/*
 * The configuration: const once built; a reload builds a new one and swaps it. Comes from built-in defaults, then the
 * libconfig file, then the command line. What is wrong in a file is said with file, line and key, and nothing of it is
 * used.
 */
#include "storage/store.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONFIG_DEFAULT_PATH    "/etc/objmapper/objmapperd.conf"
#define CONFIG_DEFAULT_ADDRESS "127.0.0.1"

enum config_model {
        CONFIG_MODEL_THREAD_POOL,
        CONFIG_MODEL_THREAD_PER_CONNECTION,
        CONFIG_MODEL_THREAD_PER_REQUEST,
};

enum config_transport {
        CONFIG_TRANSPORT_UNIX,
        CONFIG_TRANSPORT_TCP,
        CONFIG_TRANSPORT_UDP,
};

struct config_listen {
        enum config_transport transport;
        char *origin;   /* what to name in messages, "FILE:LINE" or the option; NULL: nothing */
        char *path;     /* Unix: the socket file */
        mode_t mode;    /* Unix: of the socket file */
        char *group;    /* Unix: its group, NULL: the daemon's */
        char *address;  /* others: numeric, IPv4 or IPv6; NULL: CONFIG_DEFAULT_ADDRESS */
        uint16_t port;  /* others: 0: the kernel chooses */
};

/* Users or groups by number; owned. */
struct config_ids {
        uint32_t *id;
        size_t n;
};

struct config {
        struct config_listen *listen;
        size_t n_listen;

        enum config_model model;
        unsigned pool_size, copy_pool_size; /* 0: one, or two, for each CPU the process may use */
        uint32_t max_queue_depth, max_connections, requests_per_connection;
        bool persistent, optimize_for_latency;

        uint64_t idle_ns, request_ns, drain_ns; /* 0: no limit */

        struct objm_export_config *exports; /* strings and lists owned */
        char **export_origin; /* of each export, as config_listen.origin */
        size_t n_exports;
        bool scan, watch;

        uint32_t uri_length, in_flight;
        uint32_t connections_per_uid;                              /* 0, here and below: no limit */
        uint32_t descriptors, descriptors_per_uid;                 /* not yet received by the client */
        uint32_t queued_bytes, queued_bytes_per_uid;               /* kernel memory of what it has not read */
        uint32_t requests_per_second, requests_per_second_per_uid;

        struct config_ids admin_gids; /* whose members may ask for control operations */

        bool ring_enabled;
        uint32_t ring_entries, ring_arena; /* powers of two */
        uint64_t ring_idle_ns;             /* 0: no limit */
        bool sandbox;

        char *http; /* where metrics are had by HTTP: a path or "ADDRESS:PORT"; NULL: nowhere */
        int log_level; /* as syslog(3): LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG */
};

/* Not for Unix sockets. */
static inline const char *config_listen_address(const struct config_listen *l)
{
        return l->address ? l->address : CONFIG_DEFAULT_ADDRESS;
}

/* What the command line says; NULL, 0 or -1 where it says nothing. Strings are argv's. */
struct options {
        const char *config_path; /* NULL: CONFIG_DEFAULT_PATH if it exists, else the defaults */
        const char *socket_path; /* this and `tcp` replace `listen` */
        char **tcp;              /* "ADDRESS:PORT" */
        size_t n_tcp;
        char **exports;          /* "PREFIX=DIR"; any replaces `exports` */
        size_t n_exports;
        int model;                     /* enum config_model or -1 */
        long pool_size, copy_pool_size; /* -1: not given */
        bool check_config, foreground, version, help;
};

/* Message for people about the first thing that is wrong: "FILE:LINE: key: what". */
struct config_error {
        char text[512];
};

/* 0, or -EINVAL with @err set. Nothing is printed. */
int options_parse(int argc, char **argv, struct options *ret, struct config_error *err);
void options_deinit(struct options *o);
const char *options_usage(void);

/* Builds defaults < file < options. 0, or negative errno with @err set. */
int config_load(const struct options *o, struct config **ret, struct config_error *err);
void config_free(struct config *c);

/* True when both have the same exports and index settings, so that the store can stay. */
bool config_same_store(const struct config *a, const struct config *b);

#endif
