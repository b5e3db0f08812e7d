/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_PING_H
#define TESTS_BENCH_PING_H
/*
 * Two processes that answer each other, each on a CPU of its own, and how long the rounds of the first one take.
 */
#include "base/hist.h"
#include "bench_base.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATE_NS 50000

static inline void pin_to(const char *cpu)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(strtoul(cpu, NULL, 10), &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                die("sched_setaffinity");
}

/* Starts @serve on @cpu in a child, which ends with this process at the latest. */
static inline pid_t start_server(void (*serve)(void), const char *cpu)
{
        pid_t parent = getpid(), pid = fork();

        if (pid < 0)
                die("fork");
        if (pid > 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
        pin_to(cpu);
        serve();
        _exit(1);
}

/* Calls @once, which returns how many round trips that was, for @seconds; prints one line of JSON. */
static inline void measure_rounds(unsigned (*once)(void), double seconds)
{
        static struct objm_hist hist;
        uint64_t start, end, t, last, n = 0;

        for (start = now(), end = start + 50000000; now() < end;)
                once();
        objm_hist_init(&hist);
        start = last = now();
        end = start + (uint64_t)(seconds * 1e9);
        do {
                n += once();
                t = now();
                objm_hist_record(&hist, t - last);
                last = t;
        } while (t < end);
        printf("{\"p50_ns\": %llu, \"p99_ns\": %llu, \"rate\": %.0f}\n",
               (unsigned long long)objm_hist_quantile(&hist, 0.5), (unsigned long long)objm_hist_quantile(&hist, 0.99),
               (double)n * 1e9 / (double)(t - start));
}

/*
 * The same with @once as many times a second as @rate, at even distances. What comes late because the one before was
 * late counts from when it was due; "late" is the share of those that took longer than LATE_NS.
 */
static inline void measure_at_rate(unsigned (*once)(void), double seconds, double rate)
{
        static struct objm_hist hist;
        uint64_t start, due, end, ns, n = 0, late = 0;

        for (end = now() + 50000000; now() < end;)
                once();
        objm_hist_init(&hist);
        start = due = now();
        for (; due < start + (uint64_t)(seconds * 1e9); due = start + (uint64_t)((double)++n * 1e9 / rate)) {
                while (now() < due)
                        continue;
                once();
                ns = now() - due;
                objm_hist_record(&hist, ns);
                late += ns > LATE_NS;
        }
        printf("{\"p50_ns\": %llu, \"p99_ns\": %llu, \"rate\": %.0f, \"late\": %.6f}\n",
               (unsigned long long)objm_hist_quantile(&hist, 0.5), (unsigned long long)objm_hist_quantile(&hist, 0.99),
               (double)n * 1e9 / (double)(now() - start), n ? (double)late / (double)n : 0);
}

#endif
