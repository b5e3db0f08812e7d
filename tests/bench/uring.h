/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_URING_H
#define TESTS_BENCH_URING_H
/*
 * An io_uring with the system calls alone, for one thread that both submits and reaps (io_uring_setup(2)). Every
 * request in flight has room in both queues as long as there are at most @entries of them.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
        int fd;
        unsigned *sq_tail, sq_mask, to_submit;
        unsigned *cq_head, *cq_tail, cq_mask;
        struct io_uring_sqe *sqe;
        struct io_uring_cqe *cqe;
};

static int uring_setup(unsigned entries, struct io_uring_params *p)
{
        int fd;

        memset(p, 0, sizeof(*p));
        p->flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
#ifdef IORING_SETUP_DEFER_TASKRUN
        p->flags |= IORING_SETUP_DEFER_TASKRUN; /* Linux 6.1: completions run in the thread that waits for them */
#endif
        fd = (int)syscall(SYS_io_uring_setup, entries, p);
        if (fd >= 0 || errno != EINVAL)
                return fd;
        memset(p, 0, sizeof(*p));
        return (int)syscall(SYS_io_uring_setup, entries, p);
}

/* 0 or -errno: ENOSYS, EPERM (kernel.io_uring_disabled, a seccomp filter) where there is none to be had. */
static int uring_init(struct uring *u, unsigned entries)
{
        struct io_uring_params p;
        int fd = uring_setup(entries, &p);
        size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned);
        size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
        uint8_t *rings;
        unsigned *array;

        if (fd < 0)
                return -errno;
        if (!(p.features & IORING_FEAT_SINGLE_MMAP))
                return -ENOSYS;
        rings = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                     IORING_OFF_SQ_RING);
        u->sqe = mmap(NULL, p.sq_entries * sizeof(*u->sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                      IORING_OFF_SQES);
        if (rings == MAP_FAILED || (void *)u->sqe == MAP_FAILED)
                return -errno;
        u->fd = fd;
        u->to_submit = 0;
        u->sq_tail = (unsigned *)(void *)(rings + p.sq_off.tail);
        u->sq_mask = p.sq_entries - 1;
        u->cq_head = (unsigned *)(void *)(rings + p.cq_off.head);
        u->cq_tail = (unsigned *)(void *)(rings + p.cq_off.tail);
        u->cq_mask = p.cq_entries - 1;
        u->cqe = (struct io_uring_cqe *)(void *)(rings + p.cq_off.cqes);
        array = (unsigned *)(void *)(rings + p.sq_off.array);
        for (unsigned i = 0; i < p.sq_entries; i++)
                array[i] = i;
        return 0;
}

/* Submitted by the next uring_wait(). */
static void uring_queue(struct uring *u, unsigned op, int fd, void *buf, size_t len, uint64_t at, void *whose)
{
        unsigned tail = *u->sq_tail; /* this thread alone writes it */
        struct io_uring_sqe *sqe = &u->sqe[tail & u->sq_mask];

        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = (uint8_t)op;
        sqe->fd = fd;
        sqe->addr = (uint64_t)(uintptr_t)buf;
        sqe->len = (uint32_t)len;
        sqe->off = at;
        sqe->user_data = (uint64_t)(uintptr_t)whose;
        __atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE); /* pairs with the kernel's acquire */
        u->to_submit++;
}

/* Submits what is queued and waits until something is complete. 0 or -errno. */
static int uring_wait(struct uring *u)
{
        int n = (int)syscall(SYS_io_uring_enter, u->fd, u->to_submit, 1, IORING_ENTER_GETEVENTS, NULL, 0);

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        u->to_submit -= (unsigned)n;
        return 0;
}

/* The next completion; NULL when there is none. */
static void *uring_next(struct uring *u, int *ret_result)
{
        unsigned head = *u->cq_head;
        struct io_uring_cqe *cqe = &u->cqe[head & u->cq_mask];
        void *whose;

        if (head == __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE))
                return NULL;
        whose = (void *)(uintptr_t)cqe->user_data;
        *ret_result = cqe->res;
        __atomic_store_n(u->cq_head, head + 1, __ATOMIC_RELEASE); /* the kernel may use the entry again */
        return whose;
}

#endif
