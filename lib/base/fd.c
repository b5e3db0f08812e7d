/* SPDX-License-Identifier: MIT */
#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int objm_fd_close(int fd)
{
        int saved = errno;

        if (fd >= 0)
                close(fd); /* Linux frees the number even when close() fails */
        errno = saved;
        return -1;
}

/* ThreadSanitizer does not see close_range(2), and takes the next file of that number for the one before. */
#ifdef __SANITIZE_THREAD__
#define CLOSES_RANGES 0
#else
#define CLOSES_RANGES 1
#endif

/* The length of the run of consecutive numbers that starts at fds[0]. */
static size_t run_length(const int *fds, size_t n)
{
        size_t len = 1;

        while (CLOSES_RANGES && len < n && fds[len] == fds[len - 1] + 1)
                len++;
        return len;
}

void objm_fd_close_many(int *fds, size_t n)
{
        int saved = errno;

        for (size_t i = 0, run; i < n; i += run) {
                run = 1;
                if (fds[i] < 0)
                        continue;
                run = run_length(fds + i, n - i);
                if (run == 1 || close_range((unsigned)fds[i], (unsigned)fds[i + run - 1], 0) < 0)
                        for (size_t k = i; k < i + run; k++)
                                close(fds[k]);
                for (size_t k = i; k < i + run; k++)
                        fds[k] = -1;
        }
        errno = saved;
}
