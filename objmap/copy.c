/* SPDX-License-Identifier: MIT */
#include "objmap/copy.h"

#include <errno.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <unistd.h>

#define CHUNK (16 << 20) /* between two looks at the clock */

/* Each moves at most @max bytes from @*at on and advances it. Returns how much, 0 at the end, or -1 with errno. */
typedef ssize_t (*move_fn)(int from, off_t *at, int to, size_t max);

static ssize_t move_range(int from, off_t *at, int to, size_t max)
{
        return copy_file_range(from, at, to, NULL, max, 0);
}

static ssize_t move_sendfile(int from, off_t *at, int to, size_t max)
{
        return sendfile(to, from, at, max);
}

/* Whoever shares the other end of a terminal or a pipe may have made it non-blocking. */
static int await_room(int to)
{
        struct pollfd pfd = {.fd = to, .events = POLLOUT};

        return poll(&pfd, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

int copy_bytes(const void *data, size_t n, int to)
{
        const char *buf = data;

        for (size_t done = 0; done < n;) {
                ssize_t r = write(to, buf + done, n - done);

                if (r < 0 && errno == EAGAIN) {
                        int e = await_room(to);

                        if (e < 0)
                                return e;
                } else if (r < 0 && errno != EINTR) {
                        return -errno;
                }
                if (r > 0)
                        done += (size_t)r;
        }
        return 0;
}

static ssize_t move_read_write(int from, off_t *at, int to, size_t max)
{
        static char buf[128 * 1024];
        ssize_t n = pread(from, buf, max < sizeof(buf) ? max : sizeof(buf), *at);

        if (n > 0 && copy_bytes(buf, (size_t)n, to) < 0)
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
int copy_object(int from, int to, uint64_t offset, uint64_t length, copy_progress_fn progress, void *userdata)
{
        static const move_fn ways[] = {move_range, move_sendfile, move_read_write};
        const size_t last = sizeof(ways) / sizeof(ways[0]) - 1;
        off_t at = (off_t)offset;
        ssize_t n;

        for (size_t way = 0; length;) {
                n = ways[way](from, &at, to, length < CHUNK ? (size_t)length : CHUNK);
                if (n > 0) {
                        length -= (uint64_t)n;
                        progress(userdata, (uint64_t)n);
                } else if (n < 0 && errno == EAGAIN) {
                        int e = await_room(to);

                        if (e < 0)
                                return e;
                } else if (n == 0 || errno != EINTR) {
                        if (way == last || (n < 0 && !try_next(errno)))
                                return n < 0 ? -errno : 0;
                        way++;
                }
        }
        return 0;
}
