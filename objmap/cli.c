/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char reason[256]; /* of the latest refusal; may be empty */

static const char help[] =
        "Usage: objmap [OPTION...] get [-f] [-c] [-o FILE] [--mode MODE] [--range RANGE] [--udp ADDRESS:PORT] URI\n"
        "       objmap [OPTION...] cat [--mode MODE] [--range RANGE] [--udp ADDRESS:PORT] URI...\n"
        "       objmap [OPTION...] stat [--json] URI...\n"
        "       objmap [OPTION...] ping [-c N]\n"
        "       objmap [OPTION...] stats [--json | --openmetrics]\n"
        "       objmap [OPTION...] top [--count N] [--interval S]\n"
        "       objmap [OPTION...] reload | drain\n"
        "       objmap [OPTION...] bench [--uris FILE | --prefix PREFIX --tree DIR] [BENCH-OPTION...]\n"
        "\n"
        "  --socket ADDRESS  the daemon's socket: a path, or tcp://ADDRESS:PORT (" OBJMAPPER_SOCKET ")\n"
        "  --protocol 1|3    speak this version only\n"
        "  --timeout MS      wait this long for an answer (2000)\n"
        "  --help, --version\n"
        "\n"
        "get writes an object to a file, named as the URI's last part unless -o says otherwise ('-': standard\n"
        "output); an existing file is overwritten with -f, --force only, and one that get -c, --continue has begun\n"
        "is gone on with. MODE is fd, copy, splice or auto; fd is the default, but over TCP, where there is none,\n"
        "it is auto. RANGE is OFFSET or OFFSET-LAST, in bytes. With --udp a small object comes in a datagram.\n"
        "See objmap(1) for bench.\n";

int cli_usage(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        fputs("objmap: ", stderr);
        vfprintf(stderr, format, ap);
        fputs("\nTry 'objmap --help'.\n", stderr);
        va_end(ap);
        return CLI_USAGE;
}

const char *cli_error_text(int error)
{
        switch (-error) {
        case ENOENT:
                return "not found";
        case EACCES:
                return "denied";
        case EINVAL:
                return "not a valid URI";
        case ENAMETOOLONG:
                return "URI too long";
        case EBUSY:
                return "the server is busy";
        case ETIMEDOUT:
                return "no answer in time";
        case EOPNOTSUPP:
                return "the server cannot do that";
        case EPROTO:
                return "the other end does not speak the protocol";
        case ESTALE:
                return "it changed while it was read";
        case EMSGSIZE:
                return "too large for a datagram: use a stream (get without --udp)";
        case EIO:
                return "the server failed to read it";
        default:
                return strerror(-error);
        }
}

int cli_error(const char *subject, int error)
{
        fprintf(stderr, "objmap: %s: %s%s%s\n", subject, cli_error_text(error), *reason ? ": " : "", reason);
        return CLI_FAILED;
}

int cli_control_error(const struct cli *cli, const char *command, int error, const char *text)
{
        if (error == -EACCES && cli_is_remote(cli))
                fprintf(stderr, "objmap: %s: denied: not over TCP, use the Unix socket\n", command);
        else if (error == -EACCES)
                fprintf(stderr, "objmap: %s: denied: for root, the daemon's user and control.admin_gids only\n",
                        command);
        else if (text)
                fprintf(stderr, "objmap: %s: %s\n", command, text);
        else
                cli_error(command, error);
        return CLI_FAILED;
}

int cli_file_error(const char *file, int error)
{
        fprintf(stderr, "objmap: %s: %s\n", file, strerror(-error));
        return CLI_FAILED;
}

int cli_flush(void)
{
        int error = fflush(stdout) < 0 ? errno : ferror(stdout) ? EIO : 0;

        return error ? cli_file_error("standard output", -error) : CLI_OK;
}

int cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
        unsigned long long n;
        char *end;

        if (!isdigit((unsigned char)*text))
                return -1;
        errno = 0;
        n = strtoull(text, &end, 10);
        if (errno || *end || n < min || n > max)
                return -1;
        *ret = n;
        return 0;
}

