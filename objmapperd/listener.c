/* SPDX-License-Identifier: MIT */
#include "objmapperd/listener.h"

#include "base/clock.h"
#include "base/fd.h"
#include "concurrency/loop.h"
#include "objmapperd/connection.h"
#include "objmapperd/log.h"
#include "objmapperd/log_limit.h"
#include "objmapperd/log_refused.h"
#include "objmapperd/pulse.h"
#include "objmapperd/socket_set.h"
#include "protocol/v1.h"
#include "transport/tcp.h"
#include "transport/unix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define PAUSE_MS         50
#define ACCEPTS_PER_TURN 64

struct listener {
        struct server *server;
        struct objm_loop loop;
        struct objm_qsbr_reader reader;
        struct objm_mail stop_mail;
        struct beat beat;
        pthread_t thread;
        bool stopping;
        uint64_t paused_until; /* ns; 0: accepting */
        struct socket_set sockets;
};

static struct log_limit resource_limit = LOG_LIMIT_INIT;

/*
 * The client may speak either version and has perhaps said nothing yet. Busy is said in the form of version 1: a client
 * of version 3 tells it from a hello by its first byte.
 */
static void refuse(int fd, enum config_transport transport, const char *text)
{
        uint8_t buf[128], meta[100];
        struct objm_v1_response rs = {.status = OBJM_STATUS_UNAVAILABLE, .metadata = meta};
        size_t len;

        rs.metadata_len = (uint16_t)objm_v1_metadata_put(meta, sizeof(meta), 0, OBJM_V1_META_ERROR, text, strlen(text));
        len = objm_v1_response_encode(buf, sizeof(buf), &rs);
        (void)!send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (transport == CONFIG_TRANSPORT_TCP)
                objm_tcp_finish(fd);
        objm_fd_close(fd);
}

static int hand_over(struct server *s, struct connection *c, int *ret_fd)
{
        int r = worker_place(s, c);

        if (r < 0) {
                *ret_fd = objm_fd_steal(&c->source.fd);
                connection_free(s, c);
        }
        return r;
}

/* Why a connection is not served: to the log, and in the words that the client gets. */
static const char *say_why(struct server *s, int fd, int why)
{
        struct objm_peer peer = {.uid = LOG_NO_UID};

        (void)!objm_unix_peer(fd, false, &peer);
        if (why < 0) {
                log_refused(LOG_REFUSED_RESOURCES, peer.uid, "connection refused: %s", strerror(-why));
                return "out of resources";
        }
        server_count(&s->limited.connections);
        if (why == ACCOUNT_CONNECTIONS) {
                log_refused(LOG_REFUSED_UID_CONNECTIONS, peer.uid, "connection refused: as many are open as "
                            "limits.connections_per_uid allows");
                return "too many connections of this user";
        }
        log_refused(LOG_REFUSED_UID_DESCRIPTORS, peer.uid, "connection refused: as much is unread as "
                    "limits.queued_bytes_per_uid allows");
        return "too much is unread by this user";
}

/* Hands over a connection that has been accepted, or refuses it. Takes @fd. */
static void admit(struct server *s, int fd, enum config_transport transport)
{
        uint32_t max = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
        struct connection *c;
        int r;

        if (atomic_fetch_add_explicit(&s->n_connections, 1, memory_order_relaxed) >= max) {
                log_refused(LOG_REFUSED_CONNECTIONS, LOG_NO_UID, "connection refused: %u are open", max);
                refuse(fd, transport, "too many connections");
        } else {
                r = connection_new(s, fd, transport, &c);
                if (r == 0)
                        r = hand_over(s, c, &fd);
                if (r == 0)
                        return;
                refuse(fd, transport, say_why(s, fd, r));
        }
        server_count_out(s);
}

/* Where even that needs memory that is not there, the thread itself pauses. */
static void pause_all(struct listener *l, int error)
{
        log_limited(&resource_limit, LOG_WARNING, "cannot accept: %s", strerror(-error));
        l->paused_until = objm_clock_ns() + PAUSE_MS * OBJM_NS_PER_MS;
        if (socket_set_watch(&l->sockets, 0) < 0)
                nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * (long)OBJM_NS_PER_MS}, NULL);
}

