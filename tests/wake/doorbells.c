/* SPDX-License-Identifier: MIT */
/*
 * doorbells ROUNDS SECONDS one|two: both ends of a ring as the daemon and the library have them, in two threads that
 * send one request and one reply to and fro. The server sleeps in epoll_wait(2) for an eventfd that nobody reads, the
 * client for a futex. Until each has slept ROUNDS times in the kernel or SECONDS are over (0: never), with both on one
 * CPU or on two.
 *
 * On one CPU a round takes as long as two switches do; the kernel chooses the moments. On two CPUs who sleeps at once
 * has slept for long when the other, which has to be woken first, publishes. So one time in four a side looks for a
 * while before it goes to sleep, at random, and on average for so long that every other time something comes meanwhile:
 * that brings the moments of falling asleep and of publishing together, whatever waking takes. It takes much less while
 * /dev/cpu_dma_latency is held at 0, which keeps idle CPUs awake.
 *
 * A lost wake-up: the time of a sleep is over, there is something in the ring, and the other side, which published it
 * and rang before that, has been asleep since before that time was over. A late wake-up is not taken for one.
 *
 * Exit status: 0 all rounds done, 1 a wake-up was lost, 2 cannot run, 3 time over, 77 not two CPUs.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "transport/ring_client.h"
#include "transport/ring_server.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define PATIENCE_MS 100
#define WINDOW_MAX  (1U << 20) /* looks */
#define WINDOW      16         /* at first */
#define SELDOM      4
#define DELAY_LOG   14 /* 2 to the power of it: turns of an empty loop, at most */
#define PING        3

struct side {
        _Alignas(OBJM_CACHE_LINE) _Atomic uint64_t asleep_since; /* ns; UINT64_MAX: it is awake */
        _Alignas(OBJM_CACHE_LINE) _Atomic uint64_t slept;        /* in the kernel */
        uint64_t random, window, before;
        bool looks; /* before it goes to sleep */
        const char *name;
        int cpu;
};

static struct side server = {.name = "server, eventfd"}, client = {.name = "client, futex"};
static struct objm_ring_server server_end;
static struct objm_ring_client client_end;
static int epoll = -1;
static _Atomic int result = -1;
static uint64_t rounds, deadline_ns, round_trips;
static bool two_cpus;

static void end(int how)
{
        int running = -1;

        atomic_compare_exchange_strong(&result, &running, how);
}

static bool over(void)
{
        return atomic_load_explicit(&result, memory_order_relaxed) >= 0;
}

/* ---- moments ---- */

static uint64_t random_below(struct side *s, uint64_t n)
{
        s->random ^= s->random << 13;
        s->random ^= s->random >> 7;
        s->random ^= s->random << 17;
        return s->random % n;
}

/* What an answer takes, so that the other side may be anywhere on its way to sleep. */
static void delay(struct side *s)
{
        for (uint64_t n = two_cpus ? random_below(s, UINT64_C(1) << random_below(s, DELAY_LOG)) : 0; n > 0; n--)
                __asm__ volatile("");
}

/* How many looks to take before going to sleep: most often none, and it will sleep in the kernel. */
static uint64_t looks(struct side *s)
{
        s->looks = two_cpus && random_below(s, SELDOM) == 0;
        return s->looks ? random_below(s, s->window + 1) : 0;
}

/* It was to sleep, or something had come. */
static void adapt(struct side *s, bool sleeps)
{
        if (!s->looks)
                return;
        if (!sleeps)
                s->window -= s->window / 64;
        else if (s->window < WINDOW_MAX)
                s->window += s->window / 64 + 1;
}

/* ---- sleeping ---- */

static void begin_sleep(struct side *s)
{
        atomic_store(&s->asleep_since, objm_clock_ns());
}

/* @began, it waited for PATIENCE_MS in vain. */
static void end_sleep(struct side *s, struct side *other, uint64_t began, bool in_vain, bool there)
{
        uint64_t end_ns = began + PATIENCE_MS * OBJM_NS_PER_MS;

        atomic_thread_fence(memory_order_acquire); /* it was awake when it published what is there */
        if (in_vain && there && atomic_load(&other->asleep_since) < end_ns) {
                printf("  %s: not woken for what was there\n", s->name);
                end(1);
        }
        if (in_vain && deadline_ns && objm_clock_ns() > deadline_ns)
                end(3);
        atomic_store(&s->asleep_since, UINT64_MAX);
}

static void server_wait(void)
{
        struct epoll_event ev;
        int n = objm_ring_server_sleep(&server_end);
        uint64_t began;

        if (n < 0)
                end(2);
        adapt(&server, n == 0);
        if (n)
                return;
        begin_sleep(&server);
        began = objm_clock_ns();
        n = epoll_wait(epoll, &ev, 1, PATIENCE_MS);
        end_sleep(&server, &client, began, n == 0, objm_ring_server_pending(&server_end));
        objm_ring_server_awake(&server_end);
}

static void client_wait(void)
{
        int n = objm_ring_client_arm(&client_end, OBJM_RING_ASLEEP);
        uint64_t began;

        if (n < 0)
                end(2);
        adapt(&client, n == 0);
        if (n)
                return;
        begin_sleep(&client);
        began = objm_clock_ns();
        errno = 0;
        objm_ring_client_wait(&client_end, PATIENCE_MS * OBJM_NS_PER_MS);
        end_sleep(&client, &server, began, errno == ETIMEDOUT, objm_ring_client_readable(&client_end) > 0);
        objm_ring_client_disarm(&client_end);
}

/* ---- playing ---- */

