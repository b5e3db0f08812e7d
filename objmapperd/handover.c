/* SPDX-License-Identifier: MIT */
#include "objmapperd/handover.h"

#include "base/clock.h"
#include "base/fd.h"
#include "objmapperd/handover_image.h"
#include "objmapperd/handover_queue.h"
#include "objmapperd/log.h"
#include "objmapperd/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BARRIER_US (5 * OBJM_NS_PER_S / OBJM_NS_PER_US)
#define SEALS      (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct handover_item {
        struct handover_entry entry;
        uint8_t *in; /* owned */
        int fd;
};

void handover_init(struct handover *h)
{
        *h = (struct handover){0};
        pthread_mutex_init(&h->lock, NULL);
}

void handover_deinit(struct handover *h)
{
        for (size_t i = 0; i < h->n; i++) {
                objm_fd_close(h->items[i].fd);
                free(h->items[i].in);
        }
        free(h->items);
        pthread_mutex_destroy(&h->lock);
}

bool handover_can_take(const struct connection *c)
{
        return !c->dead && !c->closing && !c->lent && !c->jobs && !ring_is_open(c->ring) && objm_outq_empty(&c->out);
}

static int cookie_of(int fd, uint64_t *ret)
{
        socklen_t len = sizeof(*ret);

        return getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret, &len) < 0 ? -errno : 0;
}

static struct handover_item *new_item_locked(struct handover *h)
{
        size_t room = h->room ? 2 * h->room : 64;
        struct handover_item *more;

        if (h->n == h->room) {
                more = reallocarray(h->items, room, sizeof(*more));
                if (!more)
                        return NULL;
                h->items = more;
                h->room = room;
        }
        return &h->items[h->n++];
}

bool handover_take(struct handover *h, struct connection *c)
{
        struct handover_item item = {.fd = c->source.fd, .in = c->in}, *place;
        uint8_t protocol = !c->dialect ? 0 : c->dialect == &dialect_v1 ? 1 : 3;

        item.entry = (struct handover_entry){
                .served = c->served, .inline_limit = c->inline_limit, .jobs_max = c->jobs_max,
                .protocol = protocol, .may_ring = c->may_ring, .batch_limit = c->batch_limit,
                .in_len = c->in_len, .in = c->in,
        };
        if (cookie_of(item.fd, &item.entry.cookie) < 0)
                return false;
        pthread_mutex_lock(&h->lock);
        place = h->closed ? NULL : new_item_locked(h);
        if (place)
                *place = item;
        pthread_mutex_unlock(&h->lock);
        if (!place)
                return false;
        c->source.fd = -1;
        c->in = NULL;
        c->in_len = 0;
        return true;
}

/* ---- to the store ---- */

static size_t image_size(const struct handover *h)
{
        size_t size = HANDOVER_IMAGE_HEADER;

        for (size_t i = 0; i < h->n; i++)
                size += HANDOVER_ENTRY + h->items[i].entry.in_len;
        return size;
}

static void fill_image(const struct handover *h, uint8_t *buf, size_t size)
{
        size_t len = 0;

        for (size_t i = 0; i < h->n; i++)
                len = handover_image_put(buf, size, len, &h->items[i].entry);
        handover_image_finish(buf, len, (uint32_t)h->n);
}

