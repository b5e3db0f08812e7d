/* SPDX-License-Identifier: MIT */
#include "objmap/cli.h"

#include "base/attr.h"
#include "base/fd.h"
#include "objmap/fetch.h"
#include "objmap/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct get_options {
        const char *file;
        bool force, resume;
        bool stream_only; /* an option was given that goes with streams */
        const char *udp;  /* address, NULL: over a stream */
        struct fetch fetch;
};

/* The part of @uri behind its last slash, NULL when that is no name for a file. */
static const char *last_segment(const char *uri)
{
        const char *slash = strrchr(uri, '/'), *name = slash ? slash + 1 : uri;

        return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 ? name : NULL;
}

static int set_option(struct cli *cli, int c, struct get_options *o)
{
        switch (c) {
        case 'o':
                o->file = optarg;
                return 0;
        case 'f':
                o->force = true;
                return 0;
        case 'c':
                o->resume = o->stream_only = true;
                return 0;
        case 'u':
                o->udp = optarg;
                return 0;
        case 'm':
                o->stream_only = true;
                o->fetch.mode = fetch_mode(optarg);
                return o->fetch.mode < 0 ? cli_usage("--mode is fd, copy, splice or auto, not '%s'", optarg) : 0;
        case 'r':
                o->stream_only = true;
                if (fetch_range(optarg, &o->fetch) == 0)
                        return 0;
                return cli_usage("--range is OFFSET or OFFSET-LAST, not '%s'", optarg);
        default:
                return cli_option(cli, c);
        }
}

static int check_udp(const struct get_options *o)
{
        return o->udp && o->stream_only ? cli_usage("--udp takes neither --continue nor --mode nor --range") : CLI_OK;
}

static int parse(struct cli *cli, int argc, char **argv, struct get_options *ret)
{
        static const struct option options[] = {
                {"output", required_argument, NULL, 'o'}, {"force", no_argument, NULL, 'f'},
                {"continue", no_argument, NULL, 'c'},     {"mode", required_argument, NULL, 'm'},
                {"range", required_argument, NULL, 'r'},  {"udp", required_argument, NULL, 'u'},
                CLI_LONG_OPTIONS, {0}};
        struct get_options o = {.fetch.mode = -1};
        bool range = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "o:fc", options, NULL)) != -1) {
                range = range || c == 'r';
                if ((r = set_option(cli, c, &o)))
                        return r;
        }
        if (o.fetch.mode < 0)
                o.fetch.mode = fetch_default_mode(cli);
        if (argc - optind != 1)
                return cli_usage("get takes one URI");
        o.fetch.uri = argv[optind];
        if (!o.file && !(o.file = last_segment(o.fetch.uri)))
                return cli_usage("'%s' has no last part to name a file after; use -o FILE", o.fetch.uri);
        if (o.resume && (range || strcmp(o.file, "-") == 0))
                return cli_usage("--continue is for files and whole objects");
        *ret = o;
        return check_udp(&o);
}

static int failed(const struct fetch *f, const char *file, int error)
{
        if (f->onto_itself) {
                fprintf(stderr, "objmap: %s: it is the object itself\n", file);
                return CLI_FAILED;
        }
        return f->at_target ? cli_file_error(file, error) : cli_error(f->uri, error);
}

/* Loses the content of the file, unless that is the object's. */
static int empty(struct fetch *f, const struct objmapper_object *object, int fd)
{
        struct stat from, to;

        f->onto_itself = object->fd >= 0 && fstat(object->fd, &from) == 0 && fstat(fd, &to) == 0 &&
                         from.st_dev == to.st_dev && from.st_ino == to.st_ino;
        if (f->onto_itself)
                return -EEXIST;
        return ftruncate(fd, 0) < 0 ? -errno : 0;
}

/* ---- to the end or not at all ---- */

