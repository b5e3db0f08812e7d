/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_HANDOVER_H
#define OBJMAPPERD_HANDOVER_H
/*
 * A restart that clients do not notice. An instance that ends hands its connections, once what was in flight on them is
 * done, to the service manager's descriptor store (sd_pid_notify_with_fds(3), FDSTORE=1) together with an image of what
 * belongs to them; the next one finds both among the descriptors that it is started with, and goes on. However many
 * connections there are, the store has to have room for three descriptors (handover_queue.h).
 *
 * The image is taken out of the store before the first of its connections is served: an instance that is killed later
 * leaves no image behind that is no longer true, and takes the connections with it.
 */
#include "objmapperd/connection.h"
#include <pthread.h>

/* What the descriptors are called in the store. */
#define HANDOVER_IMAGE_NAME       "objmapper-image"
#define HANDOVER_CONNECTIONS_NAME "objmapper-connections"
#define HANDOVER_WATCH_NAME       "objmapper-watch"

struct handover_item;

struct handover {
        pthread_mutex_t lock; /* rank 3: no other lock is taken while it is held */
        struct handover_item *items;
        size_t n, room;
        bool closed; /* nothing more is taken: from then on the rest is the main thread's alone */
};

/* What the store has returned. */
struct handover_stored {
        int image_fd; /* owned, -1: none */
        int watch_fd; /* owned, -1: none */
        int *queues;  /* owned, as are the descriptors: ends of handover_queue.h */
        size_t n_queues;
};

#define HANDOVER_STORED_INIT {.image_fd = -1, .watch_fd = -1}

/* Can it be what handover_leave_watch() has left? */
bool handover_is_watch(int fd);

/* Closes all of it. */
void handover_forget(struct handover_stored *stored);

void handover_init(struct handover *h);

/* Closes what was not stored. */
void handover_deinit(struct handover *h);

/* Can a client go on with another instance now? Nothing is with the pool, nothing half sent. The worker's thread. */
bool handover_can_take(const struct connection *c);

/* Takes the descriptor and the input; false: no memory, or it comes after handover_store(). The worker's thread. */
bool handover_take(struct handover *h, struct connection *c) objm_must_check;

/*
 * Stores everything that was taken and waits until the service manager has it; what becomes ready meanwhile comes too
 * late. Returns how many connections, or negative errno; those that the kernel did not take are said in the log. The
 * main thread.
 */
int handover_store(struct handover *h) objm_must_check;

/*
 * Goes on with what the store has returned, which it takes: connections without a valid entry in the image are closed,
 * and so said in the log. Before listening. Returns how many go on.
 */
size_t handover_restore(struct server *s, struct handover_stored *stored);

/*
 * Leaves @fd, as objm_store_watch_fd() gives it, in the store, whatever becomes of this instance; -1: takes out what is
 * there. Not for what it tells: the kernel takes up to 25 ms to close it, and nobody sees that a killed process is dead
 * before all that it alone has open is closed. The main thread.
 */
void handover_leave_watch(int fd);

#endif
