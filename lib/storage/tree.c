/* SPDX-License-Identifier: MIT */
#include "storage/tree.h"

#include "base/fd.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How often a call is made again that failed for a moment: a lease being broken, a rename under way, a signal. */
#define ATTEMPTS 3

/* Returns a descriptor or negative errno. */
static int openat2_once(const struct objm_tree *t, const char *path, uint64_t flags, uint64_t resolve)
{
        struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = t->resolve | resolve};
        long r = syscall(SYS_openat2, t->root, path, &how, sizeof(how));

        return r < 0 ? -errno : (int)r;
}

static int openat2_patient(const struct objm_tree *t, const char *path, uint64_t flags)
{
        int r = -EAGAIN;

        for (int i = 0; i < ATTEMPTS && (r == -EAGAIN || r == -EINTR); i++)
                r = openat2_once(t, path, flags, 0);
        return r;
}

/* Says what an error of openat2 means for who asked; negative when it says nothing about the name. */
static int condition_of(int error, bool nowait)
{
        switch (-error) {
        case ENOENT:
        case ENOTDIR:
        case ENAMETOOLONG:
        case ESTALE: /* network file systems: the name led to what has gone */
                return OBJM_STORE_NOT_FOUND;
        case EACCES:
        case EPERM:
                return OBJM_STORE_UNREADABLE;
        case ELOOP:
        case EXDEV: /* a way out of the tree */
                return OBJM_STORE_LINK;
        case ENXIO: /* a socket, or a device without driver */
        case ENODEV:
        case EISDIR:
                return OBJM_STORE_NOT_REGULAR;
        case EAGAIN:
        case EINTR:
                return nowait ? OBJM_STORE_COLD : OBJM_STORE_BUSY;
        default:
                return error;
        }
}

/* A descriptor in *ret_fd, or a condition, or negative errno. */
static int open_beneath(const struct objm_tree *t, const char *path, uint64_t flags, bool nowait, int *ret_fd)
{
        int r;

        if (nowait)
                r = t->has_cached ? openat2_once(t, path, flags, RESOLVE_CACHED) : -EAGAIN;
        else
                r = openat2_patient(t, path, flags);
        if (r < 0)
                return condition_of(r, nowait);
        *ret_fd = r;
        return 0;
}

/* Linux 5.8; 0 before. */
static uint64_t mount_of(int fd)
{
        struct statx st;

        return statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) == 0 && st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
}

int objm_tree_init(struct objm_tree *t, const char *path, bool follow_symlinks)
{
        int r;

        t->resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (follow_symlinks ? 0 : RESOLVE_NO_SYMLINKS);
        t->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (t->root < 0)
                return -errno;
        r = openat2_once(t, ".", O_PATH, RESOLVE_CACHED);
        t->has_cached = r != -EINVAL;
        if (r == -EINVAL)
                r = openat2_once(t, ".", O_PATH, 0);
        if (r < 0 && r != -EAGAIN) {
                objm_tree_deinit(t);
                return r;
        }
        if (r >= 0)
                close(r);
        t->mount = mount_of(t->root);
        return 0;
}

void objm_tree_deinit(struct objm_tree *t)
{
        t->root = objm_fd_close(t->root);
}

/*
 * O_NONBLOCK: a leased file says EAGAIN at once instead of making the caller wait for up to lease-break-time, and a
 * FIFO that took the name's place does not wait for a writer. On a regular file it has no other effect.
 */
int objm_tree_open(const struct objm_tree *t, const char *path, bool nowait, int *ret_fd, struct stat *ret_st)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        struct stat st;
        int r = open_beneath(t, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, nowait, &fd);

        if (r)
                return r;
        if (fstat(fd, &st) < 0)
                return condition_of(-errno, nowait);
        if (!S_ISREG(st.st_mode))
                return OBJM_STORE_NOT_REGULAR;
        *ret_st = st;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_tree_look(const struct objm_tree *t, const char *path, bool nowait, struct stat *ret_st)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        int r = open_beneath(t, path, O_PATH, nowait, &fd);

        if (r)
                return r;
        return fstat(fd, ret_st) < 0 ? condition_of(-errno, nowait) : 0;
}

int objm_tree_open_dir(const struct objm_tree *t, const char *path, int *ret_fd)
{
        return open_beneath(t, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, false, ret_fd);
}

/*
 * The kernel stamps with the time of its tick, and some file systems keep whole seconds, or two: of two changes within
 * that, the second does not show.
 */
static bool has_rested(const struct timespec *ctime)
{
        int64_t rest = ctime->tv_nsec ? 20000000 : 3000000000;
        struct timespec now;

        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        return (now.tv_sec - ctime->tv_sec) * INT64_C(1000000000) + now.tv_nsec - ctime->tv_nsec > rest;
}

bool objm_tree_may_keep(const struct objm_tree *t, int fd, const struct objm_object_info *info,
                        struct timespec *ret_ctime)
{
        struct stat st;

        if (!t->mount || mount_of(fd) != t->mount || fstat(fd, &st) < 0 || st.st_nlink != 1)
                return false;
        if (!has_rested(&st.st_ctim) || objm_tree_info(&st).version != info->version)
                return false;
        *ret_ctime = st.st_ctim;
        return true;
}

struct objm_object_info objm_tree_info(const struct stat *st)
{
        int64_t mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
        uint64_t identity[3] = {st->st_ino, (uint64_t)st->st_size, (uint64_t)mtime_ns};
        uint64_t version = objm_hash_public(identity, sizeof(identity));

        return (struct objm_object_info){
                .size = (uint64_t)st->st_size,
                .version = version ? version : 1,
                .mtime_ns = mtime_ns,
        };
}
