/* SPDX-License-Identifier: MIT */
/*
 * Starts everything, then waits for signals: SIGTERM and SIGINT drain and end, a second one ends at once; SIGHUP
 * reloads. No other thread takes a signal.
 */
#include "base/fd.h"
#include "concurrency/loop.h"
#include "objmapperd/config.h"
#include "objmapperd/log.h"
#include "objmapperd/server.h"
#include "objmapperd/sockets.h"
#include "objmapperd/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

struct daemon {
        const struct options *options;
        struct server *server;
        struct sockets sockets;
        struct objm_loop loop;
        struct objm_source signals;
        struct watch watch;
        bool ending;
};

static void say_bad_export(const struct config *config, size_t bad, int error)
{
        struct log_about about = {.message = LOG_MESSAGE_EXPORT};

        if (bad >= config->n_exports) {
                log_line(LOG_ERR, "cannot start: %s", strerror(-error));
                return;
        }
        about.export = config->exports[bad].prefix;
        log_about(LOG_ERR, &about, "export %s: %s: %s", about.export, config->exports[bad].path, strerror(-error));
}

static struct objm_store *current_store(struct daemon *d)
{
        return atomic_load_explicit(&d->server->snapshot, memory_order_relaxed)->store;
}

static void say(int priority, enum log_message message, const char *text)
{
        log_about_text(priority, &(struct log_about){.message = message}, text);
}

/* The old configuration stays unless all of the new one holds. */
static void reload(struct daemon *d)
{
        struct config_error err;
        struct config *config;
        size_t bad = SIZE_MAX;
        int r = config_load(d->options, &config, &err);

        if (r < 0) {
                log_line(LOG_ERR, "%s", err.text);
                say(LOG_ERR, LOG_MESSAGE_NOT_RELOADED, "not reloaded");
                return;
        }
        sd_notify(0, "RELOADING=1");
        watch_set(&d->watch, NULL);
        r = server_reload(d->server, config, &bad);
        if (r < 0) {
                say_bad_export(config, bad, r);
                say(LOG_ERR, LOG_MESSAGE_NOT_RELOADED, "not reloaded");
                config_free(config);
        } else {
                log_set_level(config->log_level);
                say(LOG_INFO, LOG_MESSAGE_RELOADED, "reloaded");
        }
        watch_set(&d->watch, current_store(d));
        sd_notify(0, "READY=1");
}

static void on_signal(struct objm_source *source, uint32_t events)
{
        struct daemon *d = objm_container_of(source, struct daemon, signals);
        struct signalfd_siginfo info;

        if (read(source->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
                return;
        if (info.ssi_signo == SIGHUP)
                reload(d);
        else
                d->ending = true;
}

static sigset_t ending_signals(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        return set;
}

/* Blocked before the first thread is started, so that all inherit it. SIGPIPE is nobody's. */
static int open_signals(int *ret_fd)
{
        sigset_t set = ending_signals();

        sigaddset(&set, SIGHUP);
        signal(SIGPIPE, SIG_IGN);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        *ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return *ret_fd < 0 ? -errno : 0;
}

static void raise_fd_limit(void)
{
        struct rlimit rl;

        if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
                rl.rlim_cur = rl.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &rl);
        }
}

static int prepare(struct daemon *d)
{
        int r = open_signals(&d->signals.fd);

        if (r == 0)
                r = objm_loop_init(&d->loop);
        if (r < 0)
                return r;
        d->signals.events = EPOLLIN;
        d->signals.on_events = on_signal;
        watch_init(&d->watch, &d->loop);
        return objm_loop_add(&d->loop, &d->signals);
}

static int serve_datagrams(struct daemon *d)
{
        int r = server_serve_datagrams(d->server, d->sockets.datagrams, d->sockets.n_datagrams);

        if (r < 0)
                log_line(LOG_ERR, "cannot answer datagrams: %s", strerror(-r));
        return r;
}

/* Takes @config. */
static int start(struct daemon *d, struct config *config)
{
        struct config_error err;
        size_t bad = SIZE_MAX;
        int r = sockets_open(config, &d->sockets, &err);

        if (r < 0) {
                log_line(LOG_ERR, "%s", err.text);
                config_free(config);
                return r;
        }
        r = server_new(config, &bad, &d->server);
        if (r < 0) {
                say_bad_export(config, bad, r);
                config_free(config);
                return r;
        }
        watch_set(&d->watch, current_store(d));
        r = server_listen(d->server, d->sockets.listeners, d->sockets.n);
        if (r < 0)
                log_line(LOG_ERR, "cannot accept: %s", strerror(-r));
        else
                r = serve_datagrams(d);
        if (r == 0)
                sockets_log(&d->sockets);
        return r;
}

static void serve(struct daemon *d)
{
        sigset_t ending = ending_signals();

        say(LOG_INFO, LOG_MESSAGE_READY, "ready");
        sd_notify(0, "READY=1");
        while (!d->ending) {
                objm_loop_wait(&d->loop, -1);
                objm_loop_dispatch(&d->loop);
        }
        sd_notify(0, "STOPPING=1");
        say(LOG_INFO, LOG_MESSAGE_DRAINING, "draining");
        (void)!signalfd(d->signals.fd, &ending, 0); /* a reload does not cut the drain short */
        server_drain(d->server, d->signals.fd);
}

static int run(const struct options *options, struct config *config)
{
        struct daemon d = {.options = options, .signals.fd = -1};
        int r;

        raise_fd_limit();
        r = prepare(&d);
        if (r < 0) {
                log_line(LOG_ERR, "cannot start: %s", strerror(-r));
                config_free(config);
                return EXIT_FAILURE;
        }
        r = start(&d, config);
        if (r == 0)
                serve(&d);
        watch_set(&d.watch, NULL);
        server_free(d.server);
        sockets_close(&d.sockets);
        objm_fd_close(d.signals.fd);
        objm_loop_deinit(&d.loop);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
        struct config_error err;
        struct options options;
        struct config *config;
        int status = EXIT_SUCCESS;

        if (options_parse(argc, argv, &options, &err) < 0) {
                fprintf(stderr, "objmapperd: %s\n", err.text);
                return 2;
        }
        if (options.help) {
                fputs(options_usage(), stdout);
        } else if (options.version) {
                puts("objmapperd " OBJM_VERSION);
        } else if (config_load(&options, &config, &err) < 0) {
                fprintf(stderr, "objmapperd: %s\n", err.text);
                status = EXIT_FAILURE;
        } else if (options.check_config) {
                config_free(config);
        } else {
                log_init(config->log_level, options.foreground);
                status = run(&options, config);
        }
        options_deinit(&options);
        return status;
}
