/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_CLI_H
#define OBJMAP_CLI_H
/*
 * What every subcommand shares: the options that say which daemon, and how errors are told. Exit status: 0 done, 1 an
 * object or the daemon failed, 2 wrong usage.
 */
#include "client/objmapper.h"
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

enum {
        CLI_OK = 0,
        CLI_FAILED = 1,
        CLI_USAGE = 2,
};

struct cli {
        const char *socket; /* NULL: the library's default */
        unsigned version;
        int timeout_ms;
};

/* To be put into the array of every subcommand's long options. */
enum {
        CLI_OPT_SOCKET = 1000,
        CLI_OPT_PROTOCOL,
        CLI_OPT_TIMEOUT,
        CLI_OPT_HELP,
        CLI_OPT_VERSION,
};
#define CLI_LONG_OPTIONS                                              \
        {"socket", required_argument, NULL, CLI_OPT_SOCKET},          \
                {"protocol", required_argument, NULL, CLI_OPT_PROTOCOL}, \
                {"timeout", required_argument, NULL, CLI_OPT_TIMEOUT}, \
                {"help", no_argument, NULL, CLI_OPT_HELP},            \
                {"version", no_argument, NULL, CLI_OPT_VERSION}

/* Handles what getopt_long() returned when it is a shared option. 0, or CLI_USAGE after saying what is wrong. */
int cli_option(struct cli *cli, int c);

/* True when the daemon is reached by TCP, where no descriptor comes. */
bool cli_is_remote(const struct cli *cli);

/* Connects or says why not. 0 or CLI_FAILED. */
int cli_connect(const struct cli *cli, struct objmapper_options *options, struct objmapper **ret);
/* Says why not. Returns CLI_FAILED. */
int cli_connect_error(const struct cli *cli, int error);

/* "objmap: SUBJECT: what -@error means", and why, where the server or the library has said so. Returns CLI_FAILED. */
int cli_error(const char *subject, int error);
/* The same of a control operation; @text is what it came back with, or NULL. */
int cli_control_error(const struct cli *cli, const char *command, int error, const char *text);

/* The same of a file, where @error is the system's own. */
int cli_file_error(const char *file, int error);

/* The same for wrong usage, with a text of its own. Returns CLI_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Sees to it that what has been printed is out, or says why not. 0 or CLI_FAILED. */
int cli_flush(void);

/* A short text for a negative errno of the library. */
const char *cli_error_text(int error);

/* A whole decimal number within bounds. 0, or -1. */
int cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* Prints @text as a JSON string, quotes and all. A byte XX that is no part of UTF-8 becomes \udcXX. */
void cli_json_string(const char *text);

/* The subcommands: argv[0] is the program's name. They return the exit status. */
int cmd_get(struct cli *cli, int argc, char **argv);
int cmd_cat(struct cli *cli, int argc, char **argv);
int cmd_stat(struct cli *cli, int argc, char **argv);
int cmd_ping(struct cli *cli, int argc, char **argv);
int cmd_stats(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_reload(struct cli *cli, int argc, char **argv);
int cmd_drain(struct cli *cli, int argc, char **argv);
int cmd_bench(struct cli *cli, int argc, char **argv);

#endif
