/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "objmap/cli.h"
#include "objmap/samples.h"
#include "objmap/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLEAR         "\033[H\033[2J"
#define LINES_DEFAULT 24
#define INTERVAL_MAX  3600

struct top {
        const struct cli *cli;
        struct objmapper *om;
        struct samples before;
        uint64_t before_ns;
        uint64_t count;    /* reports to come; 0: no end */
        uint64_t interval; /* s */
        bool terminal;
};

static size_t lines(void)
{
        struct winsize ws;

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 0 ? ws.ws_row : LINES_DEFAULT;
}

/* The lines that the rest of a report takes: two heads, a blank line, one for each class. */
static size_t lines_left(const struct samples *now)
{
        size_t used = 5, have = lines();

        for (size_t i = 0; i < now->n; i++)
                used += sample_is(&now->item[i], "body_bytes_total");
        return have > used ? have - used : 1;
}

static void print(const struct top *t, const struct samples *now, uint64_t now_ns)
{
        const struct samples *before = t->before.n ? &t->before : NULL;

        printf("%sup %.0f s, %.0f connections: %.0f hot, %.0f idle; pool: %.0f busy, %.0f waiting; index: %.0f\n",
               t->terminal ? CLEAR : "", samples_get(now, "uptime_seconds", NULL),
               samples_get(now, "connections_hot", NULL) + samples_get(now, "connections_idle", NULL),
               samples_get(now, "connections_hot", NULL), samples_get(now, "connections_idle", NULL),
               samples_get(now, "pool_threads", "state=\"busy\""),
               samples_get(now, "pool_queue_jobs", "lane=\"request\"") +
                       samples_get(now, "pool_queue_jobs", "lane=\"cold\""),
               samples_get(now, "index_objects", NULL));
        table_requests(now, before, (double)(now_ns - t->before_ns) / (double)OBJM_NS_PER_S);
        putchar('\n');
        table_clients(now, t->terminal ? lines_left(now) : SIZE_MAX);
}

static int report(struct top *t)
{
        struct samples now;
        uint64_t now_ns = objm_clock_ns();
        char *text;
        int r = objmapper_control(t->om, OBJMAPPER_STATS_OPENMETRICS_CLIENTS, &text);

        if (r < 0) {
                cli_control_error(t->cli, "top", r, text);
                free(text);
                return CLI_FAILED;
        }
        if (samples_parse(text, &now) < 0) {
                fprintf(stderr, "objmap: top: the answer makes no sense\n");
                return CLI_FAILED;
        }
        if (samples_get(&now, "uptime_seconds", NULL) < samples_get(&t->before, "uptime_seconds", NULL))
                samples_free(&t->before); /* of a daemon that is gone */
        print(t, &now, now_ns);
        samples_free(&t->before);
        t->before = now;
        t->before_ns = now_ns;
        return cli_flush();
}

static int run(struct top *t)
{
        int r = report(t);

        while (r == CLI_OK && t->count != 1) {
                t->count -= t->count > 0;
                sleep((unsigned)t->interval);
                if (!t->terminal)
                        putchar('\n');
                r = report(t);
        }
        samples_free(&t->before);
        return r;
}

static int parse(struct cli *cli, int argc, char **argv, struct top *t)
{
        static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                                {"interval", required_argument, NULL, 'i'},
                                                CLI_LONG_OPTIONS,
                                                {0}};
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'n' && cli_number(optarg, 1, UINT32_MAX, &t->count) < 0)
                        return cli_usage("--count takes a number from 1 on");
                if (c == 'i' && cli_number(optarg, 1, INTERVAL_MAX, &t->interval) < 0)
                        return cli_usage("--interval takes seconds, 1 to %d", INTERVAL_MAX);
                if (c != 'n' && c != 'i' && (r = cli_option(cli, c)))
                        return r;
        }
        return optind < argc ? cli_usage("top takes no arguments") : CLI_OK;
}

/* Where nobody looks on, one report is all that is wanted unless more are asked for. */
int cmd_top(struct cli *cli, int argc, char **argv)
{
        struct objmapper_options connect_options = {.depth = 1};
        struct top t = {.cli = cli, .interval = 1, .terminal = isatty(STDOUT_FILENO)};
        int r = parse(cli, argc, argv, &t);

        if (r)
                return r;
        if (!t.count && !t.terminal)
                t.count = 1;
        if ((r = cli_connect(cli, &connect_options, &t.om)))
                return r;
        r = run(&t);
        objmapper_free(t.om);
        return r;
}
