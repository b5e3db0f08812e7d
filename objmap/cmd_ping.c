/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include "base/clock.h"
#include "base/hist.h"

#include <inttypes.h>
#include <stdio.h>

static double us(uint64_t ns)
{
        return (double)ns / (double)OBJM_NS_PER_US;
}

static int ping(struct cli *cli, struct objmapper *om, uint64_t count)
{
        const char *socket = cli->socket ? cli->socket : OBJMAPPER_SOCKET;
        static struct objm_hist hist;
        uint64_t start, ns;
        int r;

        objm_hist_init(&hist);
        for (uint64_t i = 1; i <= count; i++) {
                start = objm_clock_ns();
                r = objmapper_ping(om);
                if (r < 0)
                        return cli_error(socket, r);
                ns = objm_clock_ns() - start;
                objm_hist_record(&hist, ns);
                printf("%" PRIu64 ": %.1f us\n", i, us(ns));
        }
        printf("%" PRIu64 " answered by %s in version %d: min %.1f, mean %.1f, max %.1f us\n", count, socket,
               objmapper_protocol(om), us(hist.min), us(hist.sum / count), us(hist.max));
        return CLI_OK;
}

int cmd_ping(struct cli *cli, int argc, char **argv)
{
        static const struct option options[] = {{"count", required_argument, NULL, 'c'}, CLI_LONG_OPTIONS, {0}};
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        uint64_t count = 4;
        int c, r;

        while ((c = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
                if (c != 'c' && (r = cli_option(cli, c)))
                        return r;
                if (c == 'c' && cli_number(optarg, 1, UINT32_MAX, &count) < 0)
                        return cli_usage("-c is a number from 1 on, not '%s'", optarg);
        }
        if (optind < argc)
                return cli_usage("ping takes no arguments");
        if ((r = cli_connect(cli, &connect_options, &om)))
                return r;
        r = ping(cli, om, count);
        objmapper_free(om);
        return r;
}