static void resume_all(struct listener *l)
{
        int r = socket_set_watch(&l->sockets, EPOLLIN);

        l->paused_until = 0;
        if (r < 0)
                pause_all(l, r);
}

static bool is_shortage(int r)
{
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS;
}

static int accept_one(const struct set_socket *s, int *ret_fd)
{
        if (s->transport == CONFIG_TRANSPORT_TCP)
                return objm_tcp_accept(s->source.fd, ret_fd);
        return objm_unix_accept(s->source.fd, CONNECTION_SNDBUF, ret_fd);
}

static void on_events(struct objm_source *source, uint32_t events)
{
        struct set_socket *s = objm_container_of(source, struct set_socket, source);
        struct listener *l = s->set->owner;

        for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
                int fd, r = accept_one(s, &fd);

                if (r == 0)
                        admit(l->server, fd, s->transport);
                else if (r == -EAGAIN)
                        return;
                else if (is_shortage(r)) {
                        objm_kept_squeeze(&l->server->kept);
                        pause_all(l, r);
                        return;
                }
        }
}

static int sleep_ms(const struct listener *l)
{
        uint64_t now;

        if (!l->paused_until)
                return -1;
        now = objm_clock_ns();
        return l->paused_until > now ? (int)((l->paused_until - now) / OBJM_NS_PER_MS) + 1 : 0;
}

static void *thread_main(void *arg)
{
        struct listener *l = arg;

        pthread_setname_np(pthread_self(), "objm-accept");
        objm_qsbr_register(l->server->qsbr, &l->reader);
        while (!l->stopping) {
                objm_loop_wait(&l->loop, sleep_ms(l));
                objm_qsbr_online(&l->reader);
                if (l->paused_until && objm_clock_ns() >= l->paused_until)
                        resume_all(l);
                objm_loop_dispatch(&l->loop);
                objm_qsbr_offline(&l->reader);
                objm_qsbr_poll(l->server->qsbr);
        }
        objm_qsbr_unregister(&l->reader);
        return NULL;
}

static void on_stop(struct objm_mail *m)
{
        objm_container_of(m, struct listener, stop_mail)->stopping = true;
}

/* What has connected by now is served; to TCP more may go on to come. */
static void accept_waiting(struct set_socket *s)
{
        struct listener *l = s->set->owner;
        int fd;

        for (unsigned i = 0; i < SOMAXCONN && accept_one(s, &fd) == 0; i++)
                admit(l->server, fd, s->transport);
}

int listener_add(struct listener *l, const struct listening *socket)
{
        return socket_set_add(&l->sockets, socket);
}

int listener_go(struct listener *l)
{
        return socket_set_go(&l->sockets);
}

void listener_remove(struct listener *l, const struct listening *socket)
{
        socket_set_remove(&l->sockets, socket, accept_waiting);
}

static void listener_free(struct listener *l)
{
        socket_set_deinit(&l->sockets);
        objm_loop_deinit(&l->loop);
        free(l);
}

int listener_start(struct server *s, struct listener **ret)
{
        struct listener *l = aligned_alloc(OBJM_CACHE_LINE, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        memset(l, 0, sizeof(*l));
        l->server = s;
        l->stop_mail.deliver = on_stop;
        socket_set_init(&l->sockets, &l->loop, on_events, l);
        r = objm_loop_init(&l->loop);
        if (r < 0) {
                free(l);
                return r;
        }
        r = -pthread_create(&l->thread, NULL, thread_main, l);
        if (r < 0) {
                listener_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

void listener_ask(struct listener *l, struct pulse *p)
{
        if (l)
                pulse_ask(p, &l->beat, &l->loop);
}

void listener_stop(struct listener *l)
{
        if (!l)
                return;
        objm_loop_post(&l->loop, &l->stop_mail);
        pthread_join(l->thread, NULL);
        listener_free(l);
}
