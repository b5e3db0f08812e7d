/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_ATTR_H
#define OBJM_BASE_ATTR_H
/*
 * Compiler attributes and the few macros that C lacks.
 */
#include <stddef.h>
#include <stdlib.h>

#define OBJM_CACHE_LINE 64

#define objm_likely(x)      __builtin_expect(!!(x), 1)
#define objm_unlikely(x)    __builtin_expect(!!(x), 0)
#define objm_must_check     __attribute__((warn_unused_result))
#define objm_printf(f, a)   __attribute__((format(printf, f, a)))
#define objm_cleanup(fn)    __attribute__((cleanup(fn)))
#define objm_noinline       __attribute__((noinline))
#define objm_uninitialized  __attribute__((uninitialized)) /* for large buffers that are written before they are read */
#define objm_array_len(a)   (sizeof(a) / sizeof((a)[0]))
#define objm_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* free() for a local `type *p objm_cleanup(objm_freep)`. */
static inline void objm_freep(void *pp)
{
        free(*(void **)pp);
}

#endif
