/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_COPY_H
#define OBJMAP_COPY_H

/*
 * Copies the whole of @from to @to, inside the kernel where it can be: copy_file_range(2) (shared extents, server-side
 * copies), sendfile(2), then read and write. 0 or negative errno.
 */
int copy_object(int from, int to);

#endif
