/* SPDX-License-Identifier: MIT */
/*
 * Clients of the ring that do what no client should. Written from objmapper-protocol(7), by hand, so that nothing here
 * is checked by the code that it attacks.
 *
 *      ring_zoo SOCKET URI ATTACK ROUNDS SEED
 *
 * A round is one connection with a ring of its own. Attacks:
 *
 *      memory     cuts the memory off, punches holes into it, grows it, maps it anew
 *      indices    says anything in the words that it may write, and by stamps what head does not say
 *      entries    a second thread writes to requests and URIs while they are read
 *      doorbell   makes the eventfd block, fills it, empties it, rings without a reason
 *      stop       is stopped in the middle of it (and killed some time later)
 *      kill       is killed at any time
 *      step       is killed between any two instructions of putting, publishing and ringing; what was published is
 *                 answered then, and nothing else
 *
 * Prints how many rounds the server ended by closing. Exit status 0 when all were done: what the server makes of it is
 * for the caller to see, but for "step".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HEAD = 0, ORIGIN = 4, TAIL = 64, ASLEEP = 128, ENTRIES = 256, ENTRY = 64, STAMP = 56 };
enum { GET = 1, STAT = 2, PING = 3, ATTACH = 4, CAP_RING = 8, INLINE = 'i', URI_SHORT = 1 << 15 };

struct ring {
        int sock, fds[3]; /* requests, replies, doorbell */
        uint8_t *requests, *replies;
        uint32_t size, entries, arena, arena_at, next;
};

static const char *path, *uri;
static unsigned seed;
static unsigned ended, instructions;

static void die(const char *what)
{
        perror(what);
        exit(1);
}

static uint32_t any(void)
{
        return (uint32_t)rand_r(&seed) << 16 ^ (uint32_t)rand_r(&seed);
}

static uint32_t get32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- an honest beginning ---- */

static void take_fds(struct ring *r, struct msghdr *m, unsigned *n)
{
        for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h))
                for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, (*n)++)
                        if (*n < 3)
                                memcpy(&r->fds[*n], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
}

static void take_grant(struct ring *r)
{
        uint8_t in[40 + 32];
        size_t have = 0;
        unsigned n = 0;

        while (have < sizeof(in)) {
                struct iovec iov = {in + have, sizeof(in) - have};
                union {
                        struct cmsghdr c;
                        char space[CMSG_SPACE(3 * sizeof(int))];
                } u;
                struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u)};
                ssize_t got = recvmsg(r->sock, &m, MSG_CMSG_CLOEXEC);

                if (got <= 0)
                        die("no ring");
                take_fds(r, &m, &n);
                have += (size_t)got;
        }
        if (in[0] || n != 3) {
                fprintf(stderr, "no ring: status %u, %u descriptors\n", in[0], n);
                exit(1);
        }
        r->entries = get32(in + 40);
        r->arena = get32(in + 44);
        r->size = get32(in + 48);
        r->arena_at = get32(in + 56);
}

static void attach(struct ring *r)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        uint8_t hello[32] = "OBJM\003", reply[48], ask[40 + 16] = {ATTACH};

        *r = (struct ring){.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        hello[7] = sizeof(hello);
        hello[15] = 7 | CAP_RING;
        ask[11] = 16;
        if (r->sock < 0 || connect(r->sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
            send(r->sock, hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello) ||
            recv(r->sock, reply, sizeof(reply), MSG_WAITALL) != sizeof(reply) ||
            send(r->sock, ask, sizeof(ask), MSG_NOSIGNAL) != sizeof(ask))
                die(path);
        take_grant(r);
        r->requests = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fds[0], 0);
        r->replies = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fds[1], 0);
        if (r->requests == MAP_FAILED || r->replies == MAP_FAILED)
                die("mmap");
}

