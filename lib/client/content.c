/* SPDX-License-Identifier: MIT */
#include "client/objmapper.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t objmapper_read_all(int fd, void *buf, size_t n, uint64_t offset)
{
        size_t have = 0;
        ssize_t r;

        if (offset > INT64_MAX || n > SSIZE_MAX || n > (uint64_t)INT64_MAX - offset)
                return -EINVAL;
        while (have < n) {
                r = pread(fd, (char *)buf + have, n - have, (off_t)(offset + have));
                if (r == 0)
                        break;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r > 0)
                        have += (size_t)r;
        }
        return (ssize_t)have;
}

int objmapper_map(const struct objmapper_object *object, const void **ret, size_t *ret_len)
{
        void *map = NULL;
        struct stat st;

        /* What the answer said may be out of date by now, and touching a mapping beyond the end is deadly. */
        if (fstat(object->fd, &st) < 0)
                return -errno;
        if ((uint64_t)st.st_size > SIZE_MAX)
                return -EFBIG;
        if (st.st_size) {
                map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, object->fd, 0);
                if (map == MAP_FAILED)
                        return -errno;
        }
        *ret = map;
        *ret_len = (size_t)st.st_size;
        return 0;
}

void objmapper_unmap(const void *map, size_t len)
{
        if (map)
                munmap((void *)map, len);
}
