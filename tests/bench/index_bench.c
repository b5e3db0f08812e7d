/* SPDX-License-Identifier: MIT */
/*
 * The index alone: memory per entry, time to build it, time to look up, longest pause of one insert. Prints one figure
 * a line. Keys are made as /data/XX/XXXX/object-NNNNNNNNNN.bin, in the order of a random permutation.
 */
#include "base/clock.h"
#include "storage/index.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEY_LEN 38

struct builder {
        pthread_t thread;
        struct objm_index *index;
        uint64_t from, to;
        uint64_t longest, longest_undisturbed; /* ns */
};

/* A bijection on 64 bits, so that keys are distinct and in no order (the finaliser of splitmix64). */
static uint64_t permute(uint64_t x)
{
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

static void put_hex(char *at, uint64_t v, unsigned digits)
{
        for (; digits > 0; v >>= 4)
                at[--digits] = "0123456789abcdef"[v & 15];
}

static void make_key(char key[KEY_LEN + 1], uint64_t n)
{
        uint64_t p = permute(n);

        memcpy(key, "/data/XX/XXXX/object-NNNNNNNNNNNNN.bin", KEY_LEN + 1);
        put_hex(key + 6, p >> 56, 2);
        put_hex(key + 9, p >> 40, 4);
        put_hex(key + 21, n, 13);
}

static size_t resident(void)
{
        FILE *f = fopen("/proc/self/statm", "r");
        unsigned long pages = 0;

        if (!f || fscanf(f, "%*u %lu", &pages) != 1)
                fprintf(stderr, "cannot read /proc/self/statm\n");
        if (f)
                fclose(f);
        return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static long switches(void)
{
        struct rusage u;

        getrusage(RUSAGE_THREAD, &u);
        return u.ru_nivcsw + u.ru_nvcsw;
}

/* Each insert is timed; a pause in which the thread lost the CPU, or waited for one that had, is counted apart. */
static void *build(void *arg)
{
        struct builder *b = arg;
        long seen = switches();
        char key[KEY_LEN + 1];

        for (uint64_t i = b->from; i < b->to; i++) {
                struct objm_object_info info = {.size = i, .version = i + 1, .mtime_ns = (int64_t)i};
                uint64_t start, took;

                make_key(key, i);
                start = objm_clock_ns();
                if (objm_index_put(b->index, key, KEY_LEN, &info, 2) < 0)
                        exit(EXIT_FAILURE);
                took = objm_clock_ns() - start;
                if (took <= b->longest_undisturbed)
                        continue;
                if (took > b->longest)
                        b->longest = took;
                if (switches() == seen)
                        b->longest_undisturbed = took;
                seen = switches();
        }
        return NULL;
}

static uint64_t build_all(struct objm_index *x, uint64_t count, unsigned threads)
{
        struct builder b[16] = {0};
        uint64_t start = objm_clock_ns(), longest = 0, undisturbed = 0, took;

        for (unsigned i = 0; i < threads; i++) {
                b[i] = (struct builder){.index = x, .from = count * i / threads, .to = count * (i + 1) / threads};
                if (pthread_create(&b[i].thread, NULL, build, &b[i]) != 0)
                        exit(EXIT_FAILURE);
        }
        for (unsigned i = 0; i < threads; i++) {
                pthread_join(b[i].thread, NULL);
                longest = b[i].longest > longest ? b[i].longest : longest;
                undisturbed = b[i].longest_undisturbed > undisturbed ? b[i].longest_undisturbed : undisturbed;
        }
        took = objm_clock_ns() - start;
        printf("build with %u threads      %8.3f s, %.0f ns each\n", threads, (double)took / 1e9,
               (double)took / (double)count);
        printf("longest insert            %8.1f us; %.1f us without a context switch\n", (double)longest / 1e3,
               (double)undisturbed / 1e3);
        return took;
}

/* @offset 0: keys that are there; @count: keys that are not. */
static double time_lookups(struct objm_index *x, uint64_t count, uint64_t offset, uint64_t lookups)
{
        char(*keys)[KEY_LEN + 1] = malloc(lookups * sizeof(*keys));
        uint64_t start, found = 0;

        if (!keys)
                exit(EXIT_FAILURE);
        for (uint64_t i = 0; i < lookups; i++)
                make_key(keys[i], offset + permute(i + 12345) % count);
        start = objm_clock_ns();
        for (uint64_t i = 0; i < lookups; i++)
                found += objm_index_find(x, keys[i], KEY_LEN) != NULL;
        start = objm_clock_ns() - start;
        free(keys);
        if (found != (offset ? 0 : lookups)) {
                fprintf(stderr, "%llu of %llu lookups found something\n", (unsigned long long)found,
                        (unsigned long long)lookups);
                exit(EXIT_FAILURE);
        }
        return (double)start / (double)lookups;
}

static void run(uint64_t count, unsigned threads, uint64_t lookups)
{
        struct objm_qsbr *q;
        struct objm_qsbr_reader r;
        struct objm_index *x;
        size_t before = resident(), empty, full;

        if (objm_qsbr_new(&q) < 0 || objm_index_new(q, &x) < 0)
                exit(EXIT_FAILURE);
        empty = resident();
        build_all(x, count, threads);
        objm_qsbr_drain(q);
        full = resident();
        printf("entries                   %zu\n", objm_index_count(x));
        printf("empty index               %zu KiB\n", (empty - before) / 1024);
        printf("memory beside the key     %.1f bytes an entry (key %d bytes)\n",
               (double)(full - empty) / (double)count - KEY_LEN, KEY_LEN);
        objm_qsbr_register(q, &r);
        objm_qsbr_online(&r);
        printf("lookup, there             %.0f ns\n", time_lookups(x, count, 0, lookups));
        printf("lookup, not there         %.0f ns\n", time_lookups(x, count, count, lookups));
        objm_qsbr_unregister(&r);
        objm_index_free(x);
        objm_qsbr_free(q);
}

static uint64_t number(const char *text, uint64_t max)
{
        char *end;
        unsigned long long n;

        errno = 0;
        n = strtoull(text, &end, 10);
        if (errno || *end || end == text || n == 0 || n > max) {
                fprintf(stderr, "not a number from 1 to %llu: %s\n", (unsigned long long)max, text);
                exit(EXIT_FAILURE);
        }
        return n;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                {"count", required_argument, NULL, 'c'},
                {"threads", required_argument, NULL, 't'},
                {"lookups", required_argument, NULL, 'l'},
                {0},
        };
        uint64_t count = 1000000, lookups = 1000000;
        unsigned threads = 1;

        for (int o; (o = getopt_long(argc, argv, "c:t:l:", options, NULL)) != -1;) {
                if (o == 'c')
                        count = number(optarg, UINT64_C(1) << 32);
                else if (o == 't')
                        threads = (unsigned)number(optarg, 16);
                else if (o == 'l')
                        lookups = number(optarg, UINT64_C(1) << 28);
                else
                        return EXIT_FAILURE;
        }
        run(count, threads, lookups);
        return EXIT_SUCCESS;
}
