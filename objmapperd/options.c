/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "config_schema.h"
#include "units.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
        OPTION_CONFIG = 256,
        OPTION_SOCKET,
        OPTION_TCP,
        OPTION_EXPORT,
        OPTION_MODEL,
        OPTION_POOL_SIZE,
        OPTION_COPY_POOL_SIZE,
        OPTION_CHECK_CONFIG,
        OPTION_FOREGROUND,
        OPTION_VERSION,
        OPTION_HELP,
};

static const struct option long_options[] = {
        {"config", required_argument, NULL, OPTION_CONFIG},
        {"socket", required_argument, NULL, OPTION_SOCKET},
        {"tcp", required_argument, NULL, OPTION_TCP},
        {"export", required_argument, NULL, OPTION_EXPORT},
        {"concurrency-model", required_argument, NULL, OPTION_MODEL},
        {"pool-size", required_argument, NULL, OPTION_POOL_SIZE},
        {"copy-pool-size", required_argument, NULL, OPTION_COPY_POOL_SIZE},
        {"check-config", no_argument, NULL, OPTION_CHECK_CONFIG},
        {"foreground", no_argument, NULL, OPTION_FOREGROUND},
        {"version", no_argument, NULL, OPTION_VERSION},
        {"help", no_argument, NULL, OPTION_HELP},
        {NULL, 0, NULL, 0},
};

static const char usage[] =
        "Usage: objmapperd [OPTION]...\n"
        "Maps URIs to files and hands clients open read-only descriptors over a Unix socket,\n"
        "or their bytes over that and TCP.\n"
        "\n"
        "  --config FILE              configuration (default " CONFIG_DEFAULT_PATH ", if it exists)\n"
        "  --socket PATH              listen there, instead of on what the file says\n"
        "  --tcp ADDRESS:PORT         listen there, for objects as bytes; may be repeated, also beside\n"
        "                             --socket; instead of on what the file says\n"
        "  --export PREFIX=DIR        serve DIR below PREFIX, which ends in \"/\"; may be repeated;\n"
        "                             replaces the exports of the file\n"
        "  --concurrency-model MODEL  thread-pool, thread-per-connection or thread-per-request\n"
        "  --pool-size N              worker threads, 0: one for each CPU\n"
        "  --copy-pool-size N         threads that may wait for the disk, 0: two for each CPU\n"
        "  --check-config             check the configuration and leave: 0 if it is good, else 1\n"
        "  --foreground               log to standard error even where that is the journal\n"
        "  --version                  print the version and leave\n"
        "  --help                     print this and leave\n"
        "\n"
        "Signals: SIGTERM and SIGINT drain and leave, SIGHUP reads the configuration again.\n"
        "See objmapperd(8) and objmapperd.conf(5).\n";

const char *options_usage(void)
{
        return usage;
}

static const struct config_key *concurrency_key(const char *name)
{
        return config_schema_key(config_schema_group("concurrency"), name);
}

static int parse_pool(const char *option, const char *key_name, long *ret, struct config_error *err)
{
        const struct config_key *key = concurrency_key(key_name);
        uint64_t value;

        if (units_parse_number(optarg, &value) < 0 || value < key->min || value > key->max) {
                snprintf(err->text, sizeof(err->text), "%s %s: must be %u to %u", option, optarg, key->min, key->max);
                return -EINVAL;
        }
        *ret = (long)value;
        return 0;
}

static int parse_model(int *ret, struct config_error *err)
{
        const struct config_choice *choice = config_choice_find(concurrency_key("model")->choices, optarg);

        if (!choice) {
                snprintf(err->text, sizeof(err->text), "--concurrency-model %s: no such model: "
                         "thread-pool, thread-per-connection or thread-per-request", optarg);
                return -EINVAL;
        }
        *ret = choice->value;
        return 0;
}

/* For an option that may be repeated. */
static int append(char ***list, size_t *n, struct config_error *err)
{
        char **p = reallocarray(*list, *n + 1, sizeof(*p));

        if (!p) {
                snprintf(err->text, sizeof(err->text), "out of memory");
                return -ENOMEM;
        }
        *list = p;
        p[(*n)++] = optarg;
        return 0;
}

/* getopt_long(3) gave '?' or ':' for argv[@at]. */
static int refuse(int c, char **argv, int at, struct config_error *err)
{
        snprintf(err->text, sizeof(err->text), "%s: %s", argv[at],
                 c == ':' ? "needs a value" : "unknown option, or a value that it does not take; see --help");
        return -EINVAL;
}

static int apply(int c, struct options *o, struct config_error *err)
{
        switch (c) {
        case OPTION_CONFIG:
                o->config_path = optarg;
                return 0;
        case OPTION_SOCKET:
                o->socket_path = optarg;
                return 0;
        case OPTION_TCP:
                return append(&o->tcp, &o->n_tcp, err);
        case OPTION_EXPORT:
                return append(&o->exports, &o->n_exports, err);
        case OPTION_MODEL:
                return parse_model(&o->model, err);
        case OPTION_POOL_SIZE:
                return parse_pool("--pool-size", "pool_size", &o->pool_size, err);
        case OPTION_COPY_POOL_SIZE:
                return parse_pool("--copy-pool-size", "copy_pool_size", &o->copy_pool_size, err);
        case OPTION_CHECK_CONFIG:
                o->check_config = true;
                return 0;
        case OPTION_FOREGROUND:
                o->foreground = true;
                return 0;
        case OPTION_VERSION:
                o->version = true;
                return 0;
        default:
                o->help = true;
                return 0;
        }
}

static int parse(int argc, char **argv, struct options *o, struct config_error *err)
{
        optind = 0; /* glibc: start anew, so that parsing twice works */
        opterr = 0;
        for (;;) {
                int at = optind > 0 ? optind : 1, r;
                int c = getopt_long(argc, argv, "+:", long_options, NULL);

                if (c == -1)
                        break;
                r = c == '?' || c == ':' ? refuse(c, argv, at, err) : apply(c, o, err);
                if (r < 0)
                        return r;
        }
        if (optind < argc) {
                snprintf(err->text, sizeof(err->text), "%s: takes no arguments besides options", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct config_error *err)
{
        struct options o = {.model = -1, .pool_size = -1, .copy_pool_size = -1};
        int r = parse(argc, argv, &o, err);

        if (r < 0) {
                options_deinit(&o);
                return r;
        }
        *ret = o;
        return 0;
}

void options_deinit(struct options *o)
{
        free(o->exports);
        free(o->tcp);
        *o = (struct options){.model = -1, .pool_size = -1, .copy_pool_size = -1};
}
