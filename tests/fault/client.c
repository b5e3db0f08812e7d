/* SPDX-License-Identifier: MIT */
/*
 * A client of what objmap does not call: fault-client SOCKET BODY OBJECT
 *
 * With a connection for bodies: gets OBJECT while BODY is read, OBJECT many times at once, and by the submit calls.
 * BODY goes to standard output, OBJECT's bytes are compared among themselves. Exit status 0, or 1 and a message.
 */
#include "client/objmapper.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 40

static char first[4096];
static size_t first_len;

static void fail(const char *what, long r)
{
        fprintf(stderr, "%s: %s\n", what, r < 0 ? strerror((int)-r) : "wrong bytes");
        exit(1);
}

/* The first content that comes is what all others have to be. */
static void compare(int fd)
{
        char buf[sizeof(first)];
        ssize_t n = objmapper_read_all(fd, buf, sizeof(buf), 0);

        close(fd);
        if (n < 0)
                fail("read", n);
        if (!first_len)
                memcpy(first, buf, first_len = (size_t)n);
        if ((size_t)n != first_len || memcmp(buf, first, first_len))
                fail("object", 0);
}

struct job {
        struct objmapper *om;
        const char *uri;
        bool asked;
};

static int on_piece(void *userdata, const struct objmapper_object *object, uint64_t offset, const void *data, size_t n)
{
        struct job *job = userdata;
        struct objmapper_object o;
        int r = job->asked ? 0 : objmapper_get(job->om, job->uri, &o);

        if (r < 0)
                fail("get", r);
        if (!job->asked)
                compare(o.fd);
        job->asked = true;
        fwrite(data, 1, n, stdout);
        return 0;
}

static int on_object(void *userdata, size_t index, const struct objmapper_completion *c)
{
        if (c->result < 0)
                fail("many", c->result);
        compare(c->object.fd);
        return 0;
}

static void submit(struct job *job)
{
        struct objmapper_completion c;
        int r;

        for (int i = 0; i < 3; i++)
                if ((r = objmapper_submit_get(job->om, job->uri, strlen(job->uri), 0)) < 0)
                        fail("submit", r);
        while (objmapper_in_flight(job->om)) {
                r = objmapper_wait(job->om, &c, 1, 2000);
                if (r <= 0 || c.result < 0)
                        fail("wait", r < 0 ? r : r ? c.result : -110);
                compare(c.object.fd);
        }
}

int main(int argc, char **argv)
{
        struct objmapper_options options = {.size = sizeof(options), .flags = OBJMAPPER_SPLIT_BODIES, .timeout_ms = 500,
                                            .depth = 8};
        struct objmapper_read_options copy = {.size = sizeof(copy), .mode = OBJMAPPER_MODE_COPY};
        const char *uris[MANY];
        struct job job = {0};
        int r = argc == 4 ? objmapper_connect(argv[1], &options, &job.om) : -22;

        if (r < 0)
                fail("connect", r);
        job.uri = argv[3];
        for (int i = 0; i < MANY; i++)
                uris[i] = job.uri;
        r = objmapper_read_cb(job.om, argv[2], on_piece, &job, &copy, NULL);
        if (r < 0)
                fail("read", r);
        r = objmapper_get_many(job.om, uris, MANY, on_object, NULL);
        if (r < 0)
                fail("many", r);
        submit(&job);
        objmapper_free(job.om);
        if (fflush(stdout) == 0 && !ferror(stdout))
                return 0;
        perror("standard output");
        return 1;
}
