/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_COLD_FILES_H
#define TESTS_BENCH_COLD_FILES_H
/*
 * Files in and out of the page cache. What is dirty, mapped or still in a socket stays when it is evicted, and so does
 * all of a tmpfs: resident() tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what)
{
        perror(what);
        exit(1);
}

static void check(int r, const char *what)
{
        if (r < 0) {
                errno = -r;
                die(what);
        }
}

/* The part of the file that is in the cache; mincore(2) tells who may write the file. */
static double resident(int fd, uint64_t size)
{
        size_t pages = (size_t)(size + 4095) / 4096, n = 0;
        unsigned char *seen = malloc(pages);
        void *m = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);

        if (!seen || m == MAP_FAILED || mincore(m, (size_t)size, seen) < 0)
                die("mincore");
        for (size_t i = 0; i < pages; i++)
                n += seen[i] & 1;
        munmap(m, (size_t)size);
        free(seen);
        return (double)n / (double)pages;
}

static void evict(int fd)
{
        int r = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

        check(-r, "posix_fadvise");
}

static void warm(int fd)
{
        static uint8_t buf[64 * 1024];

        for (off_t at = 0; pread(fd, buf, sizeof(buf), at) > 0;)
                at += (off_t)sizeof(buf);
}

#endif
