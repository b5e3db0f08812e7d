/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SOCKETS_H
#define OBJMAPPERD_SOCKETS_H
/*
 * The sockets that clients come to: those that systemd passed (sd_listen_fds(3)) if any, else those of the
 * configuration. A reload opens what is new, keeps what is there already and closes what is gone. The main thread's.
 */
#include "objmapperd/handover.h"
#include "objmapperd/listening.h"

struct sockets {
        struct listening **item;
        size_t n;
        bool passed; /* by the service manager: the configuration has no say */
        struct handover_stored stored; /* passed beside them: what the instance before has left */
};

/* Opens them at start. 0, or negative errno with @err set. */
int sockets_open(const struct config *config, struct sockets *ret, struct config_error *err) objm_must_check;
void sockets_close(struct sockets *s);

/*
 * From one configuration to the next. plan() opens what is new and touches nothing else, but that it narrows the
 * modes of socket files that are to change. Then either commit(), after which @s is what was planned, or drop().
 */
struct sockets_plan {
        const struct config *config; /* its entries are those of `item`, unless passed */
        struct listening **item;
        bool *is_new;
        size_t n;
        bool passed;
};

int sockets_plan(const struct sockets *s, const struct config *config, struct sockets_plan *ret,
                 struct config_error *err) objm_must_check;

/* True when the plan has a socket no more. */
bool sockets_plan_lacks(const struct sockets_plan *p, const struct listening *socket);

/* Sockets that the plan lacks are closed: nobody may use them any more. */
void sockets_commit(struct sockets *s, struct sockets_plan *p);
void sockets_drop(struct sockets_plan *p);

#endif
