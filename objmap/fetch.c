/* SPDX-License-Identifier: MIT */
#include "objmap/fetch.h"

#include "base/fd.h"
#include "objmap/cli.h"
#include "objmap/copy.h"
#include "objmap/progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct transfer {
        struct fetch *f;
        int to;
        bool begun;
        uint64_t done;
        struct progress progress;
};

static int begin(struct transfer *t, const struct objmapper_object *o)
{
        struct fetch *f = t->f;
        uint64_t len = f->offset < o->size ? o->size - f->offset : 0;

        t->begun = true;
        if (f->version && (o->version != f->version || f->offset > o->size))
                return -ESTALE;
        progress_start(&t->progress, t->to, f->length && f->length < len ? f->length : len);
        return f->begin ? f->begin(f, o) : 0;
}

static void advance(void *userdata, uint64_t n)
{
        struct transfer *t = userdata;

        t->done += n;
        progress_show(&t->progress, t->done);
}

static int on_piece(void *userdata, const struct objmapper_object *object, uint64_t offset, const void *data, size_t n)
{
        struct transfer *t = userdata;
        int r = t->begun ? 0 : begin(t, object);

        if (r == 0) {
                r = copy_bytes(data, n, t->to);
                t->f->at_target = r < 0;
        }
        if (r == 0)
                advance(t, n);
        return r;
}

static int fetch_body(struct objmapper *om, struct transfer *t)
{
        struct objmapper_read_options options = {.size = sizeof(options), .mode = t->f->mode,
                                                 .offset = t->f->offset, .length = t->f->length};
        struct objmapper_object object;
        int r = objmapper_read_cb(om, t->f->uri, on_piece, t, &options, &object);

        return r == 0 && !t->begun ? begin(t, &object) : r;
}

static int fetch_fd(struct objmapper *om, struct transfer *t)
{
        struct objmapper_object object;
        int r = objmapper_get(om, t->f->uri, &object);

        if (r < 0)
                return r;
        r = begin(t, &object);
        if (r == 0 && (!t->f->offset || t->f->offset < object.size)) { /* without a size there may be bytes */
                r = copy_object(object.fd, t->to, t->f->offset, t->f->length ? t->f->length : UINT64_MAX, advance, t);
                t->f->at_target = r < 0;
                if (r == 0 && t->done < t->progress.total)
                        r = -ESTALE; /* truncated meanwhile */
        }
        objm_fd_close(object.fd);
        return r;
}

static int fetch_datagram(struct transfer *t)
{
        struct objmapper_object object;
        char buf[OBJMAPPER_UDP_MAX];
        ssize_t n = objmapper_udp_get(t->f->udp, t->f->uri, buf, sizeof(buf), &object);

        return n < 0 ? (int)n : on_piece(t, &object, 0, buf, (size_t)n);
}

int fetch(struct objmapper *om, struct fetch *f, int to)
{
        struct transfer t = {.f = f, .to = to};
        int r;

        if (f->udp)
                r = fetch_datagram(&t);
        else
                r = f->mode == OBJMAPPER_MODE_FD ? fetch_fd(om, &t) : fetch_body(om, &t);
        progress_end(&t.progress);
        return r;
}

int fetch_mode(const char *name)
{
        static const char *const names[] = {
                [OBJMAPPER_MODE_AUTO] = "auto",
                [OBJMAPPER_MODE_FD] = "fd",
                [OBJMAPPER_MODE_COPY] = "copy",
                [OBJMAPPER_MODE_SPLICE] = "splice",
        };

        for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++)
                if (strcmp(name, names[i]) == 0)
                        return i;
        return -1;
}

int fetch_default_mode(const struct cli *cli)
{
        return cli_is_remote(cli) ? OBJMAPPER_MODE_AUTO : OBJMAPPER_MODE_FD;
}

int fetch_range(const char *text, struct fetch *f)
{
        uint64_t offset, last;
        char first[24];
        size_t n = strcspn(text, "-");

        if (n >= sizeof(first))
                return -1;
        memcpy(first, text, n);
        first[n] = 0;
        if (cli_number(first, 0, INT64_MAX, &offset) < 0)
                return -1;
        f->offset = offset;
        f->length = 0;
        if (!text[n] || !text[n + 1])
                return 0;
        if (cli_number(text + n + 1, offset, INT64_MAX - 1, &last) < 0)
                return -1;
        f->length = last - offset + 1;
        return 0;
}
