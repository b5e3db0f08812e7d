/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_URIS_H
#define OBJMAP_URIS_H
/*
 * The set of URIs a load is made of, prepared up front; read-only afterwards, for any number of threads.
 */
#include <stddef.h>
#include <stdint.h>

struct uri {
        uint32_t at, len; /* in the text */
};

struct uris {
        char *text; /* each URI followed by NUL */
        struct uri *uri;
        size_t n, n_cap, text_len, text_cap;
};

/* One URI a line, of a file or of "-", the standard input; empty lines are skipped. 0, or negative errno. */
int uris_read_file(struct uris *u, const char *path);

/* The regular files below @dir, each as @prefix and its name relative to @dir. 0, or negative errno. */
int uris_read_tree(struct uris *u, const char *prefix, const char *dir);

void uris_deinit(struct uris *u);

static inline const char *uris_text(const struct uris *u, size_t i)
{
        return u->text + u->uri[i].at;
}

#endif
