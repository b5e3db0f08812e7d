/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_KEPT_H
#define OBJM_STORAGE_KEPT_H
/*
 * Files that one thread has been asked for again and again and keeps open, small ones with their bytes in memory. These
 * descriptors are the thread's own: none of them leaves the process, and they are read at explicit offsets only.
 *
 * A kept descriptor stands for its name as long as (1) every change to the trees has been reported and handled, which
 * objm_sync_is_current() says, (2) nothing was reported that concerns the name (epochs.h), (3) the file's ctime is
 * what it was. The third covers what is not reported: what is done to the file through a shared mapping or another
 * hard link. It costs a system call, so while the bytes are in memory it is asked every OBJM_KEPT_FRESH_NS only. A file
 * is kept only when it has not changed for longer than its file system's clock needs to tell two changes apart.
 *
 * Nothing is kept for longer than OBJM_KEPT_NS: then the name is opened anew, as if it had not been known. That bounds
 * what nobody reports (a mount on a directory), and for how long a deleted file takes space.
 *
 * Whether every change is known (1) costs a system call as well. A request is owed what had happened before it was
 * sent; so an answer to that question holds for all requests whose first byte was seen to have come before it was
 * asked: for what has been received, and for the first request of each connection that the kernel has reported as
 * readable. Marks count such sightings.
 *
 * One thread per struct; the budget is shared. No hit writes memory that other threads use.
 */
#include "base/attr.h"
#include "storage/epochs.h"
#include "storage/store.h"
#include <stdatomic.h>
#include <time.h>

#define OBJM_KEPT_NS       UINT64_C(1000000000)
#define OBJM_KEPT_FRESH_NS UINT64_C(10000000)
#define OBJM_KEPT_WAYS     8

/* What all threads together may keep. */
struct objm_kept_budget {
        atomic_long left;
        atomic_uint squeezes; /* raised when descriptors have run out: whoever keeps some closes them */
};

/* Bytes. */
struct objm_kept_limits {
        uint64_t size;   /* of a file that is kept */
        uint64_t memory; /* of one whose bytes are in memory, too */
};

struct objm_kept_slot {
        uint64_t hash;  /* of the name */
        uint64_t since; /* ns: when it was opened, or when it was asked for */
        char *key;      /* owned; NULL: asked for, not kept */
        uint32_t key_len;
        int fd;         /* owned, with key */
        struct objm_epoch epoch;
        struct timespec ctime;
        struct objm_object_info info;
        uint8_t *bytes;   /* owned, as many as the object has; NULL: not in memory */
        uint64_t read_at; /* ns, with bytes: when they were compared with the file */
        bool no_disk;   /* for objm_pagecache_read_again() */
        bool live;      /* the slot is in use */
        bool used;      /* since somebody last wanted its place */
};

struct objm_kept {
        struct objm_kept_budget *budget;
        struct objm_kept_slot *slots; /* NULL until something is asked for */
        uint64_t *hashes;             /* of each slot, side by side; behind them in memory */
        unsigned n_sets;              /* of OBJM_KEPT_WAYS slots; a power of two */
        struct objm_kept_limits max;
        unsigned n;                   /* descriptors kept */
        unsigned squeezes;            /* as far as it has been heeded */
        uint64_t now, due;            /* ns: of the batch; when to look for what is too old */
        uint64_t rest_until;          /* ns: nothing is kept before that */
        uint64_t mark, needed;        /* the last one; that of the requests which are being answered */
        uint64_t checked;             /* the last one when it was asked whether every change is known, */
        bool current;                 /* and the answer */
        const struct objm_store *store; /* whose names these are, */
        uint64_t store_born;            /* and when it was made */
        struct {
                const void *uri; /* borrowed, only compared; NULL: not to be kept */
                size_t len;
                uint64_t hash;
                struct objm_epoch epoch;
        } wish; /* what find() did not find */
};

/* @capacity: slots, a power of two, OBJM_KEPT_WAYS at least. @budget outlives it. */
void objm_kept_init(struct objm_kept *k, unsigned capacity, struct objm_kept_limits max,
                    struct objm_kept_budget *budget);

/* Closes all. May be used again. */
void objm_kept_clear(struct objm_kept *k);
void objm_kept_deinit(struct objm_kept *k);

/* Requests have been seen to have come: a mark for those that objm_kept_need() can name. Never 0. */
static inline uint64_t objm_kept_mark(struct objm_kept *k)
{
        return ++k->mark;
}

/* Answered from here on: requests that had come, with their first byte at least, when @mark was made. */
static inline void objm_kept_need(struct objm_kept *k, uint64_t mark)
{
        k->needed = mark;
}

/*
 * Requests that have been received are now to be answered. @now is the coarse monotonic time in ns. Returns the mark
 * that it needs for them.
 */
static inline uint64_t objm_kept_begin(struct objm_kept *k, uint64_t now)
{
        k->now = now;
        objm_kept_need(k, objm_kept_mark(k));
        return k->needed;
}

/* Closes what is too old; all, when descriptors have run out. To be called each turn, and at due() at the latest. */
void objm_kept_expire(struct objm_kept *k, uint64_t now);

/* When expire() has something to do, ns; 0: never. */
static inline uint64_t objm_kept_due(const struct objm_kept *k)
{
        return k->n ? k->due : 0;
}

/* Descriptors have run out somewhere. Any thread. */
void objm_kept_squeeze(struct objm_kept_budget *b);

/* Takes @fd, which find() has lent, out: it is the caller's. */
void objm_kept_surrender(struct objm_kept *k, int fd);

/* For the store: the kept slot of that name, or NULL. */
struct objm_kept_slot *objm_kept_look(struct objm_kept *k, uint64_t hash, const void *key, size_t len);

static inline bool objm_kept_is_old(const struct objm_kept *k, const struct objm_kept_slot *slot)
{
        return k->now - slot->since >= OBJM_KEPT_NS;
}

/* Closes it; that the name is wanted stays known. */
void objm_kept_drop(struct objm_kept *k, struct objm_kept_slot *slot);

/* True when the name was asked for before and there is room: worth keeping. */
bool objm_kept_want(struct objm_kept *k, uint64_t hash);

/* Keeps what was wished for. True: @take_fd is taken. */
bool objm_kept_put(struct objm_kept *k, int take_fd, const struct timespec *ctime, const struct objm_object_info *info);

#endif