static int make_image(const struct handover *h, int *ret_fd)
{
        size_t size = image_size(h);
        int fd objm_cleanup(objm_fd_closep) = memfd_create("objmapper-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        uint8_t *map;

        if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
                return -errno;
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        fill_image(h, map, size);
        munmap(map, size);
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

static int store_fds(const char *name, const int *fds, unsigned n)
{
        char state[64];
        int r;

        snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=%s", name);
        r = sd_pid_notify_with_fds(0, 0, state, fds, n);
        return r < 0 ? r : r > 0 ? 0 : -ENOTCONN;
}

static int fill_queue(const struct handover *h, int end)
{
        int *fds objm_cleanup(objm_freep) = calloc(h->n, sizeof(*fds));
        int error = 0;
        size_t n;

        if (!fds)
                return -ENOMEM;
        for (size_t i = 0; i < h->n; i++)
                fds[i] = h->items[i].fd;
        n = handover_queue_put(end, fds, h->n, &error);
        if (n < h->n)
                log_line(LOG_WARNING, "%zu connections cannot be handed over and are closed: %s", h->n - n,
                         strerror(-error));
        return (int)n;
}

/* Workers go on until they are stopped, and so does what becomes ready. */
static void close_list(struct handover *h)
{
        pthread_mutex_lock(&h->lock);
        h->closed = true;
        pthread_mutex_unlock(&h->lock);
}

/*
 * Both ends of the queue: with one of them closed the manager would let the other go. It has them before there is
 * anything in the queue, because that may be the last that the kernel takes.
 */
int handover_store(struct handover *h)
{
        int image objm_cleanup(objm_fd_closep) = -1;
        int ends[2] = {-1, -1}, r;

        close_list(h);
        if (!h->n)
                return 0;
        r = make_image(h, &image);
        if (r == 0)
                r = handover_queue_open(ends);
        if (r == 0)
                r = store_fds(HANDOVER_CONNECTIONS_NAME, ends, 2);
        if (r == 0)
                r = store_fds(HANDOVER_IMAGE_NAME, &image, 1);
        if (r == 0)
                r = sd_notify_barrier(0, BARRIER_US);
        if (r >= 0)
                r = fill_queue(h, ends[0]);
        objm_fd_close_many(ends, 2);
        return r;
}

bool handover_is_watch(int fd)
{
        static const char inotify[] = "anon_inode:inotify";
        char link[32], target[sizeof(inotify)];

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        return readlink(link, target, sizeof(target)) == sizeof(inotify) - 1 &&
               memcmp(target, inotify, sizeof(inotify) - 1) == 0;
}

/* No polling: every change in a tree would wake the service manager. */
void handover_leave_watch(int fd)
{
        (void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" HANDOVER_WATCH_NAME);
        if (fd >= 0)
                (void)sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDPOLL=0\nFDNAME=" HANDOVER_WATCH_NAME, &fd, 1);
}

/* ---- from the store ---- */

struct image {
        uint8_t *data;
        size_t len;
        struct handover_entry *entries; /* sorted by cookie */
        size_t n;
};

static int by_cookie(const void *a, const void *b)
{
        const struct handover_entry *x = a, *y = b;

        return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

/* Nobody can write to it any more, nor cut it short; a copy all the same costs nothing worth saving. */
static int read_bytes(int fd, struct image *im)
{
        off_t size = lseek(fd, 0, SEEK_END);
        int seals = fcntl(fd, F_GET_SEALS);

        if (size < 0 || seals < 0)
                return -errno;
        if ((seals & SEALS) != SEALS || size > INT32_MAX)
                return -EINVAL;
        im->data = malloc((size_t)size + 1);
        if (!im->data)
                return -ENOMEM;
        im->len = (size_t)size;
        return pread(fd, im->data, im->len, 0) == (ssize_t)size ? 0 : -EIO;
}

static int read_entries(struct image *im)
{
        size_t at = HANDOVER_IMAGE_HEADER;
        uint32_t count;
        int r = handover_image_check(im->data, im->len, &count);

        if (r < 0)
                return r;
        if (count > im->len / HANDOVER_ENTRY)
                return -EINVAL;
        im->entries = calloc(count + (size_t)1, sizeof(*im->entries));
        if (!im->entries)
                return -ENOMEM;
        for (; r == 0 && im->n < count; im->n += r == 0)
                r = handover_image_next(im->data, im->len, &at, &im->entries[im->n]);
        if (r < 0 || at != im->len)
                return -EINVAL;
        qsort(im->entries, im->n, sizeof(*im->entries), by_cookie);
        return 0;
}

void handover_forget(struct handover_stored *stored)
{
        objm_fd_close(stored->image_fd);
        objm_fd_close(stored->watch_fd);
        objm_fd_close_many(stored->queues, stored->n_queues);
        free(stored->queues);
        *stored = (struct handover_stored)HANDOVER_STORED_INIT;
}

static void image_deinit(struct image *im)
{
        free(im->entries);
        free(im->data);
}

static const struct handover_entry *find(const struct image *im, int fd)
{
        struct handover_entry key = {0};

        if (!im->n || cookie_of(fd, &key.cookie) < 0)
                return NULL;
        return bsearch(&key, im->entries, im->n, sizeof(key), by_cookie);
}

/* From here on it is nowhere but in this process. False: it may come back after all. */
static bool forget(void)
{
        return sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" HANDOVER_IMAGE_NAME) > 0 &&
               sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" HANDOVER_CONNECTIONS_NAME) > 0 &&
               sd_notify_barrier(0, BARRIER_US) >= 0;
}

static bool is_stream(int fd, enum config_transport *ret)
{
        int domain = 0, type = 0, listening = 1;
        socklen_t len = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
                return false;
        *ret = domain == AF_UNIX ? CONFIG_TRANSPORT_UNIX : CONFIG_TRANSPORT_TCP;
        return type == SOCK_STREAM && !listening && (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6);
}

static int adopt(struct server *s, int take_fd, const struct handover_entry *e)
{
        uint32_t max = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
        enum config_transport transport;
        struct connection *c;
        int r = -EINVAL;

        if (atomic_fetch_add_explicit(&s->n_connections, 1, memory_order_relaxed) < max &&
            is_stream(take_fd, &transport))
                r = connection_new(s, take_fd, transport, &c);
        if (r == 0) {
                r = connection_continue(c, e);
                if (r == 0)
                        r = worker_place(s, c);
                if (r < 0) {
                        c->source.fd = -1;
                        connection_free(s, c);
                }
        }
        if (r != 0)
                server_count_out(s);
        return r;
}

static size_t go_on(struct server *s, const struct image *im, struct handover_fds *connections)
{
        size_t n = 0;

        for (size_t i = 0; i < connections->n; i++) {
                const struct handover_entry *e = find(im, connections->fd[i]);

                if (!e || adopt(s, connections->fd[i], e) < 0)
                        continue;
                connections->fd[i] = -1;
                n++;
        }
        return n;
}

static void take_connections(const struct handover_stored *stored, struct handover_fds *to)
{
        for (size_t i = 0; i < stored->n_queues; i++) {
                int r = handover_queue_take(stored->queues[i], to);

                if (r < 0)
                        log_line(LOG_WARNING, "connections of the instance before: %s", strerror(-r));
        }
}

static int read_image(int fd, struct image *im)
{
        int r = fd >= 0 ? read_bytes(fd, im) : 0;

        if (r == 0 && fd >= 0)
                r = read_entries(im);
        if (r < 0)
                im->n = 0;
        return r;
}

static void say_lost(size_t lost, int r)
{
        if (lost)
                log_line(LOG_WARNING, "%zu connections of the instance before are closed: %s", lost,
                         r < 0 ? strerror(-r) : "nothing is known about them");
}

size_t handover_restore(struct server *s, struct handover_stored *stored)
{
        struct handover_fds connections = {0};
        struct image im = {0};
        int r = read_image(stored->image_fd, &im);
        size_t n;

        take_connections(stored, &connections);
        if ((stored->image_fd >= 0 || stored->n_queues) && !forget())
                im.n = 0;
        n = go_on(s, &im, &connections);
        say_lost(connections.n - n, r);
        if (n)
                log_line(LOG_INFO, "going on with %zu connections of the instance before", n);
        handover_fds_deinit(&connections);
        image_deinit(&im);
        handover_forget(stored);
        return n;
}
