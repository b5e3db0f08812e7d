/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include <stdlib.h>

/* Opening exports may take as long as their disks do. */
#define RELOAD_TIMEOUT_MS 90000

static int control(struct cli *cli, const char *command, int operation)
{
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        char *text;
        int r;

        if ((r = cli_connect(cli, &connect_options, &om)))
                return r;
        r = objmapper_control(om, operation, &text);
        objmapper_free(om);
        r = r < 0 ? cli_control_error(cli, command, r, text) : CLI_OK;
        free(text);
        return r;
}

/* For a command that takes shared options only. */
static int parse(struct cli *cli, int argc, char **argv, const char *command)
{
        static const struct option options[] = {CLI_LONG_OPTIONS, {0}};
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                if ((r = cli_option(cli, c)))
                        return r;
        return optind < argc ? cli_usage("%s takes no arguments", command) : CLI_OK;
}

/* A daemon that is not there is not to be waited for as long as one that has much to do. */
static int find_daemon(const struct cli *cli)
{
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        int r = cli_connect(cli, &connect_options, &om);

        if (r == CLI_OK)
                objmapper_free(om);
        return r;
}

int cmd_reload(struct cli *cli, int argc, char **argv)
{
        int r = parse(cli, argc, argv, "reload");

        if (r == CLI_OK && !cli->timeout_ms) {
                r = find_daemon(cli);
                cli->timeout_ms = RELOAD_TIMEOUT_MS;
        }
        return r ? r : control(cli, "reload", OBJMAPPER_RELOAD);
}

int cmd_drain(struct cli *cli, int argc, char **argv)
{
        int r = parse(cli, argc, argv, "drain");

        return r ? r : control(cli, "drain", OBJMAPPER_DRAIN);
}
