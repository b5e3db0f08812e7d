/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_LISTENING_H
#define OBJMAPPERD_LISTENING_H
/*
 * One socket that clients come to. Belongs to the main thread; the threads that accept and answer borrow it.
 */
#include "base/attr.h"
#include "objmapperd/config.h"
#include "transport/inet.h"
#include "transport/unix.h"

struct listening {
        enum config_transport transport;
        int fd;                         /* owned; of a Unix socket: by `file` */
        struct objm_unix_listener file; /* Unix */
        mode_t mode;                    /* Unix: of the socket file; it and group are for those of the configuration */
        gid_t group;                    /* Unix: of the socket file */
        bool narrowed;                  /* Unix: between narrow() and what follows it */
        struct objm_inet asked;         /* others: as configured, so the port may be 0 */
};

/* Opens what @l says. 0, or negative errno with @err set. */
int listening_new(const struct config_listen *l, struct listening **ret, struct config_error *err) objm_must_check;

/* Takes a socket that the service manager has passed; @fd is taken on success. */
int listening_adopt(int fd, struct listening **ret, struct config_error *err) objm_must_check;

/* Closes; removes the socket file unless it was passed. NULL is fine. */
void listening_free(struct listening *s);

/* True when @l names this socket, if by the port that the kernel chose; a socket file's mode and group may differ. */
bool listening_is(const struct listening *s, const struct config_listen *l);

/* Nobody new finds it: removes the socket file. What has connected can still be accepted. */
void listening_hide(struct listening *s);

/*
 * A Unix socket's file in three steps. narrow() leaves what its old and its new mode both allow, and sets the group;
 * then either of the others: settle() makes it what @l says, undo() what it was. 0, or negative errno with @err set;
 * then it is as it was. Does nothing for other sockets, and where nothing changes.
 */
int listening_narrow(struct listening *s, const struct config_listen *l, struct config_error *err) objm_must_check;
void listening_settle(struct listening *s, const struct config_listen *l);
void listening_undo(struct listening *s);

/* Says in the log where a TCP or UDP socket is: of port 0 the kernel has made another one. */
void listening_log(const struct listening *s);

#endif
