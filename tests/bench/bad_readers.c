/* SPDX-License-Identifier: MIT */
/*
 * Clients that ask for a large body and then read nothing, and others that read a little now and then. Says "ready"
 * when all have asked, and goes on until its input ends or SECONDS are over.
 *
 *      bad_readers SOCKET STALLED TRICKLING SECONDS 2|3 URI
 */
#include "bench_conn.h"

#include <errno.h>
#include <poll.h>

#define SIP    64
#define EVERY  100 /* ms between two sips of a client */
#define SHARES 10  /* of the clients, one after the other in that time */

static void sip(const int *fd, long n)
{
        uint8_t byte[SIP];

        for (long i = 0; i < n; i++)
                if (recv(fd[i], byte, sizeof(byte), MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ECONNRESET)
                        die("recv");
}

int main(int argc, char **argv)
{
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        long stalled, trickling, total, share = 0;
        uint64_t end;
        int *fd;

        if (argc != 7)
                return 2;
        stalled = atol(argv[2]);
        trickling = atol(argv[3]);
        total = stalled + trickling;
        fd = calloc((size_t)total, sizeof(*fd));
        for (long i = 0; i < total; i++) {
                fd[i] = open_conn(argv[1]);
                send_request(fd[i], argv[5][0], argv[6]);
        }
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
