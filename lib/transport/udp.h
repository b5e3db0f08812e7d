/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_UDP_H
#define OBJM_TRANSPORT_UDP_H
/*
 * UDP sockets: non-blocking, close-on-exec, and such that the kernel neither splits what they send nor takes them to
 * broadcast. Datagrams come and go in batches, one system call each.
 */
#include "protocol/udp.h"
#include "transport/udp_address.h"

#define OBJM_UDP_BATCH 64

struct objm_udp_datagram {
        struct objm_inet peer;
        size_t len;
        uint8_t data[OBJM_UDP_DATAGRAM_MAX];
};

struct objm_udp_batch {
        size_t n;
        struct objm_udp_datagram item[OBJM_UDP_BATCH];
};

/* Binds a socket; port 0 lets the kernel choose. An IPv6 socket takes no IPv4. 0 or negative errno. */
int objm_udp_bind(const struct objm_inet *a, int *ret_fd) objm_must_check;

/* Sets the options of a bound socket that was passed to this process. -EINVAL: it is none, or not of one address. */
int objm_udp_adopt(int fd) objm_must_check;

/* A socket that sends to @a and receives from there only. 0 or negative errno. */
int objm_udp_connect(const struct objm_inet *a, int *ret_fd) objm_must_check;

/* Where it is bound. 0 or negative errno. */
int objm_udp_name(int fd, struct objm_inet *ret) objm_must_check;

/*
 * Receives what has come, OBJM_UDP_BATCH datagrams at most. One that is longer than OBJM_UDP_DATAGRAM_MAX has length 0.
 * 0 (b->n are there, perhaps none), or negative errno.
 */
int objm_udp_recv(int fd, struct objm_udp_batch *b) objm_must_check;

/*
 * Sends all of @b, each to its peer, never waiting: what the socket has no room for is dropped, and so is what the
 * kernel refuses to send. Returns how many have left.
 */
size_t objm_udp_send(int fd, const struct objm_udp_batch *b);

/* The same for one. */
bool objm_udp_send_one(int fd, const struct objm_udp_datagram *d);

#endif
