/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include <stdio.h>
#include <stdlib.h>

static int print_stats(struct objmapper *om)
{
        char *text;
        int r = objmapper_control(om, OBJMAPPER_STATS, &text);

        if (r < 0)
                cli_error("stats", r);
        else
                fputs(text ? text : "", stdout);
        free(text);
        return r < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_stats(struct cli *cli, int argc, char **argv)
{
        static const struct option options[] = {{"json", no_argument, NULL, 'j'}, CLI_LONG_OPTIONS, {0}};
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        bool json = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'j')
                        json = true;
                else if ((r = cli_option(cli, c)))
                        return r;
        }
        if (optind < argc)
                return cli_usage("stats takes no arguments");
        if (!json)
                return cli_usage("stats prints JSON only: say --json");
        if ((r = cli_connect(cli, &connect_options, &om)))
                return r;
        r = print_stats(om);
        objmapper_free(om);
        return r;
}
