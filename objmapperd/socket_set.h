/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SOCKET_SET_H
#define OBJMAPPERD_SOCKET_SET_H
/*
 * The sockets that a thread's loop watches, changed by the main thread while the other one runs: each change is mail,
 * and the call returns when that has been worked on. The sockets stay the main thread's.
 */
#include "base/list.h"
#include "concurrency/loop.h"
#include "objmapperd/listening.h"

struct socket_set {
        struct objm_loop *loop;
        struct objm_list sockets; /* of struct set_socket; the loop's thread */
        void (*on_events)(struct objm_source *source, uint32_t events);
        void *owner;
};

struct set_socket {
        struct objm_list link;
        struct objm_source source;
        struct socket_set *set;
        enum config_transport transport;
        bool live; /* since go() */
};

/* Before the loop's thread is started. */
void socket_set_init(struct socket_set *set, struct objm_loop *loop,
                     void (*on_events)(struct objm_source *source, uint32_t events), void *owner);
/* After it has ended. */
void socket_set_deinit(struct socket_set *set);

/*
 * The main thread. add() does not look for events before go(). remove() has @last called for the socket first, in the
 * loop's thread (NULL is fine); then it is not used any more. 0 or negative errno.
 */
int socket_set_add(struct socket_set *set, const struct listening *socket) objm_must_check;
int socket_set_go(struct socket_set *set) objm_must_check;
void socket_set_remove(struct socket_set *set, const struct listening *socket, void (*last)(struct set_socket *s));

/* The loop's thread: from now on looks for @events on all that go() has been called for. 0 or negative errno. */
int socket_set_watch(struct socket_set *set, uint32_t events) objm_must_check;

#endif
