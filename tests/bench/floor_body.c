/* SPDX-License-Identifier: MIT */
/*
 * The floor for bodies: a thread a connection, blocking calls, nothing but recv, openat2, fstat and then read and write
 * (mode '2') or sendfile (mode '3'). Requests and replies are those of protocol version 3.
 *
 *      floor_body SOCKET TREE
 */
#include "wire3.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PIECE (64 * 1024)

static int root;

static int open_object(const char *name, struct stat *st)
{
        struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        int fd = (int)syscall(SYS_openat2, root, name, &how, sizeof(how));

        if (fd < 0 || fstat(fd, st) < 0) {
                perror(name);
                exit(1);
        }
        return fd;
}

static int write_all(int sock, const uint8_t *p, size_t n)
{
        while (n) {
                ssize_t k = send(sock, p, n, MSG_NOSIGNAL);

                if (k <= 0)
                        return -1;
                p += k;
                n -= (size_t)k;
        }
        return 0;
}

static int copy_body(int sock, int fd, uint8_t *buf, uint64_t size)
{
        uint64_t at = 0;
        size_t head = REPLY;

        do {
                ssize_t n = pread(fd, buf + head, PIECE - head, (off_t)at);

                if (n < 0 || write_all(sock, buf, head + (size_t)n) < 0)
                        return -1;
                at += (uint64_t)n;
                head = 0;
        } while (at < size);
        return 0;
}

static int splice_body(int sock, int fd, const uint8_t *head, uint64_t size)
{
        off_t at = 0;

        if (send(sock, head, REPLY, MSG_NOSIGNAL | MSG_MORE) != REPLY)
                return -1;
        while ((uint64_t)at < size)
                if (sendfile(sock, fd, &at, size - (uint64_t)at) <= 0)
                        return -1;
        return 0;
}

static int answer(int sock, uint8_t *rq, size_t uri_len)
{
        static _Thread_local uint8_t buf[PIECE];
        struct stat st;
        int fd, r;

        rq[REQUEST + uri_len] = 0;
        fd = open_object((char *)rq + REQUEST + 1, &st);
        memset(buf, 0, REPLY);
        buf[1] = 1;
        buf[2] = rq[1];
        be64(buf + 16, (uint64_t)st.st_size);
        be64(buf + 32, (uint64_t)st.st_size);
        r = rq[1] == '2' ? copy_body(sock, fd, buf, (uint64_t)st.st_size)
                         : splice_body(sock, fd, buf, (uint64_t)st.st_size);
        close(fd);
        return r;
}

static void *serve(void *arg)
{
        int sock = (int)(intptr_t)arg;
        uint8_t in[8192], hello[HELLO_REPLY] = "OBJM\003";
        size_t have = 0;
        ssize_t n;

        be16(hello + 6, HELLO_REPLY);
        while ((n = recv(sock, in + have, sizeof(in) - 1 - have, 0)) > 0) {
                have += (size_t)n;
                if (in[0] == 'O' && have == HELLO) {
                        have = 0;
                        if (write_all(sock, hello, sizeof(hello)) < 0)
                                break;
                } else if (have >= REQUEST && have == REQUEST + get16(in + URI_LEN_AT)) {
                        if (answer(sock, in, have - REQUEST) < 0)
                                break;
                        have = 0;
                }
        }
        close(sock);
        return NULL;
}

int main(int argc, char **argv)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (argc != 3) {
                fprintf(stderr, "usage: floor_body SOCKET TREE\n");
                return 2;
        }
        signal(SIGPIPE, SIG_IGN);
        root = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", argv[1]);
        unlink(argv[1]);
        if (root < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 4096) < 0) {
                perror("floor_body");
                return 1;
        }
        for (;;) {
                int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                pthread_t t;

                if (sock >= 0 && pthread_create(&t, NULL, serve, (void *)(intptr_t)sock) == 0)
                        pthread_detach(t);
        }
}
