/* SPDX-License-Identifier: MIT */
#include "client/slots.h"

#include "base/fd.h"
#include "protocol/status.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define URI_ROUND 64

static const struct objmapper_object no_object = {.fd = -1, .mtime = -1};

static struct objm_slot *slot_of(struct objm_list *node)
{
        return objm_container_of(node, struct objm_slot, node);
}

int objm_slots_init(struct objm_slots *t, unsigned depth)
{
        struct objm_slot *slot = calloc(depth, sizeof(*slot));

        if (!slot)
                return -ENOMEM;
        *t = (struct objm_slots){.slot = slot, .depth = depth};
        objm_list_init(&t->free);
        objm_list_init(&t->queued);
        objm_list_init(&t->sent);
        objm_list_init(&t->done);
        for (unsigned i = 0; i < depth; i++)
                objm_list_add_tail(&t->free, &slot[i].node);
        return 0;
}

void objm_slots_deinit(struct objm_slots *t)
{
        if (!t->slot)
                return;
        objm_slots_abandon_all(t);
        for (unsigned i = 0; i < t->depth; i++)
                free(t->slot[i].uri);
        free(t->slot);
        *t = (struct objm_slots){0};
}

struct objm_slot *objm_slots_first(struct objm_list *list)
{
        return objm_list_empty(list) ? NULL : slot_of(list->next);
}

static int set_uri(struct objm_slot *s, const void *uri, size_t len)
{
        if (len > s->uri_cap) {
                size_t cap = (len + URI_ROUND - 1) / URI_ROUND * URI_ROUND;
                char *buf = realloc(s->uri, cap);

                if (!buf)
                        return -ENOMEM;
                s->uri = buf;
                s->uri_cap = (uint16_t)cap;
        }
        if (len)
                memcpy(s->uri, uri, len);
        s->uri_len = (uint16_t)len;
        return 0;
}

int objm_slots_add(struct objm_slots *t, uint8_t op, const void *uri, size_t len, uint64_t user_data,
                   uint64_t if_version)
{
        struct objm_slot *s = objm_slots_first(&t->free);
        int r;

        assert(len <= OBJMAPPER_URI_MAX);
        if (!s)
                return -EAGAIN;
        r = set_uri(s, uri, len);
        if (r < 0)
                return r;
        s->op = op;
        s->user_data = user_data;
        s->if_version = if_version;
        s->mode = OBJM_MODE_FD;
        s->range_offset = s->range_length = 0;
        s->buf = NULL;
        s->sends = 0;
        s->no_ring = false;
        s->metadata = t->metadata;
        t->n_used++;
        objm_list_move_tail(&t->queued, &s->node);
        return 0;
}

int objm_slots_add_read(struct objm_slots *t, const struct objm_slots_read *read, const void *uri, size_t len)
{
        struct objm_slot *s;
        int r = objm_slots_add(t, OBJM_V3_OP_GET, uri, len, read->user_data, read->if_version);

        assert(!read->buf || read->range_length);
        if (r < 0)
                return r;
        s = slot_of(t->queued.prev);
        s->mode = read->mode;
        s->range_offset = read->range_offset;
        s->range_length = read->range_length;
        s->buf = read->buf;
        return 0;
}

int objm_slots_add_control(struct objm_slots *t, uint8_t op, uint8_t mode)
{
        int r = objm_slots_add(t, op, NULL, 0, 0, 0);

        if (r == 0)
                slot_of(t->queued.prev)->mode = mode;
        return r;
}

uint32_t objm_slots_id(const struct objm_slots *t, const struct objm_slot *s)
{
        return (uint32_t)s->generation << 16 | (uint32_t)(s - t->slot);
}

struct objm_slot *objm_slots_find_sent(struct objm_slots *t, uint32_t id)
{
        struct objm_slot *s;

        if ((id & 0xffff) >= t->depth)
                return NULL;
        s = &t->slot[id & 0xffff];
        return s->on_wire && s->generation == id >> 16 ? s : NULL;
}

void objm_slots_mark_sent(struct objm_slots *t, struct objm_slot *s)
{
        s->on_wire = true;
        t->n_sent++;
        objm_list_move_tail(&t->sent, &s->node);
}

void objm_slots_mark_on_ring(struct objm_slots *t, struct objm_slot *s)
{
        objm_slots_mark_sent(t, s);
        s->on_ring = true;
        t->n_ring++;
}

