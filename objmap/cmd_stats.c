/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"
#include "objmap/samples.h"
#include "objmap/table.h"

#include <stdio.h>
#include <stdlib.h>

static int print_table(char *text)
{
        struct samples s;

        if (samples_parse(text, &s) < 0) {
                fprintf(stderr, "objmap: stats: the answer makes no sense\n");
                return CLI_FAILED;
        }
        table_requests(&s, NULL, 0);
        putchar('\n');
        table_rest(&s);
        samples_free(&s);
        return CLI_OK;
}

/* @form: 'j', 'm', or 0 for people. */
static int print_stats(const struct cli *cli, struct objmapper *om, int form)
{
        char *text;
        int r = objmapper_control(om, form == 'j' ? OBJMAPPER_STATS : OBJMAPPER_STATS_OPENMETRICS, &text);

        if (r == 0 && !form)
                return print_table(text);
        if (r < 0)
                cli_control_error(cli, "stats", r, text);
        else
                fputs(text ? text : "", stdout);
        free(text);
        return r < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_stats(struct cli *cli, int argc, char **argv)
{
        static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                                {"openmetrics", no_argument, NULL, 'm'},
                                                CLI_LONG_OPTIONS,
                                                {0}};
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        int form = 0, c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'j' || c == 'm')
                        form = c;
                else if ((r = cli_option(cli, c)))
                        return r;
        }
        if (optind < argc)
                return cli_usage("stats takes no arguments");
        if ((r = cli_connect(cli, &connect_options, &om)))
                return r;
        r = print_stats(cli, om, form);
        objmapper_free(om);
        return r;
}
