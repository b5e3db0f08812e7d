/* SPDX-License-Identifier: MIT */
/*
 * The floor of the daemon's ring: the same indices and entries between two processes that both poll, and nothing else.
 *
 *      ring_floor bare|lookup|inline SECONDS DEPTH SERVER-CPU CLIENT-CPU [RATE]
 *
 * bare: each request is answered with what it says. lookup: after two reads at random places of 128 MiB, the second of
 * which depends on the first; that much is an index of a million URIs, where a lookup reads a slot and then an entry.
 * inline: a kilobyte is copied into shared memory for each answer, and every byte of it read by the client. At a depth
 * above 1 as many requests are kept in flight, and a round is a look at what has come back. RATE as ring_client's.
 */
#include "concurrency/ring.h"
#include "ping.h"

#include <string.h>
#include <sys/mman.h>

#define SIZE     256
#define LINES    (1U << 21)
#define OBJECTS  64
#define BODY     1024

struct direction {
        struct objm_ring_entry entries[SIZE];
        struct objm_ring_word head, tail, asleep;
};

struct shared {
        struct direction requests, replies;
        uint8_t arena[SIZE][BODY];
};

static struct shared *shared;
static struct objm_ring_producer out;
static struct objm_ring_consumer in;
static uint64_t (*table)[8]; /* a cache line each; the first word names another one */
static uint8_t objects[OBJECTS][BODY];
static unsigned depth, in_flight;
static enum { BARE, LOOKUP, INLINE } kind;
static volatile uint64_t sink;

static uint64_t step(uint64_t x)
{
        x ^= x << 13;
        x ^= x >> 7;
        return x ^ x << 17;
}

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

static void answer(struct objm_ring_entry *e, uint32_t place)
{
        if (kind == LOOKUP)
                e->word[1] = table[table[e->word[0] % LINES][0]][1];
        else if (kind == INLINE)
                memcpy(shared->arena[place % SIZE], objects[e->word[0] % OBJECTS], BODY);
        e->word[2] = place % SIZE;
}

static void serve(void)
{
        struct objm_ring_entry e;

        for (;;) {
                int n = objm_ring_look(&in) ? objm_ring_readable(&in) : 0;

                if (n < 0 || (n && objm_ring_writable(&out, (uint32_t)n) < n))
                        _exit(1);
                if (!n) {
                        pause_cpu();
                        continue;
                }
                while (n--) {
                        objm_ring_take(&in, &e);
                        answer(&e, out.next);
                        objm_ring_put(&out, &e);
                }
                objm_ring_release(&in);
                (void)!objm_ring_publish(&out);
        }
}

static void read_body(const struct objm_ring_entry *e)
{
        const uint64_t *p = (const uint64_t *)shared->arena[e->word[2]];
        uint64_t x = 0;

        for (size_t i = 0; i < BODY / sizeof(*p); i++)
                x ^= p[i];
        sink = x;
}

static unsigned once(void)
{
        static uint64_t random = 88172645463325252;
        struct objm_ring_entry e = {0};
        int n;

        for (; in_flight < depth; in_flight++) {
                e.word[0] = random = step(random);
                if (objm_ring_writable(&out, 1) < 1)
                        die("ring");
                objm_ring_put(&out, &e);
        }
        (void)!objm_ring_publish(&out);
        while (!objm_ring_look(&in))
                pause_cpu();
        n = objm_ring_readable(&in);
        if (n < 0)
                die("ring");
        for (int i = 0; i < n; i++) {
                objm_ring_take(&in, &e);
                if (kind == INLINE)
                        read_body(&e);
        }
        objm_ring_release(&in);
        in_flight -= (unsigned)n;
        return (unsigned)n;
}

static void *map(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        if (p == MAP_FAILED)
                die("mmap");
        return p;
}

static void fill_table(void)
{
        uint64_t random = 1;

        table = map(LINES * sizeof(*table));
        for (unsigned i = 0; i < LINES; i++) {
                random = step(random);
                table[i][0] = random % LINES;
        }
}

static struct objm_ring_place place(struct direction *d)
{
        return (struct objm_ring_place){d->entries, &d->head, &d->tail, &d->asleep, SIZE};
}

static void take_sides(bool server)
{
        struct objm_ring_place requests = place(&shared->requests), replies = place(&shared->replies);

        if (objm_ring_producer_init(&out, server ? &replies : &requests, 0) ||
            objm_ring_consumer_init(&in, server ? &requests : &replies, 0))
                die("ring");
}

int main(int argc, char **argv)
{
        static const char *const kinds[] = {"bare", "lookup", "inline"};
        double rate = argc == 7 ? strtod(argv[6], NULL) : 0;
        pid_t pid;

        while (argc >= 6 && kind <= INLINE && strcmp(argv[1], kinds[kind]))
                kind++;
        depth = argc == 6 || rate > 0 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
        if (kind > INLINE || !depth || depth > SIZE) {
                fprintf(stderr, "usage: ring_floor bare|lookup|inline SECONDS DEPTH SERVER-CPU CLIENT-CPU [RATE]\n");
                return 2;
        }
        shared = map(sizeof(*shared));
        if (kind == LOOKUP)
                fill_table();
        take_sides(true);
        pid = start_server(serve, argv[4]);
        take_sides(false);
        pin_to(argv[5]);
        if (rate > 0)
                measure_at_rate(once, strtod(argv[2], NULL), rate);
        else
                measure_rounds(once, strtod(argv[2], NULL));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return 0;
}
