/* SPDX-License-Identifier: MIT */
#include "client/bytequeue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int objm_bytequeue_init(struct objm_bytequeue *q, size_t cap)
{
        uint8_t *buf = malloc(cap);

        if (!buf)
                return -ENOMEM;
        *q = (struct objm_bytequeue){.buf = buf, .cap = cap};
        return 0;
}

void objm_bytequeue_deinit(struct objm_bytequeue *q)
{
        free(q->buf);
        *q = (struct objm_bytequeue){0};
}

static int grow(struct objm_bytequeue *q, size_t need, size_t max)
{
        size_t cap = q->cap * 2 > need ? q->cap * 2 : need;
        uint8_t *buf;

        if (need > max)
                return -ENOBUFS;
        buf = realloc(q->buf, cap < max ? cap : max);
        if (!buf)
                return -ENOMEM;
        q->buf = buf;
        q->cap = cap < max ? cap : max;
        return 0;
}

int objm_bytequeue_reserve(struct objm_bytequeue *q, size_t n, size_t max)
{
        if (objm_bytequeue_room(q) >= n)
                return 0;
        memmove(q->buf, objm_bytequeue_front(q), objm_bytequeue_len(q));
        q->tail -= q->head;
        q->head = 0;
        return objm_bytequeue_room(q) >= n ? 0 : grow(q, q->tail + n, max);
}

void objm_bytequeue_pop(struct objm_bytequeue *q, size_t n)
{
        assert(n <= objm_bytequeue_len(q));
        q->head += n;
        if (q->head == q->tail)
                objm_bytequeue_clear(q);
}
