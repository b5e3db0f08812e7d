/* SPDX-License-Identifier: MIT */
#include "objmapperd/socket_set.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

/* Lives on the main thread's stack until the loop's is done with it. */
struct change {
        struct objm_mail mail;
        struct socket_set *set;
        struct set_socket *add;
        int remove; /* the descriptor of the socket to be removed */
        void (*last)(struct set_socket *s);
        int result;
        sem_t done;
};

void socket_set_init(struct socket_set *set, struct objm_loop *loop,
                     void (*on_events)(struct objm_source *source, uint32_t events), void *owner)
{
        *set = (struct socket_set){.loop = loop, .on_events = on_events, .owner = owner};
        objm_list_init(&set->sockets);
}

static struct set_socket *of(struct objm_list *link)
{
        return objm_container_of(link, struct set_socket, link);
}

void socket_set_deinit(struct socket_set *set)
{
        struct objm_list *it, *next;

        objm_list_for_each_safe(it, next, &set->sockets)
                free(of(it));
}

int socket_set_watch(struct socket_set *set, uint32_t events)
{
        struct objm_list *it, *next;
        int r = 0;

        objm_list_for_each_safe(it, next, &set->sockets)
                if (r == 0 && of(it)->live)
                        r = objm_loop_set(set->loop, &of(it)->source, events);
        return r;
}

static void on_add(struct objm_mail *m)
{
        struct change *c = objm_container_of(m, struct change, mail);

        c->result = objm_loop_add(c->set->loop, &c->add->source);
        if (c->result == 0)
                objm_list_add_tail(&c->set->sockets, &c->add->link);
        sem_post(&c->done);
}

static void on_go(struct objm_mail *m)
{
        struct change *c = objm_container_of(m, struct change, mail);
        struct objm_list *it, *next;

        objm_list_for_each_safe(it, next, &c->set->sockets)
                of(it)->live = true;
        c->result = socket_set_watch(c->set, EPOLLIN);
        sem_post(&c->done);
}

static void on_remove(struct objm_mail *m)
{
        struct change *c = objm_container_of(m, struct change, mail);
        struct objm_list *it, *next;

        objm_list_for_each_safe(it, next, &c->set->sockets) {
                struct set_socket *s = of(it);

                if (s->source.fd != c->remove)
                        continue;
                if (c->last)
                        c->last(s);
                objm_loop_remove(c->set->loop, &s->source);
                objm_list_unlink(&s->link);
                free(s);
        }
        sem_post(&c->done);
}

static int carry_out(struct change *c, void (*deliver)(struct objm_mail *m))
{
        c->mail.deliver = deliver;
        sem_init(&c->done, 0, 0);
        objm_loop_post(c->set->loop, &c->mail);
        while (sem_wait(&c->done) < 0)
                ;
        sem_destroy(&c->done);
        return c->result;
}

int socket_set_add(struct socket_set *set, const struct listening *socket)
{
        struct set_socket *s = calloc(1, sizeof(*s));
        struct change c = {.set = set, .add = s};
        int r;

        if (!s)
                return -ENOMEM;
        s->set = set;
        s->transport = socket->transport;
        s->source.fd = socket->fd;
        s->source.on_events = set->on_events;
        r = carry_out(&c, on_add);
        if (r < 0)
                free(s);
        return r;
}

int socket_set_go(struct socket_set *set)
{
        struct change c = {.set = set};

        return carry_out(&c, on_go);
}

void socket_set_remove(struct socket_set *set, const struct listening *socket, void (*last)(struct set_socket *s))
{
        struct change c = {.set = set, .remove = socket->fd, .last = last};

        (void)carry_out(&c, on_remove);
}
