/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_PAGECACHE_H
#define OBJM_BASE_PAGECACHE_H
/*
 * Reading files by what is in memory.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads without waiting for a disk. Bytes, also fewer than @len where only those are in the page cache or the file
 * ends; or negative errno: -EAGAIN nothing is, -EOPNOTSUPP the file system cannot tell. RWF_NOWAIT (Linux 4.14) says
 * that of tmpfs and ramfs, too, which have no disk and are read at once.
 */
ssize_t objm_pagecache_read(int fd, void *buf, size_t len, uint64_t at) objm_must_check;

/* The same for a file that is read again and again: *no_disk, false at first, remembers what its file system is. */
ssize_t objm_pagecache_read_again(int fd, void *buf, size_t len, uint64_t at, bool *no_disk) objm_must_check;

#endif
