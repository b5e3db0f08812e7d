/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_COLD_ENGINE_H
#define TESTS_BENCH_COLD_ENGINE_H
/*
 * The ways to move a file to a socket that are compared, and one such transfer. The pool's are objmapperd/transfer.c as
 * it is ("pread+seq", "sendfile+seq") and with changes. In "half" and "most" a thread first takes what is in the cache
 * (RWF_NOWAIT); the transfer that comes to an end of that needs one of a few places to wait for the disk.
 */
#include "concurrency/pool.h"
#include "transport/body.h"

#define QUANTUM    (256 * 1024) /* as in objmapperd/transfer.c, with which run() is to be compared */
#define TURN       16
#define PIECE      (64 * 1024)
#define SEQUENTIAL (128 * 1024)
#define SNDBUF     (128 * 1024)
#define THREADS    4

enum { COLD = 2 }; /* beside OBJM_BODY_MORE: the next piece is not in the cache */

/* When the kernel is asked, with POSIX_FADV_WILLNEED, for more than it reads ahead by itself. */
enum when {
        NEVER,
        AHEAD,         /* always, half a window before it is needed */
        AHEAD_ON_MISS, /* the same, from the first piece on that is not in the cache */
};

struct engine {
        const char *name;
        bool uring, splice, no_seq;
        enum when when;
        unsigned window;   /* MiB */
        unsigned cold_max; /* so many threads at most read what is not in the cache; 0: any number */
};

static const struct engine engines[] = {
        {.name = "pread", .no_seq = true},
        {.name = "pread+seq"},
        {.name = "pread+will", .when = AHEAD, .window = 1},
        {.name = "pread+half", .cold_max = THREADS / 2},
        {.name = "pread+most", .cold_max = THREADS - 1},
        {.name = "pread+half+will", .cold_max = THREADS / 2, .when = AHEAD_ON_MISS, .window = 1},
        {.name = "sendfile", .splice = true, .no_seq = true},
        {.name = "sendfile+seq", .splice = true},
        {.name = "sendfile+half", .splice = true, .cold_max = THREADS / 2},
        {.name = "io_uring", .uring = true},
        {.name = "io_uring+will", .uring = true, .when = AHEAD, .window = 1},
};

enum phase { ASKED, READING, SENDING };

/* Its two halves, who sends and who receives, may end in either order; the last one starts the next file. */
struct transfer {
        struct objm_pool_source source;
        const struct engine *engine;
        struct objm_body body; /* fd borrowed */
        int sock[2];           /* the engine's, the reader's */
        size_t index;          /* of the file */
        uint64_t started, got, size, ahead;
        bool begun, missed, may_block;
        atomic_uint halves;
        enum phase phase; /* io_uring */
        size_t have, off;
        uint8_t *buf;
};

#endif
