/* SPDX-License-Identifier: MIT */
/*
 * Starts everything, then waits for signals: SIGTERM and SIGINT drain and end, a second one ends at once; SIGHUP
 * reloads. No other thread takes a signal.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "concurrency/loop.h"
#include "objmapperd/config.h"
#include "objmapperd/handover.h"
#include "objmapperd/http.h"
#include "objmapperd/log.h"
#include "objmapperd/manager.h"
#include "objmapperd/reload.h"
#include "objmapperd/sandbox.h"
#include "protocol/v3.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* After `objmap drain` under a service manager, which is to tell it from an end that it has not been asked for. */
#define EXIT_DRAINED 3

struct daemon {
        const struct options *options;
        struct server *server;
        struct sockets sockets;
        struct http *http;
        struct objm_loop loop;
        struct objm_source signals, drained;
        struct watch watch;
        struct manager manager;
        struct handover handover;
        bool draining;
        bool ending;    /* to drain; while draining: at once */
        bool hand_over; /* connections, to the next instance */
        bool dismissed; /* by an administrator, not by whoever has started this */
};

static struct objm_store *current_store(struct daemon *d)
{
        return atomic_load_explicit(&d->server->snapshot, memory_order_relaxed)->store;
}

static void say(int priority, enum log_message message, const char *text)
{
        log_about_text(priority, &(struct log_about){.message = message}, text);
}

static int refuse(struct config_error *err, const char *text)
{
        snprintf(err->text, sizeof(err->text), "%s", text);
        return -EBUSY;
}

static int try_to_reload(struct daemon *d, struct config_error *err)
{
        int r;

        if (d->draining)
                r = refuse(err, "the daemon is draining");
        else
                r = reload(&(struct reload_of){d->options, d->server, &d->sockets, &d->watch, &d->http}, err);
        if (r < 0)
                say(LOG_ERR, LOG_MESSAGE_NOT_RELOADED, "not reloaded");
        else
                say(LOG_INFO, LOG_MESSAGE_RELOADED, "reloaded");
        return r;
}

static int notify_and_reload(struct daemon *d, struct config_error *err)
{
        int r;

        manager_reloading();
        r = try_to_reload(d, err);
        if (d->draining)
                manager_stopping();
        else
                manager_ready(&d->manager);
        return r;
}

static int on_control(void *userdata, uint8_t op, struct config_error *err)
{
        struct daemon *d = userdata;

        if (op == OBJM_V3_OP_RELOAD)
                return notify_and_reload(d, err);
        if (!d->draining)
                d->ending = d->dismissed = true;
        return 0;
}

/* Where the sockets outlive this process and somebody keeps descriptors, clients go on with whoever comes next. */
static void end(struct daemon *d, uint32_t signo)
{
        if (!d->draining)
                d->hand_over = signo == SIGTERM && d->sockets.passed && getenv("NOTIFY_SOCKET");
        d->ending = true;
}

static void on_signal(struct objm_source *source, uint32_t events)
{
        struct daemon *d = objm_container_of(source, struct daemon, signals);
        struct signalfd_siginfo info;
        struct config_error err;

        if (read(source->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
                return;
        if (info.ssi_signo == SIGHUP)
                (void)notify_and_reload(d, &err);
        else
                end(d, info.ssi_signo);
}

/* The last connection has ended: that the loop wakes is all that is needed. */
static void on_drained(struct objm_source *source, uint32_t events)
{
}

/* Blocked before the first thread is started, so that all inherit it. SIGPIPE is nobody's. */
static int open_signals(int *ret_fd)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
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
        d->drained.events = EPOLLIN;
        d->drained.on_events = on_drained;
        watch_init(&d->watch, &d->loop);
        return objm_loop_add(&d->loop, &d->signals);
}

static int open_metrics(struct daemon *d, const char *endpoint)
{
        struct config_error err;
        int r = endpoint ? http_open(endpoint, &d->http, &err) : 0;

        if (r < 0)
                log_line(LOG_ERR, "%s", err.text);
        return r;
}

static int serve_metrics(struct daemon *d)
{
        struct config_error err;
        int r = d->http ? http_serve(d->http, d->server, &err) : 0;

        if (r < 0)
                log_line(LOG_ERR, "%s", err.text);
        return r;
}

static int serve_sockets(struct daemon *d)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < d->sockets.n; i++)
                r = server_add_socket(d->server, d->sockets.item[i]);
        if (r == 0)
                r = server_go(d->server);
        if (r < 0)
                log_line(LOG_ERR, "cannot accept: %s", strerror(-r));
        for (size_t i = 0; r == 0 && i < d->sockets.n; i++)
                listening_log(d->sockets.item[i]);
        return r;
}

/* Where the instance before has left one that is used on, it is left there. */
static void leave_watch(struct daemon *d)
{
        int fd = objm_store_watch_fd(current_store(d));

        if ((fd >= 0) != (d->sockets.stored.watch_fd >= 0))
                handover_leave_watch(fd);
}

