/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include "base/attr.h"
#include "base/fd.h"
#include "objmap/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

struct get_options {
        const char *uri, *file;
        bool force;
};

/* The part of @uri behind its last slash, NULL when that is no name for a file. */
static const char *last_segment(const char *uri)
{
        const char *slash = strrchr(uri, '/'), *name = slash ? slash + 1 : uri;

        return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 ? name : NULL;
}

static int parse(struct cli *cli, int argc, char **argv, struct get_options *ret)
{
        static const struct option options[] = {
                {"output", required_argument, NULL, 'o'}, {"force", no_argument, NULL, 'f'}, CLI_LONG_OPTIONS, {0}};
        struct get_options o = {0};
        int c, r;

        while ((c = getopt_long(argc, argv, "o:f", options, NULL)) != -1) {
                if (c == 'o')
                        o.file = optarg;
                else if (c == 'f')
                        o.force = true;
                else if ((r = cli_option(cli, c)))
                        return r;
        }
        if (argc - optind != 1)
                return cli_usage("get takes one URI");
        o.uri = argv[optind];
        if (!o.file && !(o.file = last_segment(o.uri)))
                return cli_usage("'%s' has no last part to name a file after; use -o FILE", o.uri);
        *ret = o;
        return 0;
}

/* Creates the file, or with -f opens the one (or the device) that is there. *@ret_new: it is ours to remove. */
static int open_file(const struct get_options *o, bool *ret_new)
{
        int fd = open(o->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

        *ret_new = fd >= 0;
        if (fd < 0 && errno == EEXIST && o->force)
                fd = open(o->file, O_WRONLY | O_TRUNC | O_CLOEXEC);
        return fd;
}

/* Writes to the file; a new one that cannot be finished is not left behind. */
static int write_file(const struct get_options *o, int from)
{
        bool new;
        int to objm_cleanup(objm_fd_closep) = open_file(o, &new);
        int r;

        if (to < 0)
                return cli_error(o->file, -errno);
        r = copy_object(from, to);
        if (r == 0 && close(objm_fd_steal(&to)) < 0)
                r = -errno;
        if (r == 0)
                return CLI_OK;
        if (new)
                unlink(o->file);
        return cli_error(o->file, r);
}

static int copy_out(const char *uri, int from)
{
        int r = copy_object(from, STDOUT_FILENO);

        return r < 0 ? cli_error(uri, r) : CLI_OK;
}

int cmd_get(struct cli *cli, int argc, char **argv)
{
        struct objmapper_options options = {.depth = 1};
        struct objmapper_object object;
        struct get_options o = {0};
        struct objmapper *om;
        int r = parse(cli, argc, argv, &o);

        if (r || (r = cli_connect(cli, &options, &om)))
                return r;
        r = objmapper_get(om, o.uri, &object);
        objmapper_free(om);
        if (r < 0)
                return cli_error(o.uri, r);
        r = strcmp(o.file, "-") == 0 ? copy_out(o.uri, object.fd) : write_file(&o, object.fd);
        objm_fd_close(object.fd);
        return r;
}

static int cat_one(struct objmapper *om, const char *uri)
{
        struct objmapper_object object;
        int r = objmapper_get(om, uri, &object);

        if (r < 0)
                return cli_error(uri, r);
        r = copy_out(uri, object.fd);
        objm_fd_close(object.fd);
        return r;
}

int cmd_cat(struct cli *cli, int argc, char **argv)
{
        static const struct option options[] = {CLI_LONG_OPTIONS, {0}};
        struct objmapper_options connect_options = {.depth = 1};
        struct objmapper *om;
        int c, r, status = CLI_OK;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                if ((r = cli_option(cli, c)))
                        return r;
        if (optind == argc)
                return cli_usage("cat takes at least one URI");
        if ((r = cli_connect(cli, &connect_options, &om)))
                return r;
        for (int i = optind; i < argc; i++)
                if ((r = cat_one(om, argv[i])))
                        status = r;
        objmapper_free(om);
        return status;
}
