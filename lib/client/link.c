/* SPDX-License-Identifier: MIT */
#include "client/link.h"

#include "base/fd.h"
#include "client/address.h"
#include "protocol/ring.h"
#include "protocol/v1.h"
#include "protocol/v3.h"
#include "transport/fdpass.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <errno.h>
#include <sys/socket.h>

#define OUT_START 512
#define IN_MIN    20480 /* a reply with the default of an inline body comes at once */
#define IN_MAX    65536

_Static_assert(IN_MIN > OBJM_V1_RESPONSE_MAX + 1 && IN_MIN > OBJM_V3_RESPONSE_MAX, "a reply must fit whole");

/* Room for a reply with a little metadata to each request in flight. */
static size_t in_size(unsigned depth)
{
        size_t size = (size_t)depth * 64;

        return size < IN_MIN ? IN_MIN : size > IN_MAX ? IN_MAX : size;
}

int objm_link_init(struct objm_link *l, unsigned depth)
{
        *l = (struct objm_link){.sock = -1};
        if (objm_bytequeue_init(&l->in, in_size(depth)) < 0 || objm_bytequeue_init(&l->out, OUT_START) < 0 ||
            objm_fdqueue_init(&l->fds, depth + OBJM_RING_FDS) < 0) {
                objm_link_deinit(l);
                return -ENOMEM;
        }
        return 0;
}

void objm_link_deinit(struct objm_link *l)
{
        objm_link_close(l);
        objm_fdqueue_deinit(&l->fds);
        objm_bytequeue_deinit(&l->out);
        objm_bytequeue_deinit(&l->in);
}

int objm_link_open(struct objm_link *l, const char *address)
{
        struct objm_address a;
        int r = objm_address_parse(address, &a);

        if (r < 0)
                return r;
        l->remote = a.tcp;
        if (!a.tcp)
                return objm_unix_connect(a.path, &l->sock);
        r = objm_tcp_connect(&a.inet, &l->sock);
        return r < 0 ? r : OBJM_LINK_CONNECTING;
}

int objm_link_connected(const struct objm_link *l)
{
        return objm_tcp_connected(l->sock);
}

void objm_link_close(struct objm_link *l)
{
        l->sock = objm_fd_close(l->sock);
        l->fds_lost = false;
        objm_fdqueue_close_all(&l->fds);
        objm_bytequeue_clear(&l->in);
        objm_bytequeue_clear(&l->out);
}

/* EPIPE and ECONNRESET mean the same to the user: the peer is gone. */
static int send_error(int error)
{
        if (error == EAGAIN)
                return 0;
        return error == EPIPE ? -ECONNRESET : -error;
}

int objm_link_send(struct objm_link *l)
{
        size_t len = objm_bytequeue_len(&l->out);
        ssize_t n;

        while (len) {
                n = send(l->sock, objm_bytequeue_front(&l->out), len, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return send_error(errno);
                objm_bytequeue_pop(&l->out, (size_t)n);
                len -= (size_t)n;
        }
        return 0;
}

ssize_t objm_link_recv_into(struct objm_link *l, void *buf, size_t len)
{
        size_t n_fds;
        bool lost;
        ssize_t n;

        n = objm_fdpass_recv(l->sock, buf, len, objm_fdqueue_end(&l->fds), OBJM_FDPASS_MAX, &n_fds, &lost);
        if (n <= 0)
                return n ? n : -ECONNRESET;
        l->fds_lost = l->fds_lost || lost;
        return objm_fdqueue_push(&l->fds, n_fds) ? n : -EPROTO;
}

ssize_t objm_link_recv(struct objm_link *l)
{
        ssize_t n;
        int r;

        /* What is decoded leaves the queue at once, so less than one reply is in the way. */
        r = objm_bytequeue_reserve(&l->in, l->in.cap - objm_bytequeue_len(&l->in), l->in.cap);
        if (r < 0)
                return r;
        n = objm_link_recv_into(l, objm_bytequeue_end(&l->in), objm_bytequeue_room(&l->in));
        if (n > 0)
                objm_bytequeue_push(&l->in, (size_t)n);
        return n;
}
