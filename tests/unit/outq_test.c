/* SPDX-License-Identifier: MIT */
#include "transport/outq.h"

#include "base/fd.h"
#include "resources.h"
#include "transport/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

struct pair {
        int ours, theirs;
};

static struct pair new_pair(void)
{
        int sv[2], sndbuf = 2304;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
        assert_int_equal(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)), 0);
        return (struct pair){sv[0], sv[1]};
}

static void close_pair(struct pair p)
{
        objm_fd_close(p.ours);
        objm_fd_close(p.theirs);
}

static void an_empty_one_has_nothing_to_do(void **state)
{
        struct pair p = new_pair();
        struct objm_outq q;

        objm_outq_init(&q);
        assert_true(objm_outq_empty(&q));
        assert_int_equal(objm_outq_send(&q, p.ours), 0);
        objm_outq_deinit(&q);
        objm_outq_deinit(&q);
        close_pair(p);
}

static void bytes_are_bounded(void **state)
{
        static char data[OBJM_OUTQ_BYTES_MAX + 1];
        struct objm_outq q;
        int fd = new_file();

        objm_outq_init(&q);
        assert_int_equal(objm_outq_push(&q, data, sizeof(data), fd), -ENOBUFS);
        assert_true(objm_outq_empty(&q));
        assert_int_equal(objm_outq_push(&q, data, OBJM_OUTQ_BYTES_MAX - 10, -1), 0);
        assert_int_equal(objm_outq_push(&q, data, 11, fd), -ENOBUFS);
        assert_true(fcntl(fd, F_GETFD) >= 0); /* not taken */
        assert_int_equal(objm_outq_push(&q, data, 10, fd), 0);
        assert_int_equal(objm_outq_push(&q, data, 1, -1), -ENOBUFS);
        objm_outq_deinit(&q);
        assert_true(fcntl(fd, F_GETFD) < 0);
        assert_int_equal(q.bytes, 0);
        assert_int_equal(q.fds, 0);
}

static void descriptors_are_bounded(void **state)
{
        struct pair p = new_pair();
        struct objm_outq q;
        int more = new_file();

        objm_outq_init(&q);
        for (int i = 0; i < OBJM_OUTQ_FDS_MAX; i++)
                assert_int_equal(objm_outq_push(&q, "x", 1, new_file()), 0);
        assert_int_equal(objm_outq_push(&q, "x", 1, more), -ENOBUFS);
        assert_int_equal(objm_outq_push(&q, "x", 1, -1), 0);
        assert_int_equal(objm_outq_send(&q, p.ours), -EAGAIN);
        assert_true(q.fds < OBJM_OUTQ_FDS_MAX);
        assert_int_equal(objm_outq_push(&q, "x", 1, more), 0); /* what has gone counts no more */
        objm_outq_deinit(&q);
        close_pair(p);
}

/* Takes in what is there and checks it against the pattern; returns the number of bytes. */
static size_t read_some(int sock, size_t at, size_t chunk, ino_t *inode, size_t *n_fds)
{
        unsigned char buf[300];
        int fds[OBJM_FDPASS_MAX];
        size_t n;
        bool lost;
        ssize_t got = objm_fdpass_recv(sock, buf, chunk, fds, OBJM_FDPASS_MAX, &n, &lost);

        if (got == -EAGAIN)
                return 0;
        assert_true(got > 0);
        assert_false(lost);
        for (size_t i = 0; i < (size_t)got; i++)
                assert_int_equal(buf[i], (unsigned char)((at + i) / 251));
        for (size_t i = 0; i < n; i++)
                inode[(*n_fds)++] = inode_of(fds[i]);
        objm_fd_close_many(fds, n);
        return (size_t)got;
}

/* Each message is larger than what the socket takes at once: its descriptor goes with the first byte only. */
static void partial_sends_carry_a_descriptor_once(void **state)
{
        enum { MESSAGES = 9, SIZE = 251 * 28 };
        static unsigned char data[MESSAGES * SIZE];
        struct pair p = new_pair();
        ino_t sent[MESSAGES], got[MESSAGES * 2];
        size_t at = 0, n = 0, expected = 0;
        struct objm_outq q;
        int r;

        objm_outq_init(&q);
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (unsigned char)(i / 251);
        for (size_t i = 0; i < MESSAGES; i++) {
                int fd = i % 3 ? new_file() : -1;

                if (fd >= 0)
                        sent[expected++] = inode_of(fd);
                assert_int_equal(objm_outq_push(&q, data + i * SIZE, SIZE, fd), 0);
        }
        do {
                r = objm_outq_send(&q, p.ours);
                assert_true(r == 0 || r == -EAGAIN);
                assert_int_equal(r == 0, objm_outq_empty(&q));
                for (size_t len; (len = read_some(p.theirs, at, 1 + at % 299, got, &n));)
                        at += len;
        } while (r);
        assert_int_equal(at, sizeof(data));
        assert_int_equal(n, expected);
        assert_memory_equal(got, sent, n * sizeof(got[0]));
        assert_int_equal(q.bytes, 0);
        assert_int_equal(q.fds, 0);
        close_pair(p);
}

static void a_gone_peer_ends_it(void **state)
{
        struct pair p = new_pair();
        struct objm_outq q;

        objm_outq_init(&q);
        assert_int_equal(objm_outq_push(&q, "x", 1, new_file()), 0);
        p.theirs = objm_fd_close(p.theirs);
        assert_int_equal(objm_outq_send(&q, p.ours), -EPIPE);
        assert_false(objm_outq_empty(&q));
        objm_outq_deinit(&q);
        assert_true(objm_outq_empty(&q));
        assert_int_equal(objm_outq_push(&q, "x", 1, -1), 0); /* usable again */
        objm_outq_deinit(&q);
        close_pair(p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(an_empty_one_has_nothing_to_do),
                counted_test(bytes_are_bounded),
                counted_test(descriptors_are_bounded),
                counted_test(partial_sends_carry_a_descriptor_once),
                counted_test(a_gone_peer_ends_it),
        };

        return cmocka_run_group_tests_name("outq", tests, NULL, NULL);
}
