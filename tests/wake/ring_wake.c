/* SPDX-License-Identifier: MIT */
/*
 * ring_wake ROUNDS SECONDS spin|sleep: two threads, each on a CPU of its own, send one entry to and fro through two
 * rings and sleep for it by objm_ring_sleep(), until they have slept and been woken ROUNDS times together or SECONDS
 * are over (0: never). With "spin" a sleeper looks at its doorbell for a while before it waits in the kernel, which
 * gives many more rounds; a doorbell is the only thing that ends its sleep in both cases. Random delays bring the
 * moments of falling asleep and of publishing together.
 *
 * A lost wake-up is recognised by what both sides have done, not by time. A sleeper that sees an entry in its ring, and
 * then that the other side, having published it, sleeps too, and then that its doorbell was still not rung, will never
 * be woken: the other side rings, if it does, before it goes to sleep, and is woken by nothing but an answer.
 *
 * Exit status: 0 all rounds done, 1 a wake-up was lost, 2 cannot run, 3 time over, 77 not two CPUs.
 */
#include "base/clock.h"
#include "concurrency/ring.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SIZE       4
#define LOOKS      100000 /* at the doorbell, before waiting in the kernel: some 30 us */
#define DELAY      2048 /* at most, in turns of an empty loop */
#define RECHECK_NS 20000000

struct direction {
        struct objm_ring_entry entries[SIZE];
        struct objm_ring_word head, tail, asleep, bell;
};

struct side {
        struct objm_ring_producer out;
        struct objm_ring_consumer in;
        struct objm_ring_word *out_bell, *in_bell;
        _Alignas(OBJM_CACHE_LINE) _Atomic bool waits; /* all that it would do before it hears from the other is done */
        _Alignas(OBJM_CACHE_LINE) _Atomic uint64_t slept;
        uint64_t in_kernel; /* of these, those that waited there */
        struct side *other;
        uint64_t random;
        int cpu;
};

static struct direction directions[2];
static struct side sides[2];
static _Atomic int result = -1;
static uint64_t rounds, deadline_ns;
static unsigned looks;

