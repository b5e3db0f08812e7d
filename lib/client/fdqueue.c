/* SPDX-License-Identifier: MIT */
#include "client/fdqueue.h"

#include "base/fd.h"
#include "transport/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int objm_fdqueue_init(struct objm_fdqueue *q, size_t limit)
{
        int *fds = calloc(limit + OBJM_FDPASS_MAX, sizeof(*fds));

        if (!fds)
                return -ENOMEM;
        *q = (struct objm_fdqueue){.fds = fds, .limit = limit};
        return 0;
}

void objm_fdqueue_deinit(struct objm_fdqueue *q)
{
        objm_fdqueue_close_all(q);
        free(q->fds);
        *q = (struct objm_fdqueue){0};
}

void objm_fdqueue_close_all(struct objm_fdqueue *q)
{
        if (objm_fdqueue_len(q))
                objm_fd_close_many(q->fds + q->head, objm_fdqueue_len(q));
        q->head = q->tail = 0;
}

int *objm_fdqueue_end(struct objm_fdqueue *q)
{
        assert(objm_fdqueue_len(q) <= q->limit);
        if (q->tail > q->limit) {
                memmove(q->fds, q->fds + q->head, objm_fdqueue_len(q) * sizeof(*q->fds));
                q->tail -= q->head;
                q->head = 0;
        }
        return q->fds + q->tail;
}

bool objm_fdqueue_push(struct objm_fdqueue *q, size_t n)
{
        q->tail += n;
        return objm_fdqueue_len(q) <= q->limit;
}

int objm_fdqueue_pop(struct objm_fdqueue *q)
{
        int fd;

        if (q->head == q->tail)
                return -1;
        fd = q->fds[q->head++];
        if (q->head == q->tail)
                q->head = q->tail = 0;
        return fd;
}
