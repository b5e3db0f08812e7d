/* SPDX-License-Identifier: MIT */
#include "objmapperd/manager.h"

#include "base/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define STATUS_INTERVAL_NS (5 * OBJM_NS_PER_S)

static void feed(struct pulse *p)
{
        sd_notify(0, "WATCHDOG=1");
}

void manager_init(struct manager *m, struct server *s, struct objm_loop *loop)
{
        uint64_t usec;

        *m = (struct manager){.server = s};
        pulse_init(&m->pulse, loop, feed);
        m->watchdog = sd_watchdog_enabled(0, &usec) > 0;
        if (m->watchdog)
                m->interval_ns = usec * 1000 / 2;
        else if (getenv("NOTIFY_SOCKET"))
                m->interval_ns = STATUS_INTERVAL_NS;
}

/* True when it is another than was sent last. */
static bool renew_status(struct manager *m)
{
        struct objm_store_counts counts;
        char text[sizeof(m->status)];

        objm_store_count(atomic_load_explicit(&m->server->snapshot, memory_order_relaxed)->store, &counts);
        snprintf(text, sizeof(text), "STATUS=connections: %u, objects: %llu",
                 atomic_load_explicit(&m->server->n_connections, memory_order_relaxed),
                 (unsigned long long)counts.objects);
        if (strcmp(text, m->status) == 0)
                return false;
        memcpy(m->status, text, sizeof(text));
        return true;
}

/*
 * The pool's threads cannot be asked: they may be waiting for a disk. But requests do not wait for long when one of
 * them has nothing to do.
 */
static bool pool_turns(struct manager *m)
{
        struct objm_pool_counts now;
        bool waited = m->pool_waits;
        uint64_t jobs = m->pool_jobs;

        objm_pool_count(m->server->pool, &now);
        m->pool_waits = now.requests && now.busy < now.threads;
        m->pool_jobs = now.jobs;
        return !waited || !m->pool_waits || now.jobs != jobs;
}

static void ask_all(struct manager *m)
{
        if (!pool_turns(m) || !pulse_begin(&m->pulse))
                return;
        server_ask(m->server, &m->pulse);
        pulse_end(&m->pulse);
}

static void tick(struct manager *m)
{
        m->next_ns = objm_clock_ns() + m->interval_ns;
        if (m->watchdog)
                ask_all(m);
}

void manager_ready(struct manager *m)
{
        if (!m->interval_ns)
                return;
        (void)renew_status(m);
        sd_notifyf(0, "READY=1\n%s", m->status);
        tick(m);
}

void manager_reloading(void)
{
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, objm_clock_ns() / OBJM_NS_PER_US);
}

void manager_stopping(void)
{
        sd_notify(0, "STOPPING=1");
}

void manager_failed(const char *why)
{
        const struct timespec pause = {.tv_sec = 1};
        sigset_t leave;

        if (!getenv("NOTIFY_SOCKET"))
                return;
        sigemptyset(&leave);
        sigaddset(&leave, SIGTERM);
        sigaddset(&leave, SIGINT);
        pthread_sigmask(SIG_BLOCK, &leave, NULL);
        sd_notifyf(0, "STATUS=%.*s", (int)strcspn(why, "\n"), why);
        (void)sigtimedwait(&leave, NULL, &pause);
}

int manager_sleep_ms(const struct manager *m)
{
        uint64_t now, ms;

        if (!m->interval_ns)
                return -1;
        now = objm_clock_ns();
        ms = m->next_ns > now ? (m->next_ns - now) / OBJM_NS_PER_MS + 1 : 0;
        return ms < INT_MAX ? (int)ms : INT_MAX;
}

void manager_turn(struct manager *m)
{
        if (!m->interval_ns || objm_clock_ns() < m->next_ns)
                return;
        if (renew_status(m))
                sd_notify(0, m->status);
        tick(m);
}
