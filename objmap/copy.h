/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_COPY_H
#define OBJMAP_COPY_H
#include <stddef.h>
#include <stdint.h>

typedef void (*copy_progress_fn)(void *userdata, uint64_t n);

/*
 * Copies @length bytes of @from from @offset on, or as many as there are, to @to at its offset, inside the kernel where
 * it can be: copy_file_range(2) (shared extents, server-side copies), sendfile(2), then read and write. Tells
 * @progress, with @userdata, how many bytes have been copied since it was called last. 0 or negative errno.
 */
int copy_object(int from, int to, uint64_t offset, uint64_t length, copy_progress_fn progress, void *userdata);

/* Writes all of it. 0 or negative errno. */
int copy_bytes(const void *data, size_t n, int to);

#endif
