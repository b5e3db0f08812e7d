/* SPDX-License-Identifier: MIT */
#include "transport/unix.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* include/uapi/asm-generic/socket.h, Linux 6.16 */
#endif

static int set_address(const char *path, struct sockaddr_un *ret)
{
        size_t len = strlen(path);

        if (!len || len >= sizeof(ret->sun_path))
                return len ? -ENAMETOOLONG : -EINVAL;
        memset(ret, 0, sizeof(*ret));
        ret->sun_family = AF_UNIX;
        memcpy(ret->sun_path, path, len);
        return 0;
}

static int new_socket(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return fd < 0 ? -errno : fd;
}

/* Older kernels do not know the option; there, descriptors are dropped by receiving without a control buffer. */
static void refuse_descriptors(int fd)
{
        int off = 0;

        (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

int objm_unix_connect(const char *path, int *ret_fd)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        struct sockaddr_un addr;
        int r = set_address(path, &addr);

        if (r < 0)
                return r;
        fd = new_socket();
        if (fd < 0)
                return fd;
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return -errno;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

int objm_unix_accept(int listener, int sndbuf, int *ret_fd)
{
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return -errno;
        refuse_descriptors(fd); /* an inherited listener may have accepted before its own option was cleared */
        if (sndbuf > 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
        *ret_fd = fd;
        return 0;
}

size_t objm_unix_unread(int fd)
{
        int n = 0;

        return ioctl(fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

#define GROUPS_USUAL 64

/* Into memory of its own, of which SO_PEERGROUPS says how much it takes when it got too little. */
static int read_groups(int fd, struct objm_peer *ret)
{
        gid_t usual[GROUPS_USUAL], *groups;
        socklen_t len = sizeof(usual);
        int r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, usual, &len) < 0 ? -errno : 0;

        if (r == -ENOPROTOOPT || (r == 0 && len == 0))
                return 0;
        if (r < 0 && r != -ERANGE)
                return r;
        groups = malloc(len);
        if (!groups)
                return -ENOMEM;
        if (r == 0)
                memcpy(groups, usual, len);
        else if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0) {
                r = -errno;
                free(groups);
                return r;
        }
        ret->groups = groups;
        ret->n_groups = (uint32_t)(len / sizeof(gid_t));
        return 0;
}

int objm_unix_peer(int fd, bool groups, struct objm_peer *ret)
{
        struct objm_peer peer = {.sock = fd};
        struct ucred cred;
        socklen_t len = sizeof(cred);
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
                return -errno;
        peer.uid = cred.uid;
        peer.gid = cred.gid;
        r = groups ? read_groups(fd, &peer) : 0;
        if (r < 0)
                return r;
        *ret = peer;
        return 0;
}

void objm_unix_peer_deinit(struct objm_peer *peer)
{
        free((void *)peer->groups);
        peer->groups = NULL;
        peer->n_groups = 0;
}

int objm_unix_adopt_listener(int fd, struct objm_unix_listener *ret)
{
        int type = 0, listening = 0, family = 0;
        socklen_t len = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
                return errno == ENOTSOCK ? -EINVAL : -errno;
        if (family != AF_UNIX || type != SOCK_STREAM || !listening)
                return -EINVAL;
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        refuse_descriptors(fd);
        *ret = (struct objm_unix_listener){.fd = fd, .lock_fd = -1};
        return 0;
}
