/* SPDX-License-Identifier: MIT */
#include "client/call.h"

#include "base/fd.h"

#include <errno.h>

#define BATCH 64

struct many {
        const char *const *uris;
        size_t n, submitted, done;
        objmapper_done_fn fn;
        void *userdata;
};

/* What cannot even be asked for is answered here. */
static int refuse(struct many *m, size_t index, int error)
{
        struct objmapper_completion c = {index, error, {.fd = -1, .mtime = -1}};

        m->done++;
        return m->fn(m->userdata, index, &c);
}

/* Submits as many as the table takes. Returns what @fn did when it stopped, or -errno. */
static int fill(struct objmapper *om, struct many *m)
{
        int r = 0;

        while (r == 0 && m->submitted < m->n) {
                const char *uri = m->uris[m->submitted];

                r = objmapper_submit_get(om, uri, objm_call_length(uri), m->submitted);
                if (r == -EAGAIN)
                        return 0;
                if (r < 0 && om->dead)
                        return r;
                m->submitted++;
                if (r < 0)
                        r = refuse(m, m->submitted - 1, r);
        }
        return r;
}

/* Hands out a batch; after a stop the rest of it is closed. */
static int deliver(struct many *m, struct objmapper_completion *c, size_t n)
{
        int r = 0;

        for (size_t i = 0; i < n; i++) {
                if (r == 0) {
                        m->done++;
                        r = m->fn(m->userdata, c[i].user_data, &c[i]);
                } else {
                        c[i].object.fd = objm_fd_close(c[i].object.fd);
                }
        }
        return r;
}

static int get_round(struct objmapper *om, struct many *m)
{
        struct objmapper_completion c[BATCH];
        int r = fill(om, m);

        if (r || m->done == m->n)
                return r;
        r = objm_wait_done(om, objm_wait_deadline(om->timeout_ms));
        if (r < 0)
                return objm_call_give_up(om);
        return deliver(m, c, objm_slots_take_done(&om->slots, c, BATCH));
}

int objmapper_get_many(struct objmapper *om, const char *const *uris, size_t n, objmapper_done_fn done,
                       void *userdata)
{
        struct many m = {.uris = uris, .n = n, .fn = done, .userdata = userdata};
        int r = objm_call_begin(om);

        if (r < 0)
                return r; /* what is in flight is not ours */
        while (r == 0 && m.done < n)
                r = get_round(om, &m);
        if (r)
                objm_slots_abandon_all(&om->slots);
        return r;
}