/* Takes @config. */
static int start(struct daemon *d, struct config *config)
{
        struct config_error err;
        size_t bad = SIZE_MAX;
        bool sandbox = config->sandbox;
        int r = sockets_open(config, &d->sockets, &err);

        if (r < 0) {
                log_line(LOG_ERR, "%s", err.text);
                config_free(config);
                return r;
        }
        r = open_metrics(d, config->http);
        if (r < 0) {
                config_free(config);
                return r;
        }
        if (sandbox)
                sandbox_files(config, d->sockets.passed);
        r = server_new(config, d->sockets.stored.watch_fd, &bad, &d->server);
        if (r < 0) {
                reload_explain(config, bad, r, &err);
                config_free(config);
                return r;
        }
        d->drained.fd = d->server->drained_fd;
        r = objm_loop_add(&d->loop, &d->drained);
        if (r < 0) {
                log_line(LOG_ERR, "cannot start: %s", strerror(-r));
                return r;
        }
        control_open(&d->server->control, &d->loop, on_control, d);
        watch_set(&d->watch, current_store(d));
        leave_watch(d);
        handover_restore(d->server, &d->sockets.stored);
        r = serve_metrics(d);
        if (r == 0)
                r = serve_sockets(d);
        if (r == 0 && sandbox)
                sandbox_calls();
        return r;
}

static void loop_once(struct daemon *d, int timeout_ms)
{
        objm_loop_wait(&d->loop, timeout_ms);
        objm_loop_dispatch(&d->loop);
}

static uint64_t drain_deadline(struct daemon *d)
{
        uint64_t ns = atomic_load_explicit(&d->server->snapshot, memory_order_relaxed)->config->drain_ns;

        return ns ? objm_clock_ns() + ns : UINT64_MAX;
}

/* Until the last connection has ended, the time is over or a second signal says so. */
static void drain(struct daemon *d)
{
        uint64_t deadline = drain_deadline(d), now;

        d->draining = true;
        d->ending = false;
        manager_stopping();
        server_drain(d->server, d->hand_over ? &d->handover : NULL);
        say(LOG_INFO, LOG_MESSAGE_DRAINING, "draining"); /* nobody is let in after that */
        while (!d->ending && !server_is_drained(d->server) && (now = objm_clock_ns()) < deadline) {
                uint64_t ms = (deadline - now) / OBJM_NS_PER_MS + 1;

                loop_once(d, ms < INT_MAX ? (int)ms : INT_MAX);
        }
}

/* What did not become ready in time ends here. */
static void hand_over(struct daemon *d)
{
        int r = handover_store(&d->handover);

        if (r > 0)
                log_line(LOG_INFO, "handed %d connections over", r);
        else if (r < 0)
                log_line(LOG_WARNING, "cannot hand connections over: %s", strerror(-r));
}

static void serve(struct daemon *d)
{
        say(LOG_INFO, LOG_MESSAGE_READY, "ready");
        manager_init(&d->manager, d->server, &d->loop);
        manager_ready(&d->manager);
        while (!d->ending) {
                loop_once(d, manager_sleep_ms(&d->manager));
                manager_turn(&d->manager);
        }
        drain(d);
        if (d->hand_over)
                hand_over(d);
}

static int run(const struct options *options, struct config *config)
{
        struct daemon d = {.options = options, .signals.fd = -1, .sockets.stored = HANDOVER_STORED_INIT};
        int r;

        raise_fd_limit();
        handover_init(&d.handover);
        r = prepare(&d);
        if (r < 0) {
                log_line(LOG_ERR, "cannot start: %s", strerror(-r));
                config_free(config);
                handover_deinit(&d.handover);
                return EXIT_FAILURE;
        }
        r = start(&d, config);
        if (r == 0)
                serve(&d);
        watch_set(&d.watch, NULL);
        http_stop(d.http);
        server_free(d.server);
        handover_deinit(&d.handover);
        sockets_close(&d.sockets);
        objm_fd_close(d.signals.fd);
        objm_loop_deinit(&d.loop);
        if (r < 0)
                return EXIT_FAILURE;
        return d.dismissed && getenv("NOTIFY_SOCKET") ? EXIT_DRAINED : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
        struct config_error err;
        struct options options;
        struct config *config;
        int status = EXIT_SUCCESS;

        if (options_parse(argc, argv, &options, &err) < 0) {
                fprintf(stderr, "objmapperd: %s\n", err.text);
                manager_failed(err.text);
                return 2;
        }
        log_init(LOG_INFO, options.foreground);
        if (options.help) {
                fputs(options_usage(), stdout);
        } else if (options.version) {
                puts("objmapperd " OBJM_VERSION);
        } else if (config_load(&options, &config, &err) < 0) {
                log_line(LOG_ERR, "%s", err.text);
                status = EXIT_FAILURE;
                if (!options.check_config)
                        manager_failed(err.text);
        } else if (options.check_config) {
                config_free(config);
        } else {
                log_set_level(config->log_level);
                status = run(&options, config);
                if (status == EXIT_FAILURE)
                        manager_failed("cannot start");
        }
        options_deinit(&options);
        return status;
}
