/* SPDX-License-Identifier: MIT */
/*
 * make_tree DIRECTORY THOUSANDS SIZE: directories 000, 001 ... with a thousand files 000 ... 999 in each, of SIZE bytes
 * that are holes: a million objects take ten seconds in a tmpfs, and no pages.
 */
#include "bench_base.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void make_file(int dir, unsigned n, off_t size)
{
        char name[16];
        int fd;

        snprintf(name, sizeof(name), "%03u", n);
        fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0 || ftruncate(fd, size) < 0)
                die(name);
        close(fd);
}

int main(int argc, char **argv)
{
        char name[16];

        if (argc != 4 || chdir(argv[1]) < 0) {
                fprintf(stderr, "usage: make_tree DIRECTORY THOUSANDS SIZE\n");
                return 2;
        }
        for (unsigned d = 0; d < strtoul(argv[2], NULL, 10); d++) {
                int dir;

                snprintf(name, sizeof(name), "%03u", d);
                dir = mkdir(name, 0755) < 0 ? -1 : open(name, O_RDONLY | O_DIRECTORY);
                if (dir < 0)
                        die(name);
                for (unsigned n = 0; n < 1000; n++)
                        make_file(dir, n, strtol(argv[3], NULL, 10));
                close(dir);
        }
        return 0;
}
