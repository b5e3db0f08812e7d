/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_MODEL_H
#define OBJM_CONCURRENCY_MODEL_H
/*
 * Concurrency models: how connections and requests meet threads. All models share one path for a request; they differ
 * in these two decisions only.
 */
#include <stddef.h>

enum objm_placement {
        OBJM_PLACE_SHARED, /* a fixed set of loops, each serving many connections */
        OBJM_PLACE_OWN,    /* a loop and a thread for each connection */
};

enum objm_execution {
        OBJM_EXECUTE_INLINE, /* in the connection's own thread; what would wait for a disk goes to the blocking pool */
        OBJM_EXECUTE_SPAWN,  /* each request in a new thread */
};

struct objm_model {
        const char *name;
        enum objm_placement placement;
        enum objm_execution execution;
};

enum {
        OBJM_MODEL_THREAD_POOL,
        OBJM_MODEL_THREAD_PER_CONNECTION,
        OBJM_MODEL_THREAD_PER_REQUEST,
        OBJM_MODEL_MAX,
};

extern const struct objm_model objm_models[OBJM_MODEL_MAX];

/* The index into objm_models, or -1. */
int objm_model_find(const char *name);

#endif
