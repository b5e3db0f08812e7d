/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_FDPASS_H
#define OBJM_TRANSPORT_FDPASS_H
/*
 * Bytes and descriptors over a Unix stream socket, without waiting and without SIGPIPE.
 *
 * The kernel keeps descriptors with the first byte of the message they were sent on, ends a recvmsg(2) after a message
 * that carries some, but merges plain bytes before it into the same call: descriptors do not align with what one call
 * returns. A receiver keeps a queue of bytes and a queue of descriptors and matches them by counting.
 */
#include "base/attr.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define OBJM_FDPASS_MAX 253 /* SCM_MAX_FD, include/net/scm.h */

/*
 * Sends up to @len >= 1 bytes and @n_fds descriptors (borrowed) as one message. Returns how many bytes went; whenever
 * that is positive all descriptors went with the first of them, and the rest is to be sent without. -EAGAIN: nothing
 * went. -ETOOMANYREFS: too many descriptors of this user are in flight, nothing went. -EPIPE, -ECONNRESET: the peer is
 * gone.
 */
ssize_t objm_fdpass_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds) objm_must_check;

/* Does the kernel take another of this user's descriptors? 0; -ETOOMANYREFS; or what socketpair(2) says. */
int objm_fdpass_probe(void) objm_must_check;

/*
 * Receives up to @len bytes and puts descriptors that came along, close-on-exec, at @fds[0..*ret_n); the caller owns
 * them. @max_fds, up to OBJM_FDPASS_MAX, is the room at @fds; what came beyond it is closed. *ret_lost is true when
 * descriptors were lost, because this process has no free number (MSG_CTRUNC) or they were beyond @max_fds. Returns the
 * number of bytes, 0 at the end of the stream, -EAGAIN, or another negative errno.
 */
ssize_t objm_fdpass_recv(int sock, void *buf, size_t len, int *fds, size_t max_fds, size_t *ret_n, bool *ret_lost)
        objm_must_check;

#endif
