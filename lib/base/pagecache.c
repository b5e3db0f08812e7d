/* SPDX-License-Identifier: MIT */
#include "base/pagecache.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool in_memory(int fd)
{
        struct statfs fs;

        return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

ssize_t objm_pagecache_read_again(int fd, void *buf, size_t len, uint64_t at, bool *no_disk)
{
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        ssize_t n = *no_disk ? 0 : preadv2(fd, &iov, 1, (off_t)at, RWF_NOWAIT);

        if (n < 0 && errno == EOPNOTSUPP && !(*no_disk = in_memory(fd)))
                return -EOPNOTSUPP;
        if (*no_disk)
                n = pread(fd, buf, len, (off_t)at);
        return n < 0 ? -errno : n;
}

ssize_t objm_pagecache_read(int fd, void *buf, size_t len, uint64_t at)
{
        bool no_disk = false;

        return objm_pagecache_read_again(fd, buf, len, at, &no_disk);
}
