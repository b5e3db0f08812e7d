/* SPDX-License-Identifier: MIT */
#include "transport/ring_server.h"

#include "protocol/status.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int objm_ring_server_init(struct objm_ring_server *s, const struct objm_ring_geometry *g, int ret_fds[2])
{
        struct objm_ring_place requests, replies;
        int r;

        *s = (struct objm_ring_server){0};
        objm_arena_init(&s->arena, g->arena, g->entries);
        r = objm_shm_create(g, &s->shm, ret_fds);
        if (r < 0)
                return r;
        requests = objm_shm_requests(&s->shm);
        replies = objm_shm_replies(&s->shm);
        r = objm_ring_consumer_init(&s->requests, &requests, 0);
        return r < 0 ? r : objm_ring_producer_init(&s->replies, &replies, 0);
}

void objm_ring_server_deinit(struct objm_ring_server *s)
{
        objm_shm_unmap(&s->shm);
        objm_arena_deinit(&s->arena);
}

bool objm_ring_server_uri(const struct objm_ring_server *s, const struct objm_ring_request *rq, uint8_t *buf,
                          const uint8_t **ret)
{
        if (rq->flags & OBJM_RING_RQ_URI_SHORT) {
                *ret = rq->uri;
                return rq->uri_len <= sizeof(rq->uri);
        }
        if (rq->uri_len > OBJM_URI_MAX || rq->uri_len > s->shm.geometry.arena ||
            rq->uri_at > s->shm.geometry.arena - rq->uri_len)
                return false;
        memcpy(buf, objm_shm_request_arena(&s->shm) + rq->uri_at, rq->uri_len);
        *ret = buf;
        return true;
}

int objm_ring_server_room(struct objm_ring_server *s, uint32_t want)
{
        return objm_ring_writable(&s->replies, want);
}

uint8_t *objm_ring_server_body(struct objm_ring_server *s, uint32_t len, uint32_t *ret_at)
{
        if (!objm_arena_take(&s->arena, len, ret_at) && !objm_arena_take_again(&s->arena, &s->replies, len, ret_at))
                return NULL;
        return objm_shm_reply_arena(&s->shm) + *ret_at;
}

void objm_ring_server_rewind(struct objm_ring_server *s, const struct objm_ring_mark *m)
{
        s->requests.next = m->request;
        objm_ring_unput(&s->replies, m->reply);
        s->arena.head = m->arena;
        if (s->replies.next == s->replies.seen)
                s->arena.head = s->arena.tail = 0;
}

/* Requests are released before replies are published: whoever sees a reply sees that its request's place is free. */
uint32_t objm_ring_server_publish(struct objm_ring_server *s)
{
        uint32_t asleep;

        if (s->requests.released != s->requests.next)
                objm_ring_release(&s->requests);
        if (s->replies.published == s->replies.next || objm_likely(!objm_ring_publish(&s->replies)))
                return OBJM_RING_AWAKE;
        asleep = atomic_load_explicit(&s->replies.at.asleep->value, memory_order_relaxed);
        if (asleep == s->rung)
                return OBJM_RING_AWAKE; /* it has been, and is not back yet */
        s->rung = asleep;
        return asleep & OBJM_RING_ASLEEP_MASK;
}

/*
 * Who has said that it sleeps may not do so yet, and a futex does not remember: when what it was to be woken for had
 * been taken before, head does not keep it awake either, and it needs to be woken again.
 */
void objm_ring_server_wake(struct objm_ring_server *s)
{
        if (syscall(SYS_futex, &s->replies.at.head->value, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 1)
                s->rung = OBJM_RING_AWAKE;
}

int objm_ring_server_sleep(struct objm_ring_server *s)
{
        return objm_ring_sleep(&s->requests);
}

void objm_ring_server_awake(struct objm_ring_server *s)
{
        objm_ring_awake(&s->requests);
}

void objm_ring_server_doze(struct objm_ring_server *s)
{
        atomic_store_explicit(&s->requests.at.asleep->value, OBJM_RING_ASLEEP, memory_order_relaxed);
}

bool objm_ring_server_end(struct objm_ring_server *s)
{
        struct objm_ring_consumer *c = &s->requests;

        if (c->next != c->seen || s->replies.next != s->replies.published)
                return false;
        atomic_store_explicit(&c->at.asleep->value, OBJM_RING_ENDED, memory_order_relaxed);
        objm_ring_fence(1);
        if (objm_ring_readable(c) == 0)
                return true;
        objm_ring_awake(c);
        return false;
}
