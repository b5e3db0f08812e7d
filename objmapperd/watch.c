/* SPDX-License-Identifier: MIT */
#include "objmapperd/watch.h"

#define EVENTS (EPOLLIN | EPOLLONESHOT)

/* In a pool thread. Of each store at most one is under way, and the mail of a store that is gone is delivered before
 * the next one's first event can be: both happen in turns of the same loop. */
static void post_rearm(void *userdata)
{
        struct watch *w = userdata;

        objm_loop_post(w->loop, &w->rearm);
}

static void on_rearm(struct objm_mail *m)
{
        struct watch *w = objm_container_of(m, struct watch, rearm);

        w->source.events = 0; /* what one-shot has made of it */
        if (w->store && objm_loop_set(w->loop, &w->source, EVENTS) < 0)
                w->store = NULL;
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

int watch_set(struct watch *w, struct objm_store *store)
{
        if (w->store)
                objm_loop_remove(w->loop, &w->source);
        w->store = NULL;
        if (!store || objm_store_watch_fd(store) < 0)
                return 0;
        w->source.fd = objm_store_watch_fd(store);
        w->source.events = EVENTS;
        w->store = store;
        return objm_loop_add(w->loop, &w->source);
}
