/* SPDX-License-Identifier: MIT */
/*
 * Clients that ask for a large body and then read nothing, and others that read a little now and then. Says "ready"
 * when all have asked and no more arrives, and goes on until its input ends or SECONDS are over.
 *
 *      bad_readers SOCKET STALLED TRICKLING SECONDS 2|3|- URI
 *
 * With "-" nobody asks for anything: those that trickle read from sockets that this program has filled itself. That is
 * what to compare with, as the CPU time that such a program takes is nothing a server could spare others.
 */
#include "bench_conn.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

#define SIP    64
#define EVERY  100 /* ms between two sips of a client */
#define SHARES 10  /* of the clients, one after the other in that time */
#define FILLED 65536
#define SETTLED 50 /* ms without a byte more */

static void sip(const int *fd, long n)
{
        uint8_t byte[SIP];

        for (long i = 0; i < n; i++)
                if (recv(fd[i], byte, sizeof(byte), MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ECONNRESET)
                        die("recv");
}

/* A socket with as much to read as a trickling client reads in some minutes. */
static int open_own(void)
{
        static const uint8_t bytes[FILLED];
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
            send(pair[1], bytes, sizeof(bytes), MSG_NOSIGNAL) != FILLED)
                die("socketpair");
        return pair[0];
}

static int open_client(const char *path, char mode, const char *uri)
{
        int fd = open_conn(path);

        send_request(fd, mode, uri);
        return fd;
}

static long unread(const int *fd, long n)
{
        long sum = 0;
        int bytes;

        for (long i = 0; i < n; i++) {
                if (ioctl(fd[i], FIONREAD, &bytes) < 0)
                        die("FIONREAD");
                sum += bytes;
        }
        return sum;
}

/* Filling hundreds of sockets is work that every client causes, and over when they are full. */
static void wait_until_full(const int *fd, long n)
{
        long before = -1;

        for (long now = unread(fd, n); now != before; now = unread(fd, n)) {
                before = now;
                poll(NULL, 0, SETTLED);
        }
}

int main(int argc, char **argv)
{
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        long stalled, trickling, total, first, share = 0;
        uint64_t end;
        int *fd;

        if (argc != 7)
                return 2;
        stalled = atol(argv[2]);
        trickling = atol(argv[3]);
        total = stalled + trickling;
        fd = calloc((size_t)total, sizeof(*fd));
        first = argv[5][0] == '-' ? stalled : 0;
        for (long i = first; i < total; i++)
                fd[i] = argv[5][0] == '-' ? open_own() : open_client(argv[1], argv[5][0], argv[6]);
        wait_until_full(fd + first, total - first);
        puts("ready");
        fflush(stdout);
        end = now() + (uint64_t)(atof(argv[4]) * 1e9);
        while (now() < end && poll(&in, 1, EVERY / SHARES) == 0) {
                long from = stalled + trickling * share / SHARES;

                share = (share + 1) % SHARES;
                sip(fd + from, trickling * (share ? share : SHARES) / SHARES - (from - stalled));
        }
        free(fd);
        return 0;
}
