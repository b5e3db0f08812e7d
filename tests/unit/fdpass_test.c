/* SPDX-License-Identifier: MIT */
#include "transport/fdpass.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

static int near, far; /* a connected pair: what `near` sends, `far` receives */

static int open_pair(void **state)
{
        int sv[2];

        count_before(state);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) /* blocking: the calls must not wait even so */
                return -1;
        near = sv[0];
        far = sv[1];
        return 0;
}

static int close_pair(void **state)
{
        near = objm_fd_close(near);
        far = objm_fd_close(far);
        return count_after(state);
}

#define pair_test(f) cmocka_unit_test_setup_teardown(f, open_pair, close_pair)

static ssize_t receive(void *buf, size_t len, int *fds, size_t max, size_t *ret_n, bool *ret_lost)
{
        return objm_fdpass_recv(far, buf, len, fds, max, ret_n, ret_lost);
}

static void as_many_as_the_kernel_takes(void **state)
{
        int fds[OBJM_FDPASS_MAX + 1], got[OBJM_FDPASS_MAX];
        char buf[10];
        size_t n;
        bool lost;

        for (int i = 0; i <= OBJM_FDPASS_MAX; i++)
                fds[i] = new_file();
        assert_int_equal(objm_fdpass_send(near, "x", 1, fds, OBJM_FDPASS_MAX + 1), -EINVAL);
        assert_int_equal(objm_fdpass_send(near, "x", 1, fds, OBJM_FDPASS_MAX), 1);
        assert_int_equal(receive(buf, sizeof(buf), got, OBJM_FDPASS_MAX, &n, &lost), 1);
        assert_int_equal(n, OBJM_FDPASS_MAX);
        assert_false(lost);
        for (int i = 0; i < OBJM_FDPASS_MAX; i++) {
                assert_true(inode_of(got[i]) == inode_of(fds[i])); /* borrowed: still open, and in order */
                assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
        }
        objm_fd_close_many(fds, OBJM_FDPASS_MAX + 1);
        objm_fd_close_many(got, n);
}

static void never_waits(void **state)
{
        char buf[10];
        int fd = new_file();
        size_t n = 77;
        bool lost = true;

        assert_int_equal(receive(buf, sizeof(buf), NULL, 0, &n, &lost), -EAGAIN);
        assert_int_equal(n, 77); /* untouched */
        assert_true(lost);
        while (objm_fdpass_send(near, "x", 1, &fd, 1) == 1)
                continue;
        assert_int_equal(objm_fdpass_send(near, "x", 1, &fd, 1), -EAGAIN);
        assert_int_equal(objm_fdpass_send(near, "x", 1, NULL, 0), -EAGAIN);
        close(fd);
}

