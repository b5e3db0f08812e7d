/* SPDX-License-Identifier: MIT */
#include "transport/unix.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Takes the lock, or says why not. A lock file that was removed between open and flock is no lock: try again. */
static int take_lock(const char *path, int *ret_fd)
{
        char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
        struct stat held, named;

        snprintf(name, sizeof(name), "%s.lock", path);
        for (;;) {
                int fd objm_cleanup(objm_fd_closep) = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

                if (fd < 0)
                        return -errno;
                if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                        return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
                if (fstat(fd, &held) == 0 && stat(name, &named) == 0 && held.st_ino == named.st_ino) {
                        *ret_fd = objm_fd_steal(&fd);
                        return 0;
                }
        }
}

static void drop_lock(const char *path, int fd)
{
        char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];

        snprintf(name, sizeof(name), "%s.lock", path);
        unlink(name);
        objm_fd_close(fd);
}

/* Removes a socket file that nobody listens on. Somebody may listen without our lock: ask the kernel. */
static int remove_stale(const char *path)
{
        struct stat st;
        int fd, r;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EADDRINUSE;
        r = objm_unix_connect(path, &fd);
        if (r == 0)
                objm_fd_close(fd);
        if (r != -ECONNREFUSED)
                return -EADDRINUSE;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_and_listen(const struct objm_unix_listen *how, int fd)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        memcpy(addr.sun_path, how->path, strlen(how->path));
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return -errno;
        if (chmod(how->path, how->mode) < 0 ||
            (how->group != (gid_t)-1 && chown(how->path, (uid_t)-1, how->group) < 0) || listen(fd, SOMAXCONN) < 0) {
                int r = -errno;

                unlink(how->path);
                return r;
        }
        return 0;
}

static int listen_locked(const struct objm_unix_listen *how, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        struct objm_unix_listener adopted;
        int r = remove_stale(how->path);

        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        r = bind_and_listen(how, fd);
        if (r < 0)
                return r;
        r = objm_unix_adopt_listener(fd, &adopted); /* the options that every listener gets */
        if (r < 0) {
                unlink(how->path);
                return r;
        }
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_unix_listen(const struct objm_unix_listen *how, struct objm_unix_listener *ret)
{
        struct objm_unix_listener l = {.fd = -1, .lock_fd = -1};
        int r;

        if (!*how->path || strlen(how->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
                return *how->path ? -ENAMETOOLONG : -EINVAL;
        l.path = strdup(how->path);
        if (!l.path)
                return -ENOMEM;
        r = take_lock(l.path, &l.lock_fd);
        if (r == 0) {
                r = listen_locked(how, &l.fd);
                if (r < 0)
                        drop_lock(l.path, l.lock_fd);
        }
        if (r < 0) {
                free(l.path);
                return r;
        }
        *ret = l;
        return 0;
}

int objm_unix_listener_allow(struct objm_unix_listener *l, mode_t mode, gid_t group)
{
        if (!l->path)
                return 0;
        if (chmod(l->path, mode) < 0 || (group != (gid_t)-1 && chown(l->path, (uid_t)-1, group) < 0))
                return -errno;
        return 0;
}

void objm_unix_listener_hide(struct objm_unix_listener *l)
{
        if (l->path)
                unlink(l->path);
}

void objm_unix_listener_deinit(struct objm_unix_listener *l)
{
        if (l->path) {
                unlink(l->path);
                drop_lock(l->path, l->lock_fd);
        }
        objm_fd_close(l->fd);
        free(l->path);
        *l = (struct objm_unix_listener){.fd = -1, .lock_fd = -1};
}
