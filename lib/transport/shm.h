/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TRANSPORT_SHM_H
#define OBJM_TRANSPORT_SHM_H
/*
 * The two memories of a ring, see protocol/ring.h. The server makes them: of a size that nobody can change, so that no
 * access can fault, and the replies such that nobody but the server can ever map them writable. A client may punch
 * holes into the request memory, which read as zeroes.
 */
#include "base/attr.h"
#include "concurrency/ring.h"
#include "protocol/ring.h"
#include <stdint.h>

struct objm_shm {
        uint8_t *requests, *replies; /* NULL: not mapped */
        struct objm_ring_geometry geometry;
};

/*
 * Server: makes and maps both, requests to be read only. @ret_fds (requests, replies; close-on-exec) are for the peer
 * and the caller's to close. Takes some ten microseconds. 0 or negative errno.
 */
int objm_shm_create(const struct objm_ring_geometry *g, struct objm_shm *ret, int ret_fds[2]) objm_must_check;

/* Client: maps what has come; the descriptors may be closed then. -EPROTO: not of that size, or it could change. */
int objm_shm_map(const struct objm_ring_geometry *g, int requests_fd, int replies_fd,
                 struct objm_shm *ret) objm_must_check;

/* Server: frees the pages of the request memory, whoever else has it mapped. */
void objm_shm_free_requests(struct objm_shm *m);

void objm_shm_unmap(struct objm_shm *m);

/* The directions as concurrency/ring.h wants them: entries of one memory, consumed by the owner of the other. */
struct objm_ring_place objm_shm_requests(const struct objm_shm *m);
struct objm_ring_place objm_shm_replies(const struct objm_shm *m);

static inline uint8_t *objm_shm_request_arena(const struct objm_shm *m)
{
        return m->requests + objm_ring_arena_at(&m->geometry);
}

static inline uint8_t *objm_shm_reply_arena(const struct objm_shm *m)
{
        return m->replies + objm_ring_arena_at(&m->geometry);
}

#endif
