/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONTROL_H
#define OBJMAPPERD_CONTROL_H
/*
 * Operations that the main thread carries out, because they change what it owns: RELOAD and DRAIN. The request goes
 * there by mail, and the reply comes back to the connection's worker the same way.
 */
#include "base/attr.h"
#include "concurrency/loop.h"
#include "objmapperd/config.h"
#include <pthread.h>

struct connection;
struct request;

/*
 * Carries out @op (enum objm_v3_op) in the main thread. 0; or negative errno, with the reason in @err: -EINVAL the
 * configuration cannot be used, -EBUSY not now, -ENOMEM.
 */
typedef int (*control_fn)(void *userdata, uint8_t op, struct config_error *err);

struct control {
        struct objm_loop *loop; /* the main thread's; borrowed */
        control_fn run;
        void *userdata;
        pthread_mutex_t lock; /* rank 1; held to post a message */
        bool open;
};

/* The main thread, before the first connection. */
void control_init(struct control *k);
void control_open(struct control *k, struct objm_loop *loop, control_fn run, void *userdata);

/* The main thread: nothing is taken from now on; what has been is refused. Needed before workers are stopped. */
void control_close(struct control *k);
void control_deinit(struct control *k);

/* In the connection's worker. 0: connection_on_reply() will follow; -EBUSY: the daemon ends; -ENOMEM. */
int control_start(struct connection *c, const struct request *rq) objm_must_check;

#endif
