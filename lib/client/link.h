/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_LINK_H
#define OBJM_CLIENT_LINK_H
/*
 * One connection's socket with what is on its way: bytes to send, bytes and descriptors that have arrived. Never
 * waits, never raises a signal. Knows nothing of requests.
 */
#include "base/attr.h"
#include "client/bytequeue.h"
#include "client/fdqueue.h"
#include <stdbool.h>
#include <sys/types.h>

#define OBJM_LINK_OUT_MAX 65536 /* one send(2); more waits in the request table */

struct objm_link {
        int sock;    /* owned; -1: closed, and the queues are empty */
        bool remote; /* no descriptor can come */
        bool fds_lost;
        struct objm_bytequeue in, out;
        struct objm_fdqueue fds;
};

/* @depth: requests in flight at most; what is allocated grows with it. 0 or -ENOMEM; on failure nothing is left. */
int objm_link_init(struct objm_link *l, unsigned depth) objm_must_check;
void objm_link_deinit(struct objm_link *l);

enum {
        OBJM_LINK_CONNECTING = 1, /* nothing can be sent yet */
};

/*
 * Connects, see address.h for the forms. 0; OBJM_LINK_CONNECTING: objm_link_connected() tells, when poll(2) has said
 * POLLOUT; or what objm_unix_connect() and objm_tcp_connect() say.
 */
int objm_link_open(struct objm_link *l, const char *address) objm_must_check;
/* 0; -EINPROGRESS; others: it has failed, close. */
int objm_link_connected(const struct objm_link *l) objm_must_check;
/* Closes the socket and every descriptor that waits. Nothing is sent: safe on the parent's socket after fork(2). */
void objm_link_close(struct objm_link *l);

/* Sends what is in `out` as far as the socket takes it. 0, also when some is left; -ECONNRESET or another errno. */
int objm_link_send(struct objm_link *l) objm_must_check;

/*
 * Receives once into `in` and `fds`. Returns the number of bytes; -EAGAIN; -ECONNRESET, also at the end of the stream;
 * -EPROTO: more descriptors than there can be requests for. Sets fds_lost when this process had no number for all.
 */
ssize_t objm_link_recv(struct objm_link *l) objm_must_check;

/* The same, with the bytes going to @buf, past `in`, which has to be empty. */
ssize_t objm_link_recv_into(struct objm_link *l, void *buf, size_t n) objm_must_check;

#endif