static int set_protocol(struct cli *cli, const char *text)
{
        if (strcmp(text, "1") != 0 && strcmp(text, "3") != 0)
                return cli_usage("--protocol is 1 or 3, not '%s'", text);
        cli->version = (unsigned)(text[0] - '0');
        return 0;
}

static int set_timeout(struct cli *cli, const char *text)
{
        uint64_t ms;

        if (cli_number(text, 1, INT32_MAX, &ms) < 0)
                return cli_usage("--timeout is a number of milliseconds, not '%s'", text);
        cli->timeout_ms = (int)ms;
        return 0;
}

int cli_option(struct cli *cli, int c)
{
        switch (c) {
        case CLI_OPT_SOCKET:
                cli->socket = optarg;
                return 0;
        case CLI_OPT_PROTOCOL:
                return set_protocol(cli, optarg);
        case CLI_OPT_TIMEOUT:
                return set_timeout(cli, optarg);
        case CLI_OPT_HELP:
                fputs(help, stdout);
                exit(cli_flush());
        case CLI_OPT_VERSION:
                printf("objmap %s\n", objmapper_version());
                exit(cli_flush());
        default:
                fputs("Try 'objmap --help'.\n", stderr); /* getopt_long() has said what is wrong */
                return CLI_USAGE;
        }
}

bool cli_is_remote(const struct cli *cli)
{
        return cli->socket && strncmp(cli->socket, "tcp://", 6) == 0;
}

int cli_connect_error(const struct cli *cli, int error)
{
        const char *socket = cli->socket ? cli->socket : OBJMAPPER_SOCKET, *text = NULL;

        if (error == -EINVAL && cli_is_remote(cli))
                text = "must be tcp://ADDRESS:PORT in numbers, an IPv6 address in brackets";
        else if (strstr(socket, "://") && strncmp(socket, "unix://", 7) != 0 && !cli_is_remote(cli))
                text = "must be a path, unix://PATH or tcp://ADDRESS:PORT";
        else if (error == -ENAMETOOLONG)
                text = "too long for the path of a socket, which has 107 bytes at most";
        else if (error == -EACCES)
                text = "denied: the mode and the group of the socket say who may connect";
        else if (error == -ENOENT || error == -ECONNREFUSED)
                text = "no daemon listens there: start objmapperd, or say where it does with --socket";
        if (!text)
                return cli_error(socket, error);
        fprintf(stderr, "objmap: %s: %s\n", socket, text);
        return CLI_FAILED;
}

int cli_connect(const struct cli *cli, struct objmapper_options *options, struct objmapper **ret)
{
        int r;

        options->size = sizeof(*options);
        options->version = cli->version;
        options->timeout_ms = cli->timeout_ms;
        options->reason = reason;
        options->reason_size = sizeof(reason);
        r = objmapper_connect(cli->socket ? cli->socket : OBJMAPPER_SOCKET, options, ret);
        return r < 0 ? cli_connect_error(cli, r) : 0;
}

/* Bytes of the character of UTF-8 beyond ASCII that @c begins with, 0: none. The text ends in NUL, which is no part. */
static size_t utf8_length(const unsigned char *c)
{
        size_t n = *c >= 0xf0 ? 4 : *c >= 0xe0 ? 3 : 2;

        if (*c < 0xc2 || *c > 0xf4)
                return 0;
        if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f)) /* too long a form; a surrogate */
                return 0;
        if ((*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f)) /* too long a form; beyond Unicode */
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((c[i] & 0xc0) != 0x80)
                        return 0;
        return n;
}

/* Prints the character at @c and returns how many bytes it has. */
static size_t print_json_character(const unsigned char *c)
{
        size_t n = *c < 0x80 ? 1 : utf8_length(c);

        if (!n)
                printf("\\udc%02x", *c);
        else if (*c == '"' || *c == '\\')
                printf("\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
                printf("\\u%04x", *c);
        else
                fwrite(c, 1, n, stdout);
        return n ? n : 1;
}

void cli_json_string(const char *text)
{
        putchar('"');
        for (const unsigned char *c = (const unsigned char *)text; *c;)
                c += print_json_character(c);
        putchar('"');
}
