/* SPDX-License-Identifier: MIT */
#include "client/epoch.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * One page for the process, which the kernel hands to a child as zeroes (MADV_WIPEONFORK, Linux 4.14). The pointer is
 * published with release and read with acquire; the number in the page stands for itself. Never unmapped.
 */
static _Atomic(_Atomic uint64_t *) page;

static _Atomic uint64_t *map_page(void)
{
        size_t size = (size_t)sysconf(_SC_PAGESIZE);
        _Atomic uint64_t *expected = NULL, *p;

        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return NULL;
        if (madvise((void *)p, size, MADV_WIPEONFORK) == 0 &&
            atomic_compare_exchange_strong_explicit(&page, &expected, p, memory_order_acq_rel, memory_order_acquire))
                return p;
        munmap((void *)p, size);
        return expected; /* another thread's, or none */
}

/* The time is unique along a line of descent: a child sets its number later than its parent did. */
static uint64_t set_number(_Atomic uint64_t *p)
{
        uint64_t expected = 0, number = objm_clock_ns() | 1;

        if (atomic_compare_exchange_strong_explicit(p, &expected, number, memory_order_relaxed, memory_order_relaxed))
                return number;
        return expected;
}

uint64_t objm_epoch(void)
{
        _Atomic uint64_t *p = atomic_load_explicit(&page, memory_order_acquire);
        uint64_t number;

        if (!p && !(p = map_page()))
                return (uint64_t)getpid();
        number = atomic_load_explicit(p, memory_order_relaxed);
        return number ? number : set_number(p);
}
