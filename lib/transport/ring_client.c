/* SPDX-License-Identifier: MIT */
#include "transport/ring_client.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void objm_ring_client_none(struct objm_ring_client *c)
{
        *c = (struct objm_ring_client){.doorbell = -1};
}

static int start(struct objm_ring_client *c, const struct objm_ring_geometry *g, const int *fds)
{
        struct objm_ring_place requests, replies;
        int r = objm_shm_map(g, fds[OBJM_RING_FD_REQUESTS], fds[OBJM_RING_FD_REPLIES], &c->shm);

        if (r < 0)
                return r;
        requests = objm_shm_requests(&c->shm);
        replies = objm_shm_replies(&c->shm);
        r = objm_ring_producer_init(&c->requests, &requests, 0);
        if (r == 0)
                r = objm_ring_consumer_init(&c->replies, &replies, 0);
        objm_arena_init(&c->arena, g->arena, g->entries);
        return r;
}

/* An eventfd is of no type that stat(2) knows. Writing to a pipe or a socket may wait, or raise SIGPIPE. */
static bool is_doorbell(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && !(st.st_mode & S_IFMT);
}

int objm_ring_client_init(struct objm_ring_client *c, const struct objm_ring_geometry *g, const int *fds)
{
        int fd = fcntl(fds[OBJM_RING_FD_DOORBELL], F_DUPFD_CLOEXEC, 0), r;

        objm_ring_client_none(c);
        if (fd < 0)
                r = -errno;
        else
                r = is_doorbell(fd) ? start(c, g, fds) : -EPROTO;
        c->doorbell = fd;
        if (r < 0)
                objm_ring_client_deinit(c);
        return r;
}

void objm_ring_client_deinit(struct objm_ring_client *c)
{
        objm_shm_unmap(&c->shm);
        objm_ring_client_forget(c);
}

void objm_ring_client_forget(struct objm_ring_client *c)
{
        objm_arena_deinit(&c->arena);
        objm_fd_close(c->doorbell);
        objm_ring_client_none(c);
}

/* A URI that does not fit beside the fields of the request goes to the arena. */
static bool place_uri(struct objm_ring_client *c, struct objm_ring_request *rq, const void *uri, size_t len, bool plain)
{
        rq->uri_len = (uint16_t)len;
        if (plain && len <= sizeof(rq->uri)) {
                rq->flags = OBJM_RING_RQ_URI_SHORT;
                if (len)
                        memcpy(rq->uri, uri, len);
                return true;
        }
        objm_arena_free_to(&c->arena, c->requests.seen, c->requests.seen == c->requests.next);
        if (!objm_arena_take(&c->arena, (uint32_t)len, &rq->uri_at) &&
            !objm_arena_take_again(&c->arena, &c->requests, (uint32_t)len, &rq->uri_at))
                return false;
        memcpy(objm_shm_request_arena(&c->shm) + rq->uri_at, uri, len);
        return true;
}

int objm_ring_client_put(struct objm_ring_client *c, struct objm_ring_request *rq, const void *uri, size_t len,
                         bool plain)
{
        struct objm_ring_entry e;
        int room = objm_ring_writable(&c->requests, 1);

        if (room < 0)
                return room;
        if (!room || !place_uri(c, rq, uri, len, plain))
                return OBJM_RING_CLIENT_FULL;
        memcpy(&e, rq, sizeof(e));
        objm_arena_put(&c->arena, c->requests.next);
        objm_ring_put(&c->requests, &e);
        return 0;
}

static void ring_doorbell(const struct objm_ring_client *c)
{
        uint64_t one = 1;

        while (write(c->doorbell, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
}

int objm_ring_client_publish(struct objm_ring_client *c)
{
        if (c->requests.published == c->requests.next || !objm_ring_publish(&c->requests))
                return 0;
        if (objm_ring_client_ended(c))
                return OBJM_RING_CLIENT_ENDED;
        ring_doorbell(c);
        return 0;
}

bool objm_ring_client_ended(const struct objm_ring_client *c)
{
        return atomic_load_explicit(&c->requests.at.asleep->value, memory_order_relaxed) == OBJM_RING_ENDED;
}

void objm_ring_client_take(struct objm_ring_client *c, struct objm_ring_reply *ret)
{
        struct objm_ring_entry e;

        objm_ring_take(&c->replies, &e);
        memcpy(ret, &e, sizeof(*ret));
}

const uint8_t *objm_ring_client_body(const struct objm_ring_client *c, const struct objm_ring_reply *r)
{
        uint32_t arena = c->shm.geometry.arena;

        if (r->body_len > arena || r->body_at > arena - r->body_len)
                return NULL;
        return objm_shm_reply_arena(&c->shm) + r->body_at;
}

/*
 * A server that waits for room in the replies looks for it by and by; when requests of ours wait behind that, telling
 * it is faster.
 */
void objm_ring_client_release(struct objm_ring_client *c)
{
        if (c->replies.released == c->replies.next)
                return;
        objm_ring_release(&c->replies);
        if (objm_unlikely(atomic_load_explicit(&c->requests.at.asleep->value, memory_order_relaxed) ==
                          OBJM_RING_ASLEEP) &&
            atomic_load_explicit(&c->requests.at.tail->value, memory_order_relaxed) != c->requests.published)
                ring_doorbell(c);
}

int objm_ring_client_arm(struct objm_ring_client *c, uint32_t how)
{
        int n;

        c->arms += OBJM_RING_ASLEEP_STEP;
        atomic_store_explicit(&c->replies.at.asleep->value, c->arms | how, memory_order_relaxed);
        objm_ring_fence(1);
        n = objm_ring_readable(&c->replies);
        c->armed = n == 0;
        if (n)
                objm_ring_awake(&c->replies);
        return n;
}

void objm_ring_client_disarm(struct objm_ring_client *c)
{
        if (c->armed)
                objm_ring_awake(&c->replies);
        c->armed = false;
}

void objm_ring_client_wait(const struct objm_ring_client *c, uint64_t timeout_ns)
{
        struct timespec ts = {.tv_sec = (time_t)(timeout_ns / OBJM_NS_PER_S),
                              .tv_nsec = (long)(timeout_ns % OBJM_NS_PER_S)};

        (void)syscall(SYS_futex, &c->replies.at.head->value, FUTEX_WAIT, c->replies.seen, &ts, NULL, 0);
}
