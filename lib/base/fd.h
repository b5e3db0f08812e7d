/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_FD_H
#define OBJM_BASE_FD_H
/*
 * Owned descriptors. A variable of type int that names a descriptor is -1 or owned by its holder; a plain `int fd`
 * parameter is borrowed. Closing never changes errno, so that it can stand on any error path.
 */
#include "base/attr.h"
#include <stddef.h>

/* Closes @fd when it is not negative; returns -1, for `fd = objm_fd_close(fd)`. Keeps errno. */
int objm_fd_close(int fd);

/*
 * Closes @n descriptors and sets each to -1. Runs of consecutive numbers are closed with one close_range(2)
 * (Linux 5.9): every number of a run is ours, so no other thread's descriptor can be hit.
 */
void objm_fd_close_many(int *fds, size_t n);

/* Returns the descriptor in *@fdp and leaves -1 there. */
static inline int objm_fd_steal(int *fdp)
{
        int fd = *fdp;

        *fdp = -1;
        return fd;
}

/* For a local `int fd objm_cleanup(objm_fd_closep) = -1`. */
static inline void objm_fd_closep(int *fdp)
{
        *fdp = objm_fd_close(*fdp);
}

#endif
