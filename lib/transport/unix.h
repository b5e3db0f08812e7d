/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_UNIX_H
#define OBJM_TRANSPORT_UNIX_H
/*
 * Unix stream sockets: listening, connecting, who is at the other end. All descriptors are non-blocking and
 * close-on-exec.
 */
#include "base/attr.h"
#include "base/peer.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct objm_unix_listen {
        const char *path;
        mode_t mode; /* of the socket file */
        gid_t group; /* its group, (gid_t)-1: leave it */
};

struct objm_unix_listener {
        int fd;
        int lock_fd; /* holds PATH.lock, so that one process at a time replaces the socket file; -1 when inherited */
        char *path;  /* NULL when inherited */
};

/*
 * Binds and listens. Of two processes that want the same path the second gets -EADDRINUSE, by a lock on PATH.lock; a
 * socket file left behind by a dead one is replaced, a file of another kind is not (-EADDRINUSE). Nobody can connect
 * before the file has its mode and group: that is before listen(2). -ENAMETOOLONG: the path does not fit in 107 bytes.
 */
int objm_unix_listen(const struct objm_unix_listen *how, struct objm_unix_listener *ret) objm_must_check;

/* Adopts a listening socket that was passed to this process. Takes @fd on success. -EINVAL: not one of ours. */
int objm_unix_adopt_listener(int fd, struct objm_unix_listener *ret) objm_must_check;

/* Sets the socket file's mode, then its group ((gid_t)-1: leaves it). Nothing of an inherited one. */
int objm_unix_listener_allow(struct objm_unix_listener *l, mode_t mode, gid_t group) objm_must_check;

/* Removes the socket file unless it was inherited: nobody new connects, the lock and what has connected stay. */
void objm_unix_listener_hide(struct objm_unix_listener *l);

/* Closes; removes the socket file unless it was inherited. */
void objm_unix_listener_deinit(struct objm_unix_listener *l);

/*
 * Takes one connection. 0; -EAGAIN: none waits; -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS: out of resources, pause; other
 * errors concern that connection alone. @sndbuf > 0 (bytes; the kernel doubles it) bounds what the peer may leave
 * unread, and with it the descriptors in flight to a peer that does not read. Descriptors sent to us are refused
 * (SO_PASSRIGHTS off, Linux 6.16) or, on older kernels, closed by receiving without a control buffer.
 */
int objm_unix_accept(int listener, int sndbuf, int *ret_fd) objm_must_check;

/*
 * Kernel memory, in bytes, of what the peer has not read yet: at twice the sndbuf nothing more is taken. 0 on error.
 * Less than OBJM_UNIX_UNREAD_LEAST is what the kernel has still to clear away of what has been read.
 */
#define OBJM_UNIX_UNREAD_LEAST 256
size_t objm_unix_unread(int fd);

/* Connects. 0; -EAGAIN: the backlog is full; -ECONNREFUSED, -ENOENT: nobody listens; -ENAMETOOLONG. */
int objm_unix_connect(const char *path, int *ret_fd) objm_must_check;

/*
 * Who connected, as of connect(2): uid and gid, and with @groups the supplementary groups (SO_PEERGROUPS, Linux 4.13).
 * The groups are allocated; give them back with objm_unix_peer_deinit().
 */
int objm_unix_peer(int fd, bool groups, struct objm_peer *ret) objm_must_check;
void objm_unix_peer_deinit(struct objm_peer *peer);

#endif
