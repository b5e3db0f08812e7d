/* SPDX-License-Identifier: MIT */
#ifndef OBJM_PROTOCOL_RING_H
#define OBJM_PROTOCOL_RING_H
/*
 * The shared-memory ring: what RING_ATTACH says on the socket, and what lies where in the memory that comes of it.
 *
 * On the socket, big-endian as all of version 3:
 *
 *      extra bytes of the request     0 entries u32 | 4 arena u32 | 8 0 u64                                     (16)
 *      body of the response           0 entries u32 | 4 arena u32 | 8 size u32 | 12 entries_at u32 |
 *                                     16 arena_at u32 | 20 body_max u32 | 24 0 u64                              (32)
 *
 * with three descriptors: request memory, reply memory (both of `size` bytes), and the eventfd that wakes the server.
 * Asking for 0 asks for the server's own number; it grants no more than was asked for.
 *
 * In memory everything is in the byte order of the machine. Both memories are laid out alike:
 *
 *      0   head u32, origin u32     where the producer of this memory's entries is
 *      64  tail u32                 how far its owner has come in the other memory
 *      128 asleep u32               enum objm_ring_asleep: what the owner wants when the other side has put something
 *      256 entries of 64 bytes, then at arena_at the arena
 *
 * An index counts entries, modulo 2^32; entry i lies at place (i - origin) & (entries - 1). It ends with its stamp:
 * what such an index would be in 64 bits, plus 1; a client that writes none is found by head, later. The request
 * memory is the client's to write, the reply memory the server's. The URI of a request lies in the request memory's
 * arena until the server's tail has passed the entry, or in the entry itself; a body lies in the reply memory's arena
 * until the client's tail has passed its entry.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OBJM_RING_ATTACH_EXTRA 16
#define OBJM_RING_GRANT        32
#define OBJM_RING_FDS          3

#define OBJM_RING_ENTRIES_MIN 8
#define OBJM_RING_ENTRIES_MAX 4096
#define OBJM_RING_ARENA_MIN   8192 /* the longest URI fits, wherever the next one begins */
#define OBJM_RING_ARENA_MAX   (64U << 20)

#define OBJM_RING_ENTRIES_AT 256
#define OBJM_RING_URI_SHORT  40

/* In this order over the socket. */
enum objm_ring_fd {
        OBJM_RING_FD_REQUESTS,
        OBJM_RING_FD_REPLIES,
        OBJM_RING_FD_DOORBELL,
};

enum objm_ring_asleep {
        OBJM_RING_AWAKE = 0,
        OBJM_RING_ASLEEP = 1,  /* server: write the eventfd; client: FUTEX_WAKE on head of the reply memory */
        OBJM_RING_POLLING = 2, /* client: a RING_DOORBELL on the socket */
        OBJM_RING_ENDED = 3,   /* server: nothing that is put from now on will be answered */
};

/*
 * A client that goes to sleep counts it in the bits above: it is woken once for each value that is not the last one.
 */
#define OBJM_RING_ASLEEP_MASK 3u
#define OBJM_RING_ASLEEP_STEP 4u

enum objm_ring_request_flag {
        OBJM_RING_RQ_RANGE = 1 << 0,
        OBJM_RING_RQ_IF_VERSION = 1 << 1,
        OBJM_RING_RQ_URI_SHORT = 1 << 15, /* the URI is in the entry; no limit, no version, and of ranges `length` */
};

enum objm_ring_reply_flag {
        OBJM_RING_RS_NOT_MODIFIED = 1 << 0,
        OBJM_RING_RS_SOCKET = 1 << 1, /* with status 05: ask over the socket */
};

struct objm_ring_request {
        uint8_t op, mode; /* enum objm_v3_op; enum objm_mode */
        uint16_t flags;
        uint32_t id;
        uint16_t uri_len;
        uint16_t length; /* with URI_SHORT: bytes from the beginning at most; 0: all */
        uint32_t uri_at; /* in the arena */
        union {
                uint8_t uri[OBJM_RING_URI_SHORT];
                struct {
                        uint32_t inline_limit, reserved;
                        uint64_t range_offset, range_length, if_version;
                        uint8_t unused[8];
                } get;
        };
        uint64_t stamp;
};

struct objm_ring_reply {
        uint8_t status, op, mode, n_fds; /* n_fds 1: a response with the same id and the descriptor is on the socket */
        uint32_t id;
        uint16_t flags, reserved;
        uint32_t body_at; /* in the arena */
        uint64_t size, version;
        int64_t mtime; /* seconds since 1970 */
        uint32_t body_len, reserved2;
        uint8_t unused[8];
        uint64_t stamp;
};

_Static_assert(sizeof(struct objm_ring_request) == 64 && sizeof(struct objm_ring_reply) == 64, "entries");
_Static_assert(offsetof(struct objm_ring_request, uri_at) == 12 && offsetof(struct objm_ring_request, uri) == 16 &&
               offsetof(struct objm_ring_request, get.range_offset) == 24 &&
               offsetof(struct objm_ring_request, get.if_version) == 40 &&
               offsetof(struct objm_ring_request, stamp) == 56, "request entry");
_Static_assert(offsetof(struct objm_ring_reply, flags) == 8 && offsetof(struct objm_ring_reply, body_at) == 12 &&
               offsetof(struct objm_ring_reply, size) == 16 && offsetof(struct objm_ring_reply, version) == 24 &&
               offsetof(struct objm_ring_reply, mtime) == 32 && offsetof(struct objm_ring_reply, body_len) == 40 &&
               offsetof(struct objm_ring_reply, stamp) == 56,
               "reply entry");

/* Both numbers are powers of two within the bounds above. */
struct objm_ring_geometry {
        uint32_t entries, arena;
};

static inline bool objm_ring_geometry_good(const struct objm_ring_geometry *g)
{
        return g->entries >= OBJM_RING_ENTRIES_MIN && g->entries <= OBJM_RING_ENTRIES_MAX &&
               !(g->entries & (g->entries - 1)) && g->arena >= OBJM_RING_ARENA_MIN && g->arena <= OBJM_RING_ARENA_MAX &&
               !(g->arena & (g->arena - 1));
}

static inline uint32_t objm_ring_arena_at(const struct objm_ring_geometry *g)
{
        return OBJM_RING_ENTRIES_AT + g->entries * 64;
}

/* Bytes of one memory, in whole pages of any size that there is. */
static inline uint32_t objm_ring_memory_size(const struct objm_ring_geometry *g)
{
        return (objm_ring_arena_at(g) + g->arena + 65535) & ~UINT32_C(65535);
}

/* What is granted of @wanted (0: all of it) when @most is to be had: the next lower power of two, within the bounds. */
uint32_t objm_ring_grant(uint32_t wanted, uint32_t most, uint32_t least);

/* The request's extra bytes. False: fewer than OBJM_RING_ATTACH_EXTRA; more are ignored. */
bool objm_ring_attach_decode(const uint8_t *extra, size_t len, struct objm_ring_geometry *ret_wanted);
void objm_ring_attach_encode(uint8_t extra[OBJM_RING_ATTACH_EXTRA], const struct objm_ring_geometry *wanted);

/* The response's body. False: it contradicts itself. */
bool objm_ring_grant_decode(const uint8_t body[OBJM_RING_GRANT], struct objm_ring_geometry *ret);
void objm_ring_grant_encode(uint8_t body[OBJM_RING_GRANT], const struct objm_ring_geometry *g);

#endif
