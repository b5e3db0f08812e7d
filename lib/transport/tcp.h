/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_TCP_H
#define OBJM_TRANSPORT_TCP_H
/*
 * TCP over IPv4 and IPv6: listening, accepting, connecting. All descriptors are non-blocking and close-on-exec. A peer
 * has no credentials and takes no descriptors.
 *
 * What a peer that does not read may hold of the kernel's memory: unsent are at most OBJM_TCP_UNSENT bytes and one
 * message more, because the socket takes nothing beyond; sent and not acknowledged is what the peer's own window
 * allowed, at most net.ipv4.tcp_wmem[2]. A peer that acknowledges nothing, or keeps its window shut, is given up by
 * the kernel after OBJM_TCP_GIVE_UP_MS.
 */
#include "base/attr.h"
#include "transport/inet.h"
#include <stdbool.h>
#include <stddef.h>

#define OBJM_TCP_UNSENT     (128 * 1024) /* TCP_NOTSENT_LOWAT, bytes */
#define OBJM_TCP_GIVE_UP_MS 30000        /* TCP_USER_TIMEOUT */

/* Keep-alive: a peer that is gone without a word is found after about 80 s without traffic. */
#define OBJM_TCP_KEEP_IDLE_S 60
#define OBJM_TCP_KEEP_EACH_S 5
#define OBJM_TCP_KEEP_PROBES 4

/*
 * Binds and listens. "::" takes IPv6 alone, so that 0.0.0.0 can be had beside it (IPV6_V6ONLY). -EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES and others of bind(2).
 */
int objm_tcp_listen(const struct objm_inet *addr, int *ret_fd) objm_must_check;

/* Prepares a listening socket that was passed to this process; it stays the caller's. -EINVAL: it is none of TCP. */
int objm_tcp_adopt_listener(int fd) objm_must_check;

/* Takes one connection. As objm_unix_accept(). */
int objm_tcp_accept(int listener, int *ret_fd) objm_must_check;

/*
 * Begins to connect. 0: *ret_fd is given, and objm_tcp_connected() tells when it can be used, once poll(2) says
 * POLLOUT.
 */
int objm_tcp_connect(const struct objm_inet *addr, int *ret_fd) objm_must_check;

/* 0; -EINPROGRESS; -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH and others: it has failed. */
int objm_tcp_connected(int fd) objm_must_check;

/* The local address of a socket. 0 or negative errno. */
int objm_tcp_name(int fd, struct objm_inet *ret) objm_must_check;

/* Bytes that the peer has not acknowledged, sent or not. 0 on error. */
size_t objm_tcp_unread(int fd);

/* True when the socket would take more. */
bool objm_tcp_has_room(int fd);

/*
 * Before close(2). Resets: what is unsent is dropped with its memory, and the peer gets an error, not an end. finish():
 * the peer gets an end behind what was sent; input that waits is dropped first, as it would make a reset of it.
 */
void objm_tcp_reset_on_close(int fd);
void objm_tcp_finish(int fd);

#endif
