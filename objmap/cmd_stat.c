/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static void print_json(const char *uri, const struct objmapper_object *o)
{
        fputs("{\"uri\": ", stdout);
        cli_json_string(uri);
        printf(", \"size\": %" PRIu64 ", \"version\": ", o->size);
        if (o->version)
                printf("\"%016" PRIx64 "\"", o->version);
        else
                fputs("null", stdout);
        if (o->mtime >= 0)
                printf(", \"mtime\": %" PRId64 "}\n", o->mtime);
        else
                puts(", \"mtime\": null}");
}

static void print_text(const char *uri, const struct objmapper_object *o)
{
        time_t mtime = (time_t)o->mtime;
        char when[64] = "unknown", version[20] = "unknown";
        struct tm tm;

        if (o->mtime >= 0 && localtime_r(&mtime, &tm))
                strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S %z", &tm);
        if (o->version)
                snprintf(version, sizeof(version), "%016" PRIx64, o->version);
        printf("%s: %" PRIu64 " bytes, version %s, modified %s\n", uri, o->size, version, when);
}

static int stat_one(struct objmapper *om, const char *uri, bool json)
{
        struct objmapper_object object;
        int r = objmapper_stat(om, uri, &object);

        if (r < 0)
                return cli_error(uri, r);
        if (json)
                print_json(uri, &object);
        else
                print_text(uri, &object);
        return CLI_OK;
}

int cmd_stat(struct cli *cli, int argc, char **argv)
{
        static const struct option options[] = {{"json", no_argument, NULL, 'j'}, CLI_LONG_OPTIONS, {0}};
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        int c, r, status = CLI_OK;
        bool json = false;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'j')
                        json = true;
                else if ((r = cli_option(cli, c)))
                        return r;
        }
        if (optind == argc)
                return cli_usage("stat takes at least one URI");
        if ((r = cli_connect(cli, &connect_options, &om)))
                return r;
        for (int i = optind; i < argc; i++)
                if ((r = stat_one(om, argv[i], json)))
                        status = r;
        objmapper_free(om);
        return status;
}
