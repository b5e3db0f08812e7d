/* SPDX-License-Identifier: MIT */
#include "objmapperd/watch.h"

#include "objmapperd/log.h"

#include <string.h>

#define EVENTS (EPOLLIN | EPOLLONESHOT)

/* In a pool thread. */
static void post_rearm(void *userdata)
{
        struct watch *w = userdata;

        if (!atomic_exchange(&w->rearm_posted, true))
                objm_loop_post(w->loop, &w->rearm);
}

/* Changes go unnoticed from here on: the store has to know. */
static void give_up(struct watch *w, int error)
{
        log_line(LOG_WARNING, "cannot watch the exports for change: %s", strerror(-error));
        objm_store_unwatch(w->store);
        w->store = NULL;
}

static void on_rearm(struct objm_mail *m)
{
        struct watch *w = objm_container_of(m, struct watch, rearm);
        int r;

        atomic_store(&w->rearm_posted, false);
        w->source.events = 0; /* what one-shot has made of it */
        r = w->store ? objm_loop_set(w->loop, &w->source, EVENTS) : 0;
        if (r < 0) {
                objm_loop_remove(w->loop, &w->source);
                give_up(w, r);
        }
}

static void on_events(struct objm_source *source, uint32_t events)
{
        struct watch *w = objm_container_of(source, struct watch, source);

        if (w->store)
                objm_store_on_watch_ready(w->store, post_rearm, w);
}

void watch_init(struct watch *w, struct objm_loop *loop)
{
        *w = (struct watch){.loop = loop, .source = {.fd = -1, .on_events = on_events}, .rearm.deliver = on_rearm};
}

void watch_set(struct watch *w, struct objm_store *store)
{
        int r;

        if (w->store)
                objm_loop_remove(w->loop, &w->source);
        w->store = NULL;
        if (!store || objm_store_watch_fd(store) < 0)
                return;
        w->source.fd = objm_store_watch_fd(store);
        w->source.events = EVENTS;
        w->store = store;
        r = objm_loop_add(w->loop, &w->source);
        if (r < 0)
                give_up(w, r);
}
