/* SPDX-License-Identifier: MIT */
/*
 * As ping, over ZeroMQ's ipc transport: a pair of sockets with messages of 64 bytes. Built where libzmq is.
 *
 *      ping_zmq SECONDS SERVER-CPU CLIENT-CPU
 */
#include "ping.h"

#include <string.h>
#include <zmq.h>

#define LEN 64

static char dir[] = "/tmp/objm-ping-XXXXXX", address[sizeof(dir) + 16];
static void *context, *sock;

static void open_socket(int (*attach)(void *, const char *))
{
        context = zmq_ctx_new();
        sock = context ? zmq_socket(context, ZMQ_PAIR) : NULL;
        if (!sock || attach(sock, address) < 0)
                die(address);
}

static void serve(void)
{
        char buf[LEN];

        open_socket(zmq_bind);
        while (zmq_recv(sock, buf, LEN, 0) == LEN && zmq_send(sock, buf, LEN, 0) == LEN)
                continue;
}

static unsigned once(void)
{
        static char buf[LEN];

        if (zmq_send(sock, buf, LEN, 0) != LEN || zmq_recv(sock, buf, LEN, 0) != LEN)
                die("zmq");
        return 1;
}

int main(int argc, char **argv)
{
        pid_t pid;

        if (argc != 4) {
                fprintf(stderr, "usage: ping_zmq SECONDS SERVER-CPU CLIENT-CPU\n");
                return 2;
        }
        if (!mkdtemp(dir))
                die(dir);
        snprintf(address, sizeof(address), "ipc://%s/s", dir);
        pid = start_server(serve, argv[2]);
        pin_to(argv[3]);
        open_socket(zmq_connect);
        measure_rounds(once, strtod(argv[1], NULL));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        unlink(address + strlen("ipc://"));
        rmdir(dir);
        return 0;
}
