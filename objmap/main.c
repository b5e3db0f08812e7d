/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
        const char *name;
        int (*run)(struct cli *cli, int argc, char **argv);
} commands[] = {
        {"get", cmd_get},     {"cat", cmd_cat},       {"stat", cmd_stat},   {"ping", cmd_ping},
        {"stats", cmd_stats}, {"reload", cmd_reload}, {"drain", cmd_drain}, {"bench", cmd_bench},
        {"top", cmd_top},
};

#define COMMANDS "get, cat, stat, ping, stats, top, reload, drain or bench"

static char program[] = "objmap"; /* what getopt_long() begins its messages with */

static int run(struct cli *cli, int argc, char **argv)
{
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                if (strcmp(argv[0], commands[i].name) == 0) {
                        optind = 0; /* the GNU way to begin anew with another argv */
                        argv[0] = program;
                        return commands[i].run(cli, argc, argv);
                }
        }
        return cli_usage("there is no command '%s': it is " COMMANDS, argv[0]);
}

/*
 * The next socket or file would get the number of a standard descriptor that is closed, and what is printed would go
 * there. What takes its place is open the wrong way, so that using it is an error still.
 */
static void occupy_standard(void)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
                        exit(CLI_FAILED);
}

int main(int argc, char **argv)
{
        static const struct option options[] = {CLI_LONG_OPTIONS, {0}};
        struct cli cli = {0};
        int c, r;

        occupy_standard();
        if (argc)
                argv[0] = program;
        while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
                r = cli_option(&cli, c);
                if (r)
                        return r;
        }
        if (optind == argc)
                return cli_usage("what is to be done? " COMMANDS);
        r = run(&cli, argc - optind, argv + optind);
        return cli_flush() ? CLI_FAILED : r;
}
