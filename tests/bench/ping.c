/* SPDX-License-Identifier: MIT */
/*
 * 64 bytes to and fro between two processes by what the kernel has for that, blocking; to measure the ring against.
 * doorbells: nothing but what wakes the two sides of a ring, an eventfd in an epoll there and a futex here.
 *
 *      ping unix|pipe|mq|doorbells SECONDS SERVER-CPU CLIENT-CPU
 */
#include "ping.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define LEN 64

/* One that the server writes to and one that it reads from, and the same for the client. */
static int server_out, server_in, client_out, client_in;
static ssize_t (*send_to)(int, const void *, size_t), (*take_from)(int, void *, size_t);

static ssize_t mq_put(int fd, const void *buf, size_t n)
{
        return mq_send((mqd_t)fd, buf, n, 0) < 0 ? -1 : (ssize_t)n;
}

static ssize_t mq_take(int fd, void *buf, size_t n)
{
        return mq_receive((mqd_t)fd, buf, n, NULL);
}

/* Nobody else finds it: the name is gone again at once. */
static int open_mq(int which)
{
        struct mq_attr attr = {.mq_maxmsg = 8, .mq_msgsize = LEN};
        char name[64];
        mqd_t q;

        snprintf(name, sizeof(name), "/objm-ping-%ld-%d", (long)getpid(), which);
        q = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr);
        if (q == (mqd_t)-1 || mq_unlink(name) < 0)
                die("mq_open");
        return (int)q;
}

static _Atomic uint32_t *bell; /* shared */
static int bell_fd, bell_epoll;

/* To the server, which never reads the eventfd; to the client. */
static ssize_t ring_bell(int to_server, const void *buf, size_t n)
{
        uint64_t one = 1;

        (void)buf;
        if (to_server)
                return write(bell_fd, &one, sizeof(one)) == sizeof(one) ? (ssize_t)n : -1;
        atomic_fetch_add(bell, 1);
        return syscall(SYS_futex, bell, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? -1 : (ssize_t)n;
}

static ssize_t await_bell(int of_server, void *buf, size_t n)
{
        static uint32_t seen;
        struct epoll_event ev;

        (void)buf;
        if (of_server)
                return epoll_wait(bell_epoll, &ev, 1, -1) == 1 ? (ssize_t)n : -1;
        while (atomic_load(bell) == seen)
                syscall(SYS_futex, bell, FUTEX_WAIT, seen, NULL, NULL, 0);
        seen++;
        return (ssize_t)n;
}

static int prepare_bells(void)
{
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

        bell = mmap(NULL, sizeof(*bell), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        bell_fd = eventfd(0, 0);
        bell_epoll = epoll_create1(0);
        if (bell == MAP_FAILED || bell_fd < 0 || bell_epoll < 0 ||
            epoll_ctl(bell_epoll, EPOLL_CTL_ADD, bell_fd, &ev) < 0)
                die("doorbells");
        send_to = ring_bell;
        take_from = await_bell;
        server_in = client_out = 1;
        server_out = client_in = 0;
        return 0;
}

static int prepare(const char *kind)
{
        int a[2], b[2];

        send_to = write;
        take_from = read;
        if (!strcmp(kind, "unix")) {
                if (socketpair(AF_UNIX, SOCK_STREAM, 0, a) < 0)
                        die("socketpair");
                server_in = server_out = a[0];
                client_in = client_out = a[1];
                return 0;
        }
        if (!strcmp(kind, "doorbells"))
                return prepare_bells();
        if (!strcmp(kind, "pipe")) {
                if (pipe(a) < 0 || pipe(b) < 0)
                        die("pipe");
        } else if (!strcmp(kind, "mq")) {
                a[0] = a[1] = open_mq(0);
                b[0] = b[1] = open_mq(1);
                send_to = mq_put;
                take_from = mq_take;
        } else {
                return -1;
        }
        server_in = a[0];
        client_out = a[1];
        client_in = b[0];
        server_out = b[1];
        return 0;
}

static void serve(void)
{
        char buf[LEN];

        while (take_from(server_in, buf, LEN) == LEN && send_to(server_out, buf, LEN) == LEN)
                continue;
}

static unsigned once(void)
{
        static char buf[LEN];

        if (send_to(client_out, buf, LEN) != LEN || take_from(client_in, buf, LEN) != LEN)
                die("ping");
        return 1;
}

int main(int argc, char **argv)
{
        pid_t pid;

        if (argc != 5 || prepare(argv[1]) < 0) {
                fprintf(stderr, "usage: ping unix|pipe|mq|doorbells SECONDS SERVER-CPU CLIENT-CPU\n");
                return 2;
        }
        pid = start_server(serve, argv[3]);
        pin_to(argv[4]);
        measure_rounds(once, strtod(argv[2], NULL));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return 0;
}