static long futex(struct objm_ring_word *word, int op, uint32_t value, const struct timespec *timeout)
{
        return syscall(SYS_futex, &word->value, op | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

static void end(int how)
{
        int running = -1;

        atomic_compare_exchange_strong(&result, &running, how);
}

static void delay(struct side *s)
{
        s->random ^= s->random << 13;
        s->random ^= s->random >> 7;
        s->random ^= s->random << 17;
        for (uint64_t n = s->random % DELAY >> (s->random >> 32) % 8; n > 0; n--)
                __asm__ volatile("");
}

static void ring_doorbell(struct side *s)
{
        atomic_fetch_add(&s->out_bell->value, 1);
        (void)futex(s->out_bell, FUTEX_WAKE, 1, NULL);
}

/* In this order: each load must not see less than what the one before it implies. */
static bool is_lost(struct side *s, uint32_t bell)
{
        return atomic_load(&s->in.at.head->value) != s->in.seen && atomic_load(&s->other->waits) &&
               atomic_load(&s->in_bell->value) == bell;
}

static void report_lost(struct side *s, uint32_t bell)
{
        printf("  side %d sleeps at entry %u, head is %u; the other side sleeps; rung %u times, as before\n",
               (int)(s - sides), s->in.seen, s->in.at.head->value, bell);
        end(1);
}

static void wait_for_doorbell(struct side *s, uint32_t bell)
{
        static const struct timespec recheck = {.tv_nsec = RECHECK_NS};
        bool waited = false;

        for (unsigned i = 0; i < looks; i++)
                if (atomic_load_explicit(&s->in_bell->value, memory_order_acquire) != bell)
                        return;
        while (atomic_load(&s->in_bell->value) == bell && atomic_load(&result) < 0) {
                if (is_lost(s, bell))
                        report_lost(s, bell);
                else if (deadline_ns && objm_clock_ns() > deadline_ns)
                        end(3);
                else
                        waited |= futex(s->in_bell, FUTEX_WAIT, bell, &recheck) == 0 || errno != EAGAIN;
        }
        s->in_kernel += waited;
}

/* Sleeps unless there is an entry; it may be woken late, by a doorbell that was meant for an earlier sleep. */
static void wait_for_entry(struct side *s)
{
        while (atomic_load_explicit(&result, memory_order_relaxed) < 0) {
                uint32_t bell = atomic_load(&s->in_bell->value);
                int n = objm_ring_sleep(&s->in);

                if (n < 0)
                        end(2);
                if (n)
                        return;
                atomic_store(&s->waits, true);
                wait_for_doorbell(s, bell);
                atomic_store(&s->waits, false);
                objm_ring_awake(&s->in);
                atomic_store_explicit(&s->slept, s->slept + 1, memory_order_relaxed);
        }
}

static void send_entry(struct side *s, uint64_t value)
{
        struct objm_ring_entry e = {.word = {value}};

        if (objm_ring_writable(&s->out, 1) < 1) {
                end(2);
                return;
        }
        objm_ring_put(&s->out, &e);
        delay(s);
        if (objm_ring_publish(&s->out))
                ring_doorbell(s);
}

static uint64_t slept(void)
{
        return atomic_load_explicit(&sides[0].slept, memory_order_relaxed) +
               atomic_load_explicit(&sides[1].slept, memory_order_relaxed);
}

static void *play(void *arg)
{
        struct side *s = arg;
        struct objm_ring_entry e;
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(s->cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                end(2);
        if (s == &sides[0])
                send_entry(s, 0);
        for (uint64_t expected = s == &sides[0]; atomic_load(&result) < 0; expected += 2) {
                wait_for_entry(s);
                if (objm_ring_readable(&s->in) < 1)
                        break;
                objm_ring_take(&s->in, &e);
                objm_ring_release(&s->in);
                if (e.word[0] != expected)
                        end(2);
                if (expected % 1024 < 2 && slept() >= rounds)
                        end(0);
                send_entry(s, expected + 1);
        }
        ring_doorbell(s);
        return NULL;
}

static struct objm_ring_place place(struct direction *d)
{
        return (struct objm_ring_place){d->entries, &d->head, &d->tail, &d->asleep, SIZE};
}

static int prepare(void)
{
        cpu_set_t set;
        int cpu = 0;

        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return 2;
        if (CPU_COUNT(&set) < 2)
                return 77;
        for (int i = 0; i < 2; i++) {
                struct objm_ring_place out = place(&directions[i]), in = place(&directions[1 - i]);

                while (!CPU_ISSET(cpu, &set))
                        cpu++;
                sides[i].cpu = cpu++;
                sides[i].other = &sides[1 - i];
                sides[i].out_bell = &directions[i].bell;
                sides[i].in_bell = &directions[1 - i].bell;
                sides[i].random = objm_clock_ns() | 1;
                if (objm_ring_producer_init(&sides[i].out, &out, 0) || objm_ring_consumer_init(&sides[i].in, &in, 0))
                        return 2;
        }
        return 0;
}

static void report(uint64_t began)
{
        static const char *const words[] = {"done", "a wake-up was LOST", "a defect of ring or test", "time over"};
        uint64_t in_kernel = sides[0].in_kernel + sides[1].in_kernel;

        printf("without fence %d: %s after %llu sleeps, %llu of them in the kernel, %.3f s\n",
               OBJM_RING_WITHOUT_FENCE, words[result], (unsigned long long)slept(), (unsigned long long)in_kernel,
               (double)(objm_clock_ns() - began) / 1e9);
}

int main(int argc, char **argv)
{
        pthread_t threads[2];
        uint64_t began = objm_clock_ns();
        int r = argc == 4 ? prepare() : 2;

        if (r) {
                fprintf(stderr, r == 77 ? "needs two CPUs\n" : "usage: ring_wake ROUNDS SECONDS spin|sleep\n");
                return r;
        }
        rounds = strtoull(argv[1], NULL, 10);
        deadline_ns = strtoull(argv[2], NULL, 10) * OBJM_NS_PER_S;
        deadline_ns += deadline_ns ? began : 0;
        looks = strcmp(argv[3], "sleep") ? LOOKS : 0;
        for (int i = 0; i < 2; i++)
                if (pthread_create(&threads[i], NULL, play, &sides[i]))
                        return 2;
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        report(began);
        return result;
}