static void detach(struct ring *r)
{
        char byte;
        ssize_t n;

        do
                n = recv(r->sock, &byte, 1, MSG_DONTWAIT);
        while (n > 0);
        ended += n == 0 || errno != EAGAIN;
        munmap(r->requests, r->size);
        munmap(r->replies, r->size);
        for (int i = 0; i < 3; i++)
                close(r->fds[i]);
        close(r->sock);
}

static _Atomic uint32_t *word(struct ring *r, int at)
{
        return (_Atomic uint32_t *)(void *)(r->requests + at);
}

static void put(struct ring *r, uint8_t op, uint8_t mode)
{
        uint8_t *e = r->requests + ENTRIES + ENTRY * (r->next % r->entries);
        uint16_t flags = URI_SHORT, len = (uint16_t)strlen(uri);

        memset(e, 0, ENTRY);
        e[0] = op;
        e[1] = mode;
        memcpy(e + 2, &flags, sizeof(flags));
        memcpy(e + 4, &r->next, sizeof(r->next));
        memcpy(e + 8, &len, sizeof(len));
        memcpy(e + 16, uri, len);
        r->next++;
}

/* Says of @n entries, whatever is in them, that they are there: with their stamps alone. */
static void stamp(struct ring *r, uint32_t first, uint32_t n)
{
        for (uint32_t i = first; i != first + n; i++) {
                uint8_t *e = r->requests + ENTRIES + ENTRY * (i % r->entries);

                __atomic_store_n((uint64_t *)(void *)(e + STAMP), (uint64_t)i + 1, __ATOMIC_RELEASE);
        }
}

static void ring_doorbell(struct ring *r)
{
        (void)!write(r->fds[2], &(uint64_t){1}, sizeof(uint64_t));
}

static void publish(struct ring *r)
{
        atomic_store(word(r, HEAD), r->next);
        ring_doorbell(r);
}

static void put_some(struct ring *r)
{
        bool stamps = any() % 2;

        for (unsigned n = 1 + any() % 8; n > 0; n--) {
                put(r, any() % 2 ? STAT : GET, INLINE);
                if (stamps)
                        stamp(r, r->next - 1, 1);
        }
        publish(r);
        if (any() % 2)
                atomic_store(word(r, TAIL), *(volatile uint32_t *)(r->replies + HEAD));
}

/* ---- attacks ---- */

