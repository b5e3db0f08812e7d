/* SPDX-License-Identifier: MIT */
#include "transport/outq.h"

#include "base/fd.h"
#include "transport/fdpass.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct objm_out {
        struct objm_out *next;
        size_t len, sent;
        int fd;
        unsigned char data[];
};

void objm_outq_init(struct objm_outq *q)
{
        *q = (struct objm_outq){.tail = &q->head};
}

static void pop(struct objm_outq *q)
{
        struct objm_out *o = q->head;

        q->head = o->next;
        if (!q->head)
                q->tail = &q->head;
        q->bytes -= o->len - o->sent;
        if (o->fd >= 0) {
                q->fds--;
                objm_fd_close(o->fd);
        }
        free(o);
}

void objm_outq_deinit(struct objm_outq *q)
{
        while (q->head)
                pop(q);
}

int objm_outq_push(struct objm_outq *q, const void *data, size_t len, int take_fd)
{
        struct objm_out *o;

        if (q->bytes + len > OBJM_OUTQ_BYTES_MAX || (take_fd >= 0 && q->fds >= OBJM_OUTQ_FDS_MAX))
                return -ENOBUFS;
        o = malloc(sizeof(*o) + len);
        if (!o)
                return -ENOMEM;
        *o = (struct objm_out){.len = len, .fd = take_fd};
        memcpy(o->data, data, len);
        *q->tail = o;
        q->tail = &o->next;
        q->bytes += len;
        q->fds += take_fd >= 0;
        return 0;
}

int objm_outq_send(struct objm_outq *q, int sock)
{
        while (q->head) {
                struct objm_out *o = q->head;
                ssize_t n = objm_fdpass_send(sock, o->data + o->sent, o->len - o->sent, &o->fd, o->fd >= 0);

                if (n < 0)
                        return (int)n;
                if (o->fd >= 0) {
                        o->fd = objm_fd_close(o->fd);
                        q->fds--;
                }
                o->sent += (size_t)n;
                q->bytes -= (size_t)n;
                if (o->sent == o->len)
                        pop(q);
        }
        return 0;
}
