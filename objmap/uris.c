/* SPDX-License-Identifier: MIT */
#include "objmap/uris.h"

#include "base/attr.h"
#include "client/objmapper.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for one more of @size bytes behind @n in *@array. */
static int reserve(void **array, size_t *cap, size_t n, size_t size)
{
        size_t want = *cap ? *cap : 1024;
        void *p;

        while (want < n)
                want *= 2;
        if (want == *cap)
                return 0;
        p = reallocarray(*array, want, size);
        if (!p)
                return -ENOMEM;
        *array = p;
        *cap = want;
        return 0;
}

/* Adds @prefix and @name as one URI. One that is too long is left out: no server has it. */
static int add(struct uris *u, const char *prefix, const char *name)
{
        size_t a = strlen(prefix), b = strlen(name);

        if (a + b == 0 || a + b > OBJMAPPER_URI_MAX)
                return 0;
        if (u->text_len + a + b + 1 > UINT32_MAX)
                return -EFBIG;
        if (reserve((void **)&u->uri, &u->n_cap, u->n + 1, sizeof(*u->uri)) < 0 ||
            reserve((void **)&u->text, &u->text_cap, u->text_len + a + b + 1, 1) < 0)
                return -ENOMEM;
        memcpy(u->text + u->text_len, prefix, a);
        memcpy(u->text + u->text_len + a, name, b + 1);
        u->uri[u->n++] = (struct uri){(uint32_t)u->text_len, (uint32_t)(a + b)};
        u->text_len += a + b + 1;
        return 0;
}

int uris_read_file(struct uris *u, const char *path)
{
        char *line objm_cleanup(objm_freep) = NULL;
        FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
        size_t cap = 0;
        ssize_t n;
        int r = 0;

        if (!f)
                return -errno;
        while (r == 0 && (n = getline(&line, &cap, f)) > 0) {
                if (line[n - 1] == '\n')
                        line[n - 1] = 0;
                r = add(u, "", line);
        }
        if (r == 0 && !feof(f)) /* no memory for the line, or not readable */
                r = -errno;
        fclose(f);
        return r;
}

/* The part of a path below @dir, which fts has put in front of it. */
static const char *below(const char *path, size_t dir_len)
{
        path += dir_len;
        while (*path == '/')
                path++;
        return path;
}

int uris_read_tree(struct uris *u, const char *prefix, const char *dir)
{
        char *roots[] = {(char *)dir, NULL};
        FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
        FTSENT *e;
        int r = 0;

        if (!fts)
                return -errno;
        while (r == 0 && (e = fts_read(fts))) {
                if (e->fts_info == FTS_F)
                        r = add(u, prefix, below(e->fts_path, strlen(dir)));
                else if (e->fts_level == 0 && (e->fts_info == FTS_NS || e->fts_info == FTS_DNR))
                        r = -e->fts_errno;
        }
        fts_close(fts);
        return r;
}

void uris_deinit(struct uris *u)
{
        free(u->text);
        free(u->uri);
        *u = (struct uris){0};
}