static void attack_memory(struct ring *r)
{
        for (int i = 0; i < 12; i++) {
                int fd = r->fds[any() % 2];
                off_t at = any() % r->size, len = 1 + any() % r->size;

                put_some(r);
                switch (any() % 5) {
                case 0:
                        (void)!ftruncate(fd, any() % 2 ? 0 : (off_t)(any() % (2 * r->size)));
                        break;
                case 1:
                        (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
                        break;
                case 2:
                        (void)!fallocate(fd, 0, 0, (off_t)r->size * 2);
                        break;
                case 3:
                        (void)!fallocate(fd, FALLOC_FL_ZERO_RANGE, at, len);
                        break;
                default:
                        if (mmap(r->requests, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fds[0], 0) ==
                            MAP_FAILED)
                                die("mmap");
                }
        }
}

static void attack_indices(struct ring *r)
{
        static const int words[] = {HEAD, ORIGIN, TAIL, ASLEEP};

        put_some(r);
        for (int i = 0; i < 12; i++) {
                const uint32_t values[] = {0, 1, r->entries, r->entries + 1, r->next + r->entries,
                                           r->next - 1, 1U << 31, UINT32_MAX, any()};

                atomic_store(word(r, words[any() % 4]), values[any() % 9]);
                ring_doorbell(r);
                if (any() % 4 == 0)
                        put_some(r);
                if (any() % 4 == 0)
                        stamp(r, r->next, any() % (2 * r->entries));
                if (any() % 8 == 0) /* the server may look at it */
                        poll(&(struct pollfd){.fd = r->sock, .events = POLLIN}, 1, 1);
        }
}

struct flipper {
        struct ring *r;
        unsigned seed;
        _Atomic bool stop;
};

static void *flip(void *arg)
{
        struct flipper *f = arg;
        const struct ring *r = f->r;

        while (!f->stop) {
                uint32_t n = (uint32_t)rand_r(&f->seed);
                uint32_t at = n % 4 ? ENTRIES + n / 4 % (r->entries * ENTRY) : r->arena_at + n / 4 % r->arena;

                __atomic_store_n(r->requests + at, (uint8_t)(n >> 20), __ATOMIC_RELAXED);
        }
        return NULL;
}

/* URIs by reference too: their place and length are what a server would have to read twice. */
static void put_by_reference(struct ring *r)
{
        uint8_t *e = r->requests + ENTRIES + ENTRY * (r->next % r->entries);
        uint32_t at = any() % 3 ? 0 : any();

        put(r, any() % 2 ? STAT : GET, INLINE);
        memset(e + 2, 0, 2);
        memcpy(e + 12, &at, sizeof(at));
        memset(e + 16, 0, ENTRY - 16);
        memcpy(r->requests + r->arena_at, uri, strlen(uri));
}

static void attack_entries(struct ring *r)
{
        struct flipper f = {.r = r, .seed = any()};
        pthread_t thread;

        if (pthread_create(&thread, NULL, flip, &f))
                die("pthread_create");
        for (int i = 0; i < 40; i++) {
                put_by_reference(r);
                put_some(r);
        }
        f.stop = true;
        pthread_join(thread, NULL);
}

static void attack_doorbell(struct ring *r)
{
        int fl = fcntl(r->fds[2], F_GETFL);

        for (int i = 0; i < 12; i++) {
                uint64_t rest, full = 0xfffffffffffffffe;

                put_some(r);
                (void)fcntl(r->fds[2], F_SETFL, fl | O_NONBLOCK);
                (void)!read(r->fds[2], &rest, sizeof(rest));
                if (any() % 2)
                        (void)!write(r->fds[2], &full, sizeof(full));
                if (any() % 2)
                        (void)fcntl(r->fds[2], F_SETFL, fl & ~O_NONBLOCK);
                atomic_store(word(r, ASLEEP), any() % 8);
                atomic_store(word(r, HEAD), r->next);
                (void)fcntl(r->fds[2], F_SETFL, fl | O_NONBLOCK);
                for (unsigned n = any() % 50; n > 0; n--)
                        ring_doorbell(r);
        }
}

static void busy_client(struct ring *r)
{
        for (;;) {
                put_some(r);
                atomic_store(word(r, TAIL), *(volatile uint32_t *)(r->replies + HEAD));
        }
}

static void trace_me(struct ring *r)
{
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        put(r, STAT, 0);
        publish(r);
        raise(SIGSTOP);
}

/* A child that does what @act does, with a ring of its own or with @shared. */
static pid_t start_child(void (*act)(struct ring *), struct ring *shared)
{
        pid_t parent = getpid(), pid = fork();
        struct ring r;

        if (pid < 0)
                die("fork");
        if (pid > 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
        if (!shared)
                attach(&r);
        act(shared ? shared : &r);
        _exit(0);
}

static void end_child(pid_t pid)
{
        int status = 0;

        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                continue;
        if (WIFEXITED(status) && WEXITSTATUS(status)) /* it has said why */
                exit(1);
}

static void pause_us(unsigned us)
{
        nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

static void round_of_kill(void)
{
        pid_t pid = start_child(busy_client, NULL);

        pause_us(any() % 3000);
        end_child(pid);
}

#define STOPPED 16
#define STRIDE  7

static pid_t stopped[STOPPED];

static void round_of_stop(void)
{
        pid_t *slot = &stopped[any() % STOPPED];

        if (*slot)
                end_child(*slot);
        *slot = start_child(busy_client, NULL);
        pause_us(any() % 3000);
        kill(*slot, SIGSTOP);
}

/* True when the child has come through to the end in fewer than @steps instructions. */
static bool step(pid_t pid, unsigned steps)
{
        int status;

        for (unsigned i = 0; i <= steps; i++) {
                if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
                        die("a child that could not be stepped");
                if (i && WSTOPSIG(status) == SIGSTOP)
                        return true;
                if (i < steps && ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
                        die("ptrace");
        }
        return false;
}

/* Waits for the @n-th reply. */
static const uint8_t *reply(struct ring *r, uint32_t n)
{
        const _Atomic uint32_t *head = (const _Atomic uint32_t *)(const void *)(r->replies + HEAD);

        for (unsigned i = 0; atomic_load(head) <= n; i++) {
                if (i == 500000) {
                        fprintf(stderr, "no reply %u\n", n);
                        exit(1);
                }
                pause_us(100);
        }
        return r->replies + ENTRIES + ENTRY * n;
}

/* After the end of a client that may have published one STAT: that one is answered, and then a PING. */
static void check_all_or_nothing(struct ring *r, unsigned steps)
{
        uint32_t published = atomic_load(word(r, HEAD)), id;

        r->next = published;
        put(r, PING, 0);
        publish(r);
        for (uint32_t i = 0; i <= published; i++) {
                const uint8_t *e = reply(r, i);

                memcpy(&id, e + 4, sizeof(id));
                if (e[0] || e[1] != (i < published ? STAT : PING) || id != i) {
                        fprintf(stderr, "after %u instructions: status %u, operation %u, id %u\n", steps, e[0], e[1],
                                id);
                        exit(1);
                }
        }
}

/* Every 7th instruction, then those behind them, and so on. */
static void round_of_step(void)
{
        static unsigned steps, first;
        struct ring r;
        pid_t pid;
        bool done;

        attach(&r);
        pid = start_child(trace_me, &r);
        done = step(pid, steps);
        end_child(pid);
        check_all_or_nothing(&r, steps);
        detach(&r);
        if (done) {
                instructions = steps;
                first = (first + 1) % STRIDE;
        }
        steps = done ? first : steps + STRIDE;
}

/* ---- ---- */

static const struct attack {
        const char *name;
        void (*on_ring)(struct ring *); /* or */
        void (*round)(void);
} attacks[] = {
        {"memory", attack_memory, NULL},     {"indices", attack_indices, NULL}, {"entries", attack_entries, NULL},
        {"doorbell", attack_doorbell, NULL}, {"kill", NULL, round_of_kill},     {"stop", NULL, round_of_stop},
        {"step", NULL, round_of_step},
};

static void run(const struct attack *a, unsigned long rounds)
{
        struct ring r;

        for (; rounds > 0; rounds--) {
                if (a->round) {
                        a->round();
                        continue;
                }
                attach(&r);
                a->on_ring(&r);
                detach(&r);
        }
        for (int i = 0; i < STOPPED; i++)
                if (stopped[i])
                        end_child(stopped[i]);
}

int main(int argc, char **argv)
{
        if (argc != 6 || strlen(argv[2]) > 40) {
                fprintf(stderr, "usage: ring_zoo SOCKET URI ATTACK ROUNDS SEED\n");
                return 2;
        }
        path = argv[1];
        uri = argv[2];
        seed = (unsigned)strtoul(argv[5], NULL, 10);
        for (size_t i = 0; i < sizeof(attacks) / sizeof(*attacks); i++) {
                if (strcmp(attacks[i].name, argv[3]))
                        continue;
                run(&attacks[i], strtoul(argv[4], NULL, 10));
                printf("%u ended by the server", ended);
                printf(instructions ? ", about %u instructions\n" : "\n", instructions);
                return 0;
        }
        fprintf(stderr, "ring_zoo: no attack %s\n", argv[3]);
        return 2;
}
