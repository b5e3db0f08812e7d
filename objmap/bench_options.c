/* SPDX-License-Identifier: MIT */
#include "objmap/bench.h"

#include "base/clock.h"

#include <string.h>

#define THREADS_MAX 1024
#define MODE_UNSET  ((enum bench_mode)-1)

enum {
        OPT_CONNECTIONS = 1,
        OPT_DEPTH,
        OPT_THREADS,
        OPT_DURATION,
        OPT_COUNT,
        OPT_MODE,
        OPT_URIS,
        OPT_PREFIX,
        OPT_TREE,
        OPT_NO_SPIN,
        OPT_NO_BATCH,
        OPT_RING,
        OPT_TRANSIENT,
        OPT_PID,
        OPT_JSON,
};

static const struct option options[] = {
        {"connections", required_argument, NULL, OPT_CONNECTIONS},
        {"depth", required_argument, NULL, OPT_DEPTH},
        {"threads", required_argument, NULL, OPT_THREADS},
        {"duration", required_argument, NULL, OPT_DURATION},
        {"count", required_argument, NULL, OPT_COUNT},
        {"mode", required_argument, NULL, OPT_MODE},
        {"uris", required_argument, NULL, OPT_URIS},
        {"prefix", required_argument, NULL, OPT_PREFIX},
        {"tree", required_argument, NULL, OPT_TREE},
        {"no-spin", no_argument, NULL, OPT_NO_SPIN},
        {"no-batch", no_argument, NULL, OPT_NO_BATCH},
        {"ring", no_argument, NULL, OPT_RING},
        {"transient", no_argument, NULL, OPT_TRANSIENT},
        {"pid", required_argument, NULL, OPT_PID},
        {"json", no_argument, NULL, OPT_JSON},
        CLI_LONG_OPTIONS,
        {0},
};

/* Where the URIs come from; resolved when all options are known. */
struct source {
        const char *file, *prefix, *tree;
};

static int set_number(const char *name, uint64_t max, uint64_t *ret)
{
        if (cli_number(optarg, 1, max, ret) == 0)
                return 0;
        return cli_usage("--%s is a number from 1 to %llu, not '%s'", name, (unsigned long long)max, optarg);
}

static int set_unsigned(const char *name, unsigned max, unsigned *ret)
{
        uint64_t n;
        int r = set_number(name, max, &n);

        if (r == 0)
                *ret = (unsigned)n;
        return r;
}

static int set_mode(struct bench_options *o)
{
        static const char *const names[] = {
                [BENCH_FD] = "fd",     [BENCH_STAT] = "stat",     [BENCH_PING] = "ping",
                [BENCH_COPY] = "copy", [BENCH_SPLICE] = "splice", [BENCH_AUTO] = "auto",
        };

        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                if (strcmp(optarg, names[i]) == 0) {
                        o->mode = (enum bench_mode)i;
                        return 0;
                }
        }
        return cli_usage("--mode is fd, stat, ping, copy, splice or auto, not '%s'", optarg);
}

static int set_duration(struct bench_options *o)
{
        uint64_t s;
        int r = set_number("duration", 86400, &s);

        if (r == 0)
                o->duration_ns = s * OBJM_NS_PER_S;
        return r;
}

static int set_pid(struct bench_options *o)
{
        uint64_t pid;
        int r = set_number("pid", INT32_MAX, &pid);

        if (r == 0)
                o->pid = (pid_t)pid;
        return r;
}

static int set_option(struct bench_options *o, struct source *from, int c)
{
        switch (c) {
        case OPT_CONNECTIONS:
                return set_unsigned("connections", 1000000, &o->connections);
        case OPT_DEPTH:
                return set_unsigned("depth", 65536, &o->depth);
        case OPT_THREADS:
                return set_unsigned("threads", THREADS_MAX, &o->threads);
        case OPT_DURATION:
                return set_duration(o);
        case OPT_COUNT:
                return set_number("count", UINT64_MAX, &o->count);
        case OPT_MODE:
                return set_mode(o);
        case OPT_PID:
                return set_pid(o);
        case OPT_URIS:
                from->file = optarg;
                return 0;
        case OPT_PREFIX:
                from->prefix = optarg;
                return 0;
        case OPT_TREE:
                from->tree = optarg;
                return 0;
        case OPT_NO_SPIN:
                o->flags |= OBJMAPPER_NO_SPIN;
                return 0;
        case OPT_NO_BATCH:
                o->flags |= OBJMAPPER_NO_BATCH;
                return 0;
        case OPT_RING:
                o->flags |= OBJMAPPER_RING;
                return 0;
        case OPT_TRANSIENT:
                o->transient = true;
                return 0;
        case OPT_JSON:
                o->json = true;
                return 0;
        default:
                return cli_option(o->cli, c);
        }
}

static int read_uris(struct bench_options *o, const struct source *from)
{
        const char *what = from->file ? from->file : from->tree;
        int r;

        if (o->mode == BENCH_PING)
                return 0;
        if (!from->file == !from->tree || (from->file && from->prefix))
                return cli_usage("bench takes its URIs from --uris FILE or from --tree DIR with --prefix PREFIX");
        if (from->file)
                r = uris_read_file(&o->uris, from->file);
        else
                r = uris_read_tree(&o->uris, from->prefix ? from->prefix : "/", from->tree);
        if (r < 0)
                return cli_file_error(what, r);
        return o->uris.n ? 0 : cli_usage("%s: no URIs in it", what);
}

static int settle_mode(struct bench_options *o)
{
        bool remote = cli_is_remote(o->cli);

        if (o->mode == MODE_UNSET)
                o->mode = remote ? BENCH_AUTO : BENCH_FD;
        return remote && o->mode == BENCH_FD ? cli_usage("no descriptor comes over TCP: --mode is another one") : 0;
}

static int check(struct bench_options *o)
{
        if (o->transient && (o->depth > 1 || o->connections > 1))
                return cli_usage("--transient makes one request a connection, one at a time in each of --threads");
        if (bench_reads(o) && o->depth == 1 && o->connections > THREADS_MAX)
                return cli_usage("--mode copy, splice and auto are for up to %d connections at a depth of 1",
                                 THREADS_MAX);
        if (!o->transient && ((bench_reads(o) && o->depth == 1) || o->threads > o->connections))
                o->threads = o->connections;
        return 0;
}

int bench_options_parse(struct cli *cli, int argc, char **argv, struct bench_options *ret)
{
        struct bench_options o = {.cli = cli, .mode = MODE_UNSET, .connections = 1, .depth = 1, .threads = 1,
                                  .duration_ns = 5 * OBJM_NS_PER_S};
        struct source from = {0};
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                if ((r = set_option(&o, &from, c)))
                        return r;
        if (optind < argc)
                return cli_usage("bench takes options only, not '%s'", argv[optind]);
        r = settle_mode(&o);
        if (r == 0)
                r = check(&o);
        if (r == 0)
                r = read_uris(&o, &from);
        if (r) {
                uris_deinit(&o.uris);
                return r;
        }
        *ret = o;
        return 0;
}

void bench_options_deinit(struct bench_options *o)
{
        uris_deinit(&o->uris);
}
