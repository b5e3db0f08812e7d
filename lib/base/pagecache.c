/* SPDX-License-Identifier: MIT */
#include "base/pagecache.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool in_memory(int fd)
{
        struct statfs fs;

        return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

ssize_t objm_pagecache_read(int fd, void *buf, size_t len, uint64_t at)
{
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        ssize_t n = preadv2(fd, &iov, 1, (off_t)at, RWF_NOWAIT);

        if (n < 0 && errno == EOPNOTSUPP) {
                if (!in_memory(fd))
                        return -EOPNOTSUPP;
                n = pread(fd, buf, len, (off_t)at);
        }
        return n < 0 ? -errno : n;
}
