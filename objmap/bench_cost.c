/* SPDX-License-Identifier: MIT */
#include "objmap/bench.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* The process's CPU clock: nanoseconds, over all threads it has or had. Any process may read it. */
static int read_cpu(pid_t pid, uint64_t *ret)
{
        clockid_t clock;
        int r = clock_getcpuclockid(pid, &clock);

        if (r)
                return -r;
        *ret = objm_clock_read(clock);
        return 0;
}

static int read_anon(pid_t pid, uint64_t *ret)
{
        char path[64], line[256];
        int r = -ENODATA;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        while (r < 0 && fgets(line, sizeof(line), f))
                if (sscanf(line, "RssAnon: %" SCNu64 " kB", ret) == 1)
                        r = 0;
        fclose(f);
        return r;
}

int bench_cost_read(pid_t pid, struct bench_cost *ret)
{
        struct bench_cost cost;
        int r = read_cpu(pid, &cost.cpu_ns);

        if (r == 0)
                r = read_anon(pid, &cost.anon_kb);
        if (r == 0)
                *ret = cost;
        return r;
}