void objm_slots_mark_fd_coming(struct objm_slots *t, struct objm_slot *s)
{
        t->n_fds_coming += !s->fd_coming;
        s->fd_coming = true;
}

/* Takes @s off the wire's books; it stays on its list. */
static void unmark_sent(struct objm_slots *t, struct objm_slot *s)
{
        t->n_sent -= s->on_wire;
        t->n_ring -= s->on_ring;
        t->n_fds_coming -= s->fd_coming;
        s->on_wire = s->on_ring = s->fd_coming = false;
}

/* The slot used last is used next: it is warm in the cache. */
static void release(struct objm_slots *t, struct objm_slot *s)
{
        unmark_sent(t, s);
        t->n_used--;
        t->n_abandoned -= s->abandoned;
        s->abandoned = false;
        s->generation++;
        objm_list_unlink(&s->node);
        objm_list_add_tail(t->free.next, &s->node);
}

void objm_slots_complete(struct objm_slots *t, struct objm_slot *s, int result,
                         const struct objmapper_object *take_object)
{
        if (s->abandoned) {
                objm_fd_close(take_object->fd);
                release(t, s);
                return;
        }
        unmark_sent(t, s);
        s->result = result;
        s->object = *take_object;
        t->n_done++;
        objm_list_move_tail(&t->done, &s->node);
}

void objm_slots_fail(struct objm_slots *t, struct objm_slot *s, int result)
{
        objm_slots_complete(t, s, result, &no_object);
}

static void fail_list(struct objm_slots *t, struct objm_list *list, int result)
{
        struct objm_slot *s;

        while ((s = objm_slots_first(list)))
                objm_slots_fail(t, s, result);
}

void objm_slots_fail_sent(struct objm_slots *t, int result)
{
        fail_list(t, &t->sent, result);
}

void objm_slots_fail_queued(struct objm_slots *t, int result)
{
        fail_list(t, &t->queued, result);
}

void objm_slots_requeue_sent(struct objm_slots *t, bool count)
{
        struct objm_list *front = t->queued.next;
        struct objm_slot *s;

        while ((s = objm_slots_first(&t->sent))) {
                if (s->abandoned) {
                        release(t, s);
                } else if ((count && ++s->sends >= OBJM_SLOTS_SENDS) || s->op == OBJM_V3_OP_DRAIN) {
                        objm_slots_fail(t, s, -ECONNRESET);
                } else {
                        unmark_sent(t, s);
                        objm_list_move_tail(front, &s->node); /* before what was first: the oldest stay in front */
                }
        }
}

/* To the front: the oldest come first. */
static void requeue_first(struct objm_slots *t, struct objm_slot *s)
{
        if (s->abandoned) {
                release(t, s);
                return;
        }
        unmark_sent(t, s);
        objm_list_move_tail(t->queued.next, &s->node);
}

void objm_slots_requeue_for_socket(struct objm_slots *t, struct objm_slot *s)
{
        s->no_ring = true;
        requeue_first(t, s);
}

bool objm_slots_repeat(struct objm_slots *t, struct objm_slot *s)
{
        if (++s->sends >= OBJM_SLOTS_SENDS)
                return false;
        t->n_done--;
        objm_list_move_tail(&t->queued, &s->node);
        return true;
}

void objm_slots_requeue_ring(struct objm_slots *t)
{
        struct objm_list *it = t->sent.prev, *before;

        for (; it != &t->sent; it = before) {
                before = it->prev;
                if (slot_of(it)->on_ring && !slot_of(it)->fd_coming)
                        requeue_first(t, slot_of(it));
        }
}

void objm_slots_abandon_all(struct objm_slots *t)
{
        struct objm_list *it, *tmp;
        struct objm_slot *s;

        while ((s = objm_slots_first(&t->queued)))
                release(t, s);
        while ((s = objm_slots_first(&t->done))) {
                s->object.fd = objm_fd_close(s->object.fd);
                t->n_done--;
                release(t, s);
        }
        objm_list_for_each_safe(it, tmp, &t->sent) {
                t->n_abandoned += !slot_of(it)->abandoned;
                slot_of(it)->abandoned = true;
        }
}

size_t objm_slots_take_done(struct objm_slots *t, struct objmapper_completion *ret, size_t n)
{
        struct objm_slot *s;
        size_t i = 0;

        for (; i < n && (s = objm_slots_first(&t->done)); i++) {
                ret[i] = (struct objmapper_completion){s->user_data, s->result, s->object};
                s->object.fd = -1;
                t->n_done--;
                release(t, s);
        }
        return i;
}
