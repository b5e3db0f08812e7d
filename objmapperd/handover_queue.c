/* SPDX-License-Identifier: MIT */
#include "objmapperd/handover_queue.h"

#include "base/fd.h"
#include "transport/fdpass.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

int handover_queue_open(int ret_ends[2])
{
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_ends) < 0 ? -errno : 0;
}

/* A byte goes with each message: one without would be lost. */
size_t handover_queue_put(int end, const int *fds, size_t n, int *ret_error)
{
        size_t done = 0;

        while (done < n) {
                size_t some = n - done < OBJM_FDPASS_MAX ? n - done : OBJM_FDPASS_MAX;
                ssize_t r = objm_fdpass_send(end, "", 1, fds + done, some);

                if (r < 0) {
                        *ret_error = (int)r;
                        break;
                }
                done += some;
        }
        return done;
}

static int make_room(struct handover_fds *to)
{
        size_t room = to->n + OBJM_FDPASS_MAX;
        int *more;

        if (to->room >= room)
                return 0;
        room *= 2;
        more = reallocarray(to->fd, room, sizeof(*more));
        if (!more)
                return -ENOMEM;
        to->fd = more;
        to->room = room;
        return 0;
}

int handover_queue_take(int end, struct handover_fds *to)
{
        bool lost = false;

        for (;;) {
                int r = make_room(to);
                ssize_t received;
                char byte;
                size_t n;

                if (r < 0)
                        return r;
                received = objm_fdpass_recv(end, &byte, 1, to->fd + to->n, OBJM_FDPASS_MAX, &n, &lost);
                if (received < 0)
                        return received == -EAGAIN ? 0 : (int)received;
                to->n += n;
                if (lost)
                        return -EMFILE;
                if (!received)
                        return 0;
        }
}

void handover_fds_deinit(struct handover_fds *fds)
{
        objm_fd_close_many(fds->fd, fds->n);
        free(fds->fd);
        *fds = (struct handover_fds){0};
}