static uint64_t switches(void)
{
        struct rusage ru;

        getrusage(RUSAGE_THREAD, &ru);
        return (uint64_t)ru.ru_nvcsw;
}

static void begin(struct side *s)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(s->cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                end(2);
        s->before = switches();
}

static void count(struct side *s)
{
        atomic_store_explicit(&s->slept, switches() - s->before, memory_order_relaxed);
}

static bool enough(void)
{
        return atomic_load_explicit(&server.slept, memory_order_relaxed) >= rounds &&
               atomic_load_explicit(&client.slept, memory_order_relaxed) >= rounds;
}

static void answer(uint32_t expected)
{
        struct objm_ring_reply reply = {.op = PING, .id = expected};
        union objm_ring_copy rq;

        objm_ring_server_copy(&server_end, 0, &rq);
        objm_ring_server_pass(&server_end);
        if (rq.request.id != expected || objm_ring_server_room(&server_end, 1) < 1)
                end(2);
        objm_ring_server_put(&server_end, &reply);
        delay(&server);
        if (objm_ring_server_publish(&server_end) == OBJM_RING_ASLEEP)
                objm_ring_server_wake(&server_end);
}

static void *serve(void *arg)
{
        begin(&server);
        for (uint32_t expected = 0; !over();) {
                int n = objm_ring_server_readable(&server_end);

                if (n < 0)
                        end(2);
                if (n > 0) {
                        answer(expected++);
                        for (n = (int)looks(&server); n > 0 && !objm_ring_server_look(&server_end); n--)
                                continue;
                } else {
                        server_wait();
                }
                if (expected % 1024 == 0)
                        count(&server);
        }
        count(&server);
        return arg;
}

static void ask(uint32_t id)
{
        struct objm_ring_request rq = {.op = PING, .id = id};

        if (objm_ring_client_put(&client_end, &rq, NULL, 0, true))
                end(2);
        delay(&client);
        if (objm_ring_client_publish(&client_end))
                end(2);
        for (uint64_t n = looks(&client); n > 0 && !objm_ring_client_readable(&client_end); n--)
                continue;
}

static void take(uint32_t expected)
{
        struct objm_ring_reply reply;

        while (!over() && objm_ring_client_readable(&client_end) == 0)
                client_wait();
        if (over())
                return;
        objm_ring_client_take(&client_end, &reply);
        objm_ring_client_release(&client_end);
        if (reply.id != expected)
                end(2);
}

static void *play(void *arg)
{
        begin(&client);
        for (uint32_t id = 0; !over(); id++, round_trips++) {
                ask(id);
                take(id);
                if (id % 1024)
                        continue;
                count(&client);
                if (enough())
                        end(0);
                else if (deadline_ns && objm_clock_ns() > deadline_ns)
                        end(3);
        }
        count(&client);
        return arg;
}

/* ---- */

static int make_ring(void)
{
        const struct objm_ring_geometry g = {.entries = 16, .arena = 4096};
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
        int fds[OBJM_RING_FDS], r;

        epoll = epoll_create1(EPOLL_CLOEXEC);
        fds[OBJM_RING_FD_DOORBELL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (epoll < 0 || fds[OBJM_RING_FD_DOORBELL] < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, fds[OBJM_RING_FD_DOORBELL], &ev) < 0)
                return -errno;
        r = objm_ring_server_init(&server_end, &g, fds);
        return r < 0 ? r : objm_ring_client_init(&client_end, &g, fds);
}

static int prepare(void)
{
        struct side *sides[] = {&server, &client};
        cpu_set_t set;
        int cpu = 0;

        if (sched_getaffinity(0, sizeof(set), &set) < 0 || make_ring() < 0)
                return 2;
        if (two_cpus && CPU_COUNT(&set) < 2)
                return 77;
        for (int i = 0; i < 2; i++) {
                if (i == 0 || two_cpus)
                        while (!CPU_ISSET(cpu, &set))
                                cpu++;
                sides[i]->cpu = two_cpus ? cpu++ : cpu;
                sides[i]->random = objm_clock_ns() | 1;
                sides[i]->window = WINDOW;
                atomic_init(&sides[i]->asleep_since, UINT64_MAX);
        }
        return 0;
}

static void report(uint64_t began)
{
        static const char *const words[] = {"done", "a wake-up was LOST", "a defect of ring or test", "time over"};

        printf("without fence %d, %s: %s after %llu round trips; slept in the kernel: %llu times for the eventfd, "
               "%llu for the futex; %.3f s\n", OBJM_RING_WITHOUT_FENCE, two_cpus ? "two CPUs" : "one CPU",
               words[result], (unsigned long long)round_trips, (unsigned long long)server.slept,
               (unsigned long long)client.slept, (double)(objm_clock_ns() - began) / 1e9);
}

int main(int argc, char **argv)
{
        uint64_t began = objm_clock_ns();
        pthread_t threads[2];
        int r = 2;

        if (argc == 4) {
                two_cpus = strcmp(argv[3], "one");
                r = prepare();
        }
        if (r) {
                fprintf(stderr, r == 77 ? "needs two CPUs\n" : "usage: doorbells ROUNDS SECONDS one|two\n");
                return r;
        }
        rounds = strtoull(argv[1], NULL, 10);
        deadline_ns = strtoull(argv[2], NULL, 10) * OBJM_NS_PER_S;
        deadline_ns += deadline_ns ? began : 0;
        if (pthread_create(&threads[0], NULL, serve, NULL) || pthread_create(&threads[1], NULL, play, NULL))
                return 2;
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        report(began);
        return result;
}
