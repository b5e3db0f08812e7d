/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_CPU_TIME_H
#define TESTS_BENCH_CPU_TIME_H
/*
 * What servers have used of their CPUs: nanoseconds, from /proc/PID/task/TID/schedstat (the first number). A thread
 * that has ended is not in it.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline uint64_t cpu_of_thread(long pid, const char *tid)
{
        char path[64 + sizeof(((struct dirent *)0)->d_name)];
        unsigned long long ns = 0;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%ld/task/%s/schedstat", pid, tid);
        f = fopen(path, "r");
        if (f && fscanf(f, "%llu", &ns) != 1)
                ns = 0;
        if (f)
                fclose(f);
        return ns;
}

static inline uint64_t cpu_of_process(long pid)
{
        char path[64];
        struct dirent *e;
        uint64_t sum = 0;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%ld/task", pid);
        d = opendir(path);
        if (!d) {
                perror(path);
                exit(1);
        }
        while ((e = readdir(d)))
                if (e->d_name[0] != '.')
                        sum += cpu_of_thread(pid, e->d_name);
        closedir(d);
        return sum;
}

/* Of "PID" or "PID,PID,...". */
static inline uint64_t cpu_of(const char *pids)
{
        uint64_t sum = 0;
        char *end;

        for (;; pids = end + 1) {
                sum += cpu_of_process(strtol(pids, &end, 10));
                if (*end != ',')
                        return sum;
        }
}

#endif
