/* SPDX-License-Identifier: MIT */
#include "objmap/copy.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <unistd.h>

#define CHUNK (1 << 30)

/* Each moves a piece from @*at on and advances it. Returns how much, 0 at the end, or -1 with errno. */
typedef ssize_t (*move_fn)(int from, off_t *at, int to);

static ssize_t move_range(int from, off_t *at, int to)
{
        return copy_file_range(from, at, to, NULL, CHUNK, 0);
}

static ssize_t move_sendfile(int from, off_t *at, int to)
{
        return sendfile(to, from, at, CHUNK);
}

static ssize_t write_all(int to, const char *buf, size_t n)
{
        for (size_t done = 0; done < n;) {
                ssize_t r = write(to, buf + done, n - done);

                if (r < 0 && errno != EINTR)
                        return -1;
                if (r > 0)
                        done += (size_t)r;
        }
        return (ssize_t)n;
}

static ssize_t move_read_write(int from, off_t *at, int to)
{
        static char buf[128 * 1024];
        ssize_t n = pread(from, buf, sizeof(buf), *at);

        if (n > 0 && write_all(to, buf, (size_t)n) < 0)
                return -1;
        if (n > 0)
                *at += n;
        return n;
}

/* What the kernel's ways say when these two descriptors are not for them. */
static int try_next(int error)
{
        return error == EINVAL || error == EXDEV || error == ENOSYS || error == EOPNOTSUPP || error == EBADF ||
               error == EPERM || error == ETXTBSY;
}

/* Each way goes on where the one before stopped; only the last is believed about the end: some files have no size. */
int copy_object(int from, int to)
{
        static const move_fn ways[] = {move_range, move_sendfile, move_read_write};
        const size_t last = sizeof(ways) / sizeof(ways[0]) - 1;
        off_t at = 0;
        ssize_t n;

        for (size_t way = 0;;) {
                n = ways[way](from, &at, to);
                if (n > 0 || (n < 0 && errno == EINTR))
                        continue;
                if (way < last && (n == 0 || try_next(errno)))
                        way++;
                else
                        return n < 0 ? -errno : 0;
        }
}