static void end_of_stream_and_gone_peer(void **state)
{
        char buf[10];
        size_t n;
        bool lost;

        assert_int_equal(objm_fdpass_send(near, "last", 4, NULL, 0), 4);
        near = objm_fd_close(near);
        assert_int_equal(receive(buf, sizeof(buf), NULL, 0, &n, &lost), 4);
        assert_int_equal(receive(buf, sizeof(buf), NULL, 0, &n, &lost), 0);
        assert_int_equal(n, 0);
        assert_int_equal(objm_fdpass_send(far, "x", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
        assert_int_equal(objm_fdpass_recv(-1, buf, 1, NULL, 0, &n, &lost), -EBADF);
}

/* Bytes before a message with descriptors come in one call with it; a short read takes them all with the first byte. */
static void bytes_and_descriptors_do_not_align(void **state)
{
        int fds[2] = {new_file(), new_file()}, got[2];
        char buf[10];
        size_t n;
        bool lost;

        assert_int_equal(objm_fdpass_send(near, "ab", 2, NULL, 0), 2);
        assert_int_equal(objm_fdpass_send(near, "cd", 2, fds, 1), 2);
        assert_int_equal(objm_fdpass_send(near, "ef", 2, fds + 1, 1), 2);
        assert_int_equal(receive(buf, 3, got, 2, &n, &lost), 3);
        assert_int_equal(n, 1);
        assert_int_equal(receive(buf, sizeof(buf), got + 1, 1, &n, &lost), 3);
        assert_int_equal(n, 1);
        assert_memory_equal(buf, "def", 3);
        assert_true(inode_of(got[0]) == inode_of(fds[0]) && inode_of(got[1]) == inode_of(fds[1]));
        objm_fd_close_many(fds, 2);
        objm_fd_close_many(got, 2);
}

static void what_is_beyond_the_room_is_closed(void **state)
{
        int fds[5], got[2] = {-1, -1};
        unsigned before;
        char buf[1];
        size_t n;
        bool lost;

        for (int i = 0; i < 5; i++)
                fds[i] = new_file();
        before = count_fds();
        assert_int_equal(objm_fdpass_send(near, "x", 1, fds, 5), 1);
        assert_int_equal(receive(buf, 1, got, 2, &n, &lost), 1);
        assert_int_equal(n, 2);
        assert_true(lost);
        assert_int_equal(count_fds(), before + 2);
        assert_true(inode_of(got[1]) == inode_of(fds[1]));
        objm_fd_close_many(got, 2);
        assert_int_equal(objm_fdpass_send(near, "x", 1, fds, 5), 1);
        assert_int_equal(receive(buf, 1, NULL, 0, &n, &lost), 1);
        assert_int_equal(n, 0);
        assert_true(lost);
        assert_int_equal(count_fds(), before);
        objm_fd_close_many(fds, 5);
}

/* With @room numbers left, of three descriptors so many arrive, the bytes all do, and the loss is told. */
static void receive_with_room(unsigned room)
{
        int fds[3] = {new_file(), new_file(), new_file()}, got[3];
        char buf[10];
        size_t n;
        bool lost;

        CHECK(objm_fdpass_send(near, "abc", 3, fds, 3) == 3);
        limit_fds(room);
        CHECK(receive(buf, sizeof(buf), got, 3, &n, &lost) == 3);
        CHECK(n == room && lost);
        for (size_t i = 0; i < n; i++)
                CHECK(inode_of(got[i]) == inode_of(fds[i]));
        objm_fd_close_many(got, n);
        CHECK(objm_fdpass_send(near, "d", 1, NULL, 0) == 1);
        CHECK(receive(buf, sizeof(buf), got, 3, &n, &lost) == 1);
        CHECK(n == 0 && !lost);
        limit_fds(100);
        objm_fd_close_many(fds, 3);
}

static void receive_in_a_full_table(void)
{
        receive_with_room(0);
        receive_with_room(1);
        receive_with_room(2);
}

static void no_number_is_left(void **state)
{
        in_child(receive_in_a_full_table);
}

/* The first part of what is sent carries them; for the rest, a message of its own, the caller gives none. */
static void partial_send_takes_all_descriptors_along(void **state)
{
        static char data[1 << 20];
        int fds[2] = {new_file(), new_file()}, got[10], sndbuf = 2304;
        size_t n, total = 0, total_fds = 0;
        ssize_t sent, len;
        bool lost;

        assert_int_equal(setsockopt(near, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)), 0);
        sent = objm_fdpass_send(near, data, sizeof(data), fds, 2);
        assert_true(sent > 0 && sent < (ssize_t)sizeof(data));
        while ((len = receive(data, 100, got, 10, &n, &lost)) > 0) {
                assert_int_equal(n, total ? 0 : 2);
                total += (size_t)len;
                total_fds += n;
                objm_fd_close_many(got, n);
        }
        assert_int_equal(len, -EAGAIN);
        assert_int_equal(total, sent);
        assert_int_equal(total_fds, 2);
        objm_fd_close_many(fds, 2);
}

static void a_closed_descriptor_is_not_sent(void **state)
{
        int fds[2] = {new_file(), -1};
        char buf[1];
        size_t n;
        bool lost;

        assert_int_equal(objm_fdpass_send(near, "x", 1, fds, 2), -EBADF);
        assert_int_equal(receive(buf, 1, NULL, 0, &n, &lost), -EAGAIN);
        close(fds[0]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                pair_test(as_many_as_the_kernel_takes),
                pair_test(never_waits),
                pair_test(end_of_stream_and_gone_peer),
                pair_test(bytes_and_descriptors_do_not_align),
                pair_test(what_is_beyond_the_room_is_closed),
                pair_test(no_number_is_left),
                pair_test(partial_send_takes_all_descriptors_along),
                pair_test(a_closed_descriptor_is_not_sent),
        };

        return cmocka_run_group_tests_name("fdpass", tests, NULL, NULL);
}
