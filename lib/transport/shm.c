/* SPDX-License-Identifier: MIT */
#include "transport/shm.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 6.3; not yet in every libc. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

enum {
        HEAD = 0,
        TAIL = 64,
        ASLEEP = 128,
};

static int new_memfd(const char *name, size_t size)
{
        int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL), r;

        if (fd < 0 && errno == EINVAL)
                fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) < 0) {
                r = -errno;
                objm_fd_close(fd);
                return r;
        }
        return fd;
}

static int map(int fd, size_t size, int prot, uint8_t **ret)
{
        void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                return -errno;
        *ret = p;
        return 0;
}

/* Mapped first: a seal against future writing lets alone what is mapped (Linux 5.1). */
static int create_one(const char *name, size_t size, int prot, int seals, uint8_t **ret_map, int *ret_fd)
{
        int fd = new_memfd(name, size), r;

        if (fd < 0)
                return fd;
        r = map(fd, size, prot, ret_map);
        if (r == 0 && fcntl(fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL | seals) < 0) {
                r = -errno;
                munmap(*ret_map, size);
                *ret_map = NULL;
        }
        if (r < 0)
                objm_fd_close(fd);
        else
                *ret_fd = fd;
        return r;
}

int objm_shm_create(const struct objm_ring_geometry *g, struct objm_shm *ret, int ret_fds[2])
{
        size_t size = objm_ring_memory_size(g);
        struct objm_shm m = {.geometry = *g};
        int fds[2] = {-1, -1};
        int r = create_one("objmapper-requests", size, PROT_READ, 0, &m.requests, &fds[0]);

        if (r == 0)
                r = create_one("objmapper-replies", size, PROT_READ | PROT_WRITE, F_SEAL_FUTURE_WRITE, &m.replies,
                               &fds[1]);
        if (r < 0) {
                objm_fd_close(fds[0]);
                objm_shm_unmap(&m);
                return r;
        }
        *ret = m;
        ret_fds[0] = fds[0];
        ret_fds[1] = fds[1];
        return 0;
}

static bool has_fixed_size(int fd, size_t size)
{
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        return seals >= 0 && (seals & SIZE_SEALS) == SIZE_SEALS && fstat(fd, &st) == 0 && st.st_size == (off_t)size;
}

int objm_shm_map(const struct objm_ring_geometry *g, int requests_fd, int replies_fd, struct objm_shm *ret)
{
        size_t size = objm_ring_memory_size(g);
        struct objm_shm m = {.geometry = *g};
        int r;

        if (!has_fixed_size(requests_fd, size) || !has_fixed_size(replies_fd, size))
                return -EPROTO;
        r = map(requests_fd, size, PROT_READ | PROT_WRITE, &m.requests);
        if (r == 0)
                r = map(replies_fd, size, PROT_READ, &m.replies);
        if (r == 0) {
                /* The memory is the connection's, and that is not a child's. */
                (void)madvise(m.requests, size, MADV_DONTFORK);
                (void)madvise(m.replies, size, MADV_DONTFORK);
                *ret = m;
        } else {
                objm_shm_unmap(&m);
        }
        return r;
}

void objm_shm_free_requests(struct objm_shm *m)
{
        size_t size = objm_ring_memory_size(&m->geometry);

        if (mprotect(m->requests, size, PROT_READ | PROT_WRITE) == 0)
                (void)madvise(m->requests, size, MADV_REMOVE);
}

void objm_shm_unmap(struct objm_shm *m)
{
        size_t size = objm_ring_memory_size(&m->geometry);

        if (m->requests)
                munmap(m->requests, size);
        if (m->replies)
                munmap(m->replies, size);
        m->requests = m->replies = NULL;
}

static struct objm_ring_place place(uint8_t *from, uint8_t *to, uint32_t entries)
{
        return (struct objm_ring_place){
                .entries = (struct objm_ring_entry *)(from + OBJM_RING_ENTRIES_AT),
                .head = (struct objm_ring_word *)(from + HEAD),
                .tail = (struct objm_ring_word *)(to + TAIL),
                .asleep = (struct objm_ring_word *)(to + ASLEEP),
                .size = entries,
        };
}

struct objm_ring_place objm_shm_requests(const struct objm_shm *m)
{
        return place(m->requests, m->replies, m->geometry.entries);
}

struct objm_ring_place objm_shm_replies(const struct objm_shm *m)
{
        return place(m->replies, m->requests, m->geometry.entries);
}
