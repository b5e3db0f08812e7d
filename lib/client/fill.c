/* SPDX-License-Identifier: MIT */
#include "client/fill.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>

#define LARGE 16384

static size_t least(uint64_t a, size_t b)
{
        return a < b ? (size_t)a : b;
}

void objm_fill_begin(struct objmapper *om, struct objm_slot *s, const struct objmapper_object *object, uint64_t len)
{
        s->object = *object;
        s->filled = 0;
        om->filling = s;
        om->body_left = len;
}

/* @n more bytes have come, and some of them, or all, are in the buffer. */
static void advance(struct objmapper *om, size_t n, size_t in_buffer)
{
        struct objm_slot *s = om->filling;

        s->filled += in_buffer;
        om->body_left -= n;
        if (om->body_left)
                return;
        om->filling = NULL;
        objm_slots_complete(&om->slots, s, (int)s->filled, &s->object);
}

static size_t room(const struct objmapper *om)
{
        return least(om->body_left, (size_t)om->filling->range_length - om->filling->filled);
}

void objm_fill_take(struct objmapper *om)
{
        struct objm_bytequeue *in = &om->link.in;
        size_t n = least(om->body_left, objm_bytequeue_len(in)), take = least(n, room(om));

        memcpy(om->filling->buf + om->filling->filled, objm_bytequeue_front(in), take);
        objm_bytequeue_pop(in, n);
        advance(om, n, take);
}

bool objm_fill_is_large(const struct objmapper *om)
{
        return om->filling && room(om) >= LARGE;
}

ssize_t objm_fill_receive(struct objmapper *om)
{
        ssize_t n = objm_link_recv_into(&om->link, om->filling->buf + om->filling->filled, room(om));

        if (n > 0)
                advance(om, (size_t)n, (size_t)n);
        return n;
}

static void read_one(struct objmapper *om, struct objm_slot *s)
{
        size_t n = (size_t)objm_slots_clip(s->range_offset, s->range_length, s->object.size);
        ssize_t got = objmapper_read_all(s->object.fd, s->buf, n, s->range_offset);

        s->object.fd = objm_fd_close(s->object.fd);
        if (got < 0 || (size_t)got == n)
                s->result = (int)got;
        else if (om->dead || !objm_slots_repeat(&om->slots, s))
                s->result = -ESTALE;
}

void objm_fill_from_descriptors(struct objmapper *om, struct objm_list *mark)
{
        struct objm_list *it = mark->next, *next;

        for (; it != &om->slots.done; it = next) {
                struct objm_slot *s = objm_container_of(it, struct objm_slot, node);

                next = it->next;
                if (s->buf && s->object.fd >= 0)
                        read_one(om, s);
        }
}
