/* SPDX-License-Identifier: MIT */
#include "objmap/resume.h"

#include "base/fd.h"
#include "client/objmapper.h"
#include "objmap/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGITS 16
#define MAX    (DIGITS + 1 + OBJMAPPER_URI_MAX + 1) /* "VERSION URI\n" */

int resume_init(struct resume *r, const char *file, const char *uri)
{
        r->uri = uri;
        return asprintf(&r->path, "%s.part", file) < 0 ? -ENOMEM : 0;
}

void resume_deinit(struct resume *r)
{
        free(r->path);
}

static size_t format(const struct resume *r, uint64_t version, char *buf)
{
        return (size_t)snprintf(buf, MAX + 1, "%0*" PRIx64 " %s\n", DIGITS, version, r->uri);
}

/* Whatever is not just what resume_save() writes is of another object. */
int resume_load(const struct resume *r, uint64_t *ret_version)
{
        char have[MAX + 1], expected[MAX + 1];
        int fd objm_cleanup(objm_fd_closep) = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        uint64_t version;
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = objmapper_read_all(fd, have, MAX, 0);
        if (n < 0)
                return (int)n;
        have[n] = 0;
        version = strtoull(have, NULL, 16);
        *ret_version = format(r, version, expected) == (size_t)n && strcmp(have, expected) == 0 ? version : 0;
        return 0;
}

int resume_save(const struct resume *r, uint64_t version)
{
        char buf[MAX + 1];
        int fd objm_cleanup(objm_fd_closep) = open(r->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

        return fd < 0 ? -errno : copy_bytes(buf, format(r, version, buf), fd);
}

void resume_forget(const struct resume *r)
{
        unlink(r->path);
}