/* Creates the file, or with -f opens the one (or the device) that is there. *@ret_new: it is ours to remove. */
static int open_file(const struct get_options *o, bool *ret_new)
{
        int fd = open(o->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

        *ret_new = fd >= 0;
        if (fd < 0 && errno == EEXIST && o->force)
                fd = open(o->file, O_WRONLY | O_CLOEXEC);
        return fd;
}

struct target {
        int fd;
};

/* A file that is there loses its content when there is something to replace it. */
static int empty_target(struct fetch *f, const struct objmapper_object *object)
{
        const struct target *t = f->userdata;
        int r = empty(f, object, t->fd);

        if (r == 0 || r == -EINVAL) /* a device has no length */
                return 0;
        f->at_target = true;
        return r;
}

static int get_whole(struct objmapper *om, struct get_options *o)
{
        struct fetch *f = &o->fetch;
        bool new;
        int to objm_cleanup(objm_fd_closep) = open_file(o, &new);
        struct target target = {to};
        int r;

        if (to < 0 && errno == EEXIST) {
                fprintf(stderr, "objmap: %s: %s; -f overwrites it\n", o->file, strerror(EEXIST));
                return CLI_FAILED;
        }
        if (to < 0)
                return cli_file_error(o->file, -errno);
        f->begin = empty_target;
        f->userdata = &target;
        r = fetch(om, f, to);
        if (r == 0 && close(objm_fd_steal(&to)) < 0) {
                r = -errno;
                f->at_target = true;
        }
        if (r == 0)
                return CLI_OK;
        if (new)
                unlink(o->file);
        return failed(f, o->file, r);
}

/* ---- in as many goes as it takes ---- */

struct continued {
        struct resume resume;
        int fd;
        bool new;   /* the file is ours to remove */
        bool begun; /* what the file is a part of is on record */
};

/* Opens what is there, or a new file. The size tells how much of it there is. */
static int open_part(const struct get_options *o, struct continued *c, uint64_t *ret_size)
{
        off_t size;

        c->fd = open(o->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        c->new = c->fd >= 0;
        if (c->fd < 0 && errno == EEXIST)
                c->fd = open(o->file, O_WRONLY | O_CLOEXEC);
        if (c->fd < 0)
                return -errno;
        size = lseek(c->fd, 0, SEEK_END);
        if (size < 0)
                return -errno;
        *ret_size = (uint64_t)size;
        return 0;
}

/* Finds out which part is missing. An empty file is as good as none. */
static int plan(struct get_options *o, struct continued *c)
{
        uint64_t size = 0, version = 0;
        int r = open_part(o, c, &size), known;

        if (r < 0)
                return cli_file_error(o->file, r);
        if (c->new)
                return CLI_OK;
        known = resume_load(&c->resume, &version);
        if (known < 0 && known != -ENOENT)
                return cli_file_error(c->resume.path, known);
        if (known == -ENOENT && size && !o->force) {
                fprintf(stderr, "objmap: %s: it is complete or something else, there is no %s; -f overwrites it\n",
                        o->file, c->resume.path);
                return CLI_FAILED;
        }
        if (known == 0 && version) {
                o->fetch.offset = size;
                o->fetch.version = version;
                c->begun = true;
        } else if (known == 0) {
                fprintf(stderr, "objmap: %s: it is a part of another object, starting again\n", o->file);
        }
        return CLI_OK;
}

/* The old content goes before the record of the new one comes: what is on record is never said of other bytes. */
static int begin_part(struct fetch *f, const struct objmapper_object *object)
{
        struct continued *c = f->userdata;
        int r;

        if (f->version)
                return 0;
        f->at_target = true;
        r = empty(f, object, c->fd);
        if (r < 0)
                return r;
        if (object->version)
                r = resume_save(&c->resume, object->version);
        else
                resume_forget(&c->resume);
        if (r < 0)
                return r;
        c->begun = object->version != 0;
        f->at_target = false;
        return 0;
}

static int fetch_part(struct objmapper *om, struct get_options *o, struct continued *c)
{
        struct fetch *f = &o->fetch;
        int r;

        f->begin = begin_part;
        f->userdata = c;
        if (lseek(c->fd, (off_t)f->offset, SEEK_SET) < 0)
                return -errno;
        r = fetch(om, f, c->fd);
        if (r != -ESTALE || !f->version)
                return r;
        fprintf(stderr, "objmap: %s: the object has changed, starting again\n", o->file);
        f->offset = f->version = 0;
        return lseek(c->fd, 0, SEEK_SET) < 0 ? -errno : fetch(om, f, c->fd);
}

static int run_continued(struct objmapper *om, struct get_options *o, struct continued *c)
{
        int r = plan(o, c);

        if (r)
                return r;
        r = fetch_part(om, o, c);
        if (close(objm_fd_steal(&c->fd)) < 0 && r == 0) {
                r = -errno;
                o->fetch.at_target = true;
        }
        if (r == 0) {
                resume_forget(&c->resume);
                return CLI_OK;
        }
        if (c->new && !c->begun)
                unlink(o->file);
        return failed(&o->fetch, o->file, r);
}

static int get_continued(struct objmapper *om, struct get_options *o)
{
        struct continued c = {.fd = -1};
        int r = resume_init(&c.resume, o->file, o->fetch.uri);

        if (r < 0)
                return cli_file_error(o->file, r);
        r = run_continued(om, o, &c);
        objm_fd_close(c.fd);
        resume_deinit(&c.resume);
        return r;
}

/* ---- */

static int copy_out(struct objmapper *om, struct fetch *f)
{
        int r = fetch(om, f, STDOUT_FILENO);

        return r < 0 ? failed(f, "standard output", r) : CLI_OK;
}

/* One of both. */
static int connect_to(const struct cli *cli, struct get_options *o, struct objmapper **ret_om)
{
        struct objmapper_options options = {.depth = 1};
        int r;

        if (!o->udp)
                return cli_connect(cli, &options, ret_om);
        r = objmapper_udp_connect(o->udp, cli->timeout_ms, &o->fetch.udp);
        if (r == -EINVAL)
                return cli_usage("--udp is ADDRESS:PORT or [ADDRESS]:PORT in digits, not '%s'", o->udp);
        return r < 0 ? cli_error(o->udp, r) : CLI_OK;
}

static void disconnect(struct get_options *o, struct objmapper *om)
{
        objmapper_free(om);
        objmapper_udp_free(o->fetch.udp);
}

int cmd_get(struct cli *cli, int argc, char **argv)
{
        struct get_options o = {0};
        struct objmapper *om = NULL;
        int r = parse(cli, argc, argv, &o);

        if (r || (r = connect_to(cli, &o, &om)))
                return r;
        if (strcmp(o.file, "-") == 0)
                r = copy_out(om, &o.fetch);
        else
                r = o.resume ? get_continued(om, &o) : get_whole(om, &o);
        disconnect(&o, om);
        return r;
}

int cmd_cat(struct cli *cli, int argc, char **argv)
{
        static const struct option options[] = {
                {"mode", required_argument, NULL, 'm'}, {"range", required_argument, NULL, 'r'},
                {"udp", required_argument, NULL, 'u'}, CLI_LONG_OPTIONS, {0}};
        struct get_options o = {.fetch.mode = -1};
        struct objmapper *om = NULL;
        int c, r, status = CLI_OK;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
                if ((r = set_option(cli, c, &o)))
                        return r;
        if (o.fetch.mode < 0)
                o.fetch.mode = fetch_default_mode(cli);
        if (optind == argc)
                return cli_usage("cat takes at least one URI");
        if ((r = check_udp(&o)) || (r = connect_to(cli, &o, &om)))
                return r;
        for (int i = optind; i < argc; i++) {
                o.fetch.uri = argv[i];
                if ((r = copy_out(om, &o.fetch)))
                        status = r;
        }
        disconnect(&o, om);
        return status;
}
