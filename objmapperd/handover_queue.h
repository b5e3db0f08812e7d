/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_HANDOVER_QUEUE_H
#define OBJMAPPERD_HANDOVER_QUEUE_H
/*
 * Thousands of descriptors for the price of two: they wait in the queue of a socket pair. A service manager compares
 * each descriptor that it is to store with all that it has, and names each of them in the environment of the next
 * instance, where a string of 128 KiB is the end (execve(2), E2BIG); of the queue it sees its two ends.
 */
#include "base/attr.h"
#include <stddef.h>

/* Both ends are the caller's, and both have to stay open. Put into the first, take from the second. */
int handover_queue_open(int ret_ends[2]) objm_must_check;

/*
 * Puts in the first of @n descriptors (borrowed), as many as the kernel takes: what is in flight counts against the
 * limit of open files (unix(7)). Returns how many; less than @n with the reason, a negative errno, in *ret_error.
 */
size_t handover_queue_put(int end, const int *fds, size_t n, int *ret_error);

struct handover_fds {
        int *fd; /* owned, as are the descriptors */
        size_t n, room;
};

/*
 * Appends to @to what waits in @end, which may be any descriptor at all. 0, or negative errno when there was more than
 * could be had; what was had is in @to.
 */
int handover_queue_take(int end, struct handover_fds *to) objm_must_check;

/* Closes them. */
void handover_fds_deinit(struct handover_fds *fds);

#endif
