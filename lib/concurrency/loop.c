/* SPDX-License-Identifier: MIT */
#include "concurrency/loop.h"

#include "base/fd.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

int objm_loop_init(struct objm_loop *l)
{
        /* Edge-triggered and never read: each write is one event, and the counter cannot fill up in our lifetime. */
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
        int r;

        l->n_events = 0;
        atomic_init(&l->inbox, NULL);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (l->wake_fd >= 0 && l->epoll_fd >= 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev) == 0)
                return 0;
        r = -errno;
        objm_loop_deinit(l);
        return r;
}

void objm_loop_deinit(struct objm_loop *l)
{
        l->epoll_fd = objm_fd_close(l->epoll_fd);
        l->wake_fd = objm_fd_close(l->wake_fd);
}

int objm_loop_add(struct objm_loop *l, struct objm_source *s)
{
        struct epoll_event ev = {.events = s->events, .data.ptr = s};

        return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0 ? -errno : 0;
}

int objm_loop_set(struct objm_loop *l, struct objm_source *s, uint32_t events)
{
        struct epoll_event ev = {.events = events, .data.ptr = s};

        if (events == s->events)
                return 0;
        if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
                return -errno;
        s->events = events;
        return 0;
}

void objm_loop_remove(struct objm_loop *l, struct objm_source *s)
{
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
}

int objm_loop_wait(struct objm_loop *l, int timeout_ms)
{
        int n = epoll_wait(l->epoll_fd, l->events, OBJM_LOOP_BATCH, timeout_ms);

        l->n_events = n > 0 ? n : 0;
        return l->n_events;
}

/* The inbox is a stack: turn it around, so that mail is delivered in the order of posting. */
static struct objm_mail *take_mail(struct objm_loop *l)
{
        struct objm_mail *stack, *queue = NULL;

        if (!atomic_load_explicit(&l->inbox, memory_order_relaxed))
                return NULL;
        stack = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
        while (stack) {
                struct objm_mail *next = stack->next;

                stack->next = queue;
                queue = stack;
                stack = next;
        }
        return queue;
}

void objm_loop_dispatch(struct objm_loop *l)
{
        for (int i = 0; i < l->n_events; i++) {
                struct objm_source *s = l->events[i].data.ptr;

                if (s)
                        s->on_events(s, l->events[i].events);
        }
        l->n_events = 0;
        for (struct objm_mail *m = take_mail(l), *next; m; m = next) {
                next = m->next;
                m->deliver(m);
        }
}

void objm_loop_post(struct objm_loop *l, struct objm_mail *m)
{
        struct objm_mail *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);
        uint64_t one = 1;

        do
                m->next = head;
        while (!atomic_compare_exchange_weak_explicit(&l->inbox, &head, m, memory_order_release,
                                                      memory_order_relaxed));
        /* Whoever finds the inbox empty rings; mail put on top of mail is covered by that ring. */
        if (!head && write(l->wake_fd, &one, sizeof(one)) < 0)
                return; /* EAGAIN alone is possible: the counter is full, so the event is pending */
}
