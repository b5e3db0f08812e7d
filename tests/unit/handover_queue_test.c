/* SPDX-License-Identifier: MIT */
#include "objmapperd/handover_queue.h"

#include "base/fd.h"
#include "resources.h"
#include "transport/fdpass.h"

#include <errno.h>
#include <sys/socket.h>

#define MANY 700 /* three messages */

static void close_ends(int *ends)
{
        objm_fd_close_many(ends, 2);
}

static void what_was_put_is_taken_in_order(void **state)
{
        struct handover_fds got = {0};
        int fds[MANY], ends[2], error = 0;
        ino_t inode[MANY];

        assert_int_equal(handover_queue_open(ends), 0);
        for (int i = 0; i < MANY; i++) {
                fds[i] = new_file();
                inode[i] = inode_of(fds[i]);
        }
        assert_int_equal(handover_queue_put(ends[0], fds, MANY, &error), MANY);
        objm_fd_close_many(fds, MANY);
        assert_int_equal(handover_queue_take(ends[0], &got), 0); /* the wrong end: nothing waits there */
        assert_int_equal(got.n, 0);
        assert_int_equal(handover_queue_take(ends[1], &got), 0);
        assert_int_equal(got.n, MANY);
        for (int i = 0; i < MANY; i++)
                assert_true(inode_of(got.fd[i]) == inode[i]);
        assert_int_equal(handover_queue_take(ends[1], &got), 0);
        assert_int_equal(got.n, MANY);
        handover_fds_deinit(&got);
        close_ends(ends);
}

static void what_is_not_taken_goes_with_the_queue(void **state)
{
        int ends[2], fd[2], error = 0;
        char byte;

        assert_int_equal(handover_queue_open(ends), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
        assert_int_equal(handover_queue_put(ends[0], fd, 1, &error), 1);
        objm_fd_close(fd[0]);
        assert_int_equal(recv(fd[1], &byte, 1, MSG_DONTWAIT), -1); /* it lives on */
        assert_int_equal(errno, EAGAIN);
        close_ends(ends);
        assert_int_equal(recv(fd[1], &byte, 1, 0), 0);
        objm_fd_close(fd[1]);
}

static void a_full_queue_says_how_many_it_has(void **state)
{
        enum { SMALL = 2 * OBJM_FDPASS_MAX };
        struct handover_fds got = {0};
        int ends[2], fds[SMALL], error = 0, small = 1;
        size_t n, all = 0;

        assert_int_equal(handover_queue_open(ends), 0);
        assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
        for (int i = 0; i < SMALL; i++)
                fds[i] = ends[0];
        for (n = SMALL; n == SMALL; all += n)
                n = handover_queue_put(ends[0], fds, SMALL, &error);
        assert_int_equal(error, -EAGAIN);
        assert_int_equal(handover_queue_take(ends[1], &got), 0);
        assert_int_equal(got.n, all);
        handover_fds_deinit(&got);
        close_ends(ends);
}

static void without_free_numbers(void)
{
        struct handover_fds got = {0};
        int ends[2], fds[MANY], error = 0;

        CHECK(handover_queue_open(ends) == 0);
        for (int i = 0; i < MANY; i++)
                fds[i] = ends[0];
        CHECK(handover_queue_put(ends[0], fds, MANY, &error) == MANY);
        limit_fds(300);
        CHECK(handover_queue_take(ends[1], &got) == -EMFILE);
        CHECK(got.n >= 253 && got.n <= 300);
        handover_fds_deinit(&got);
        close_ends(ends);
}

static void lack_of_numbers_is_said(void **state)
{
        in_child(without_free_numbers);
}

static void other_descriptors_are_refused(void **state)
{
        struct handover_fds got = {0};
        int file = new_file();

        assert_int_equal(handover_queue_take(file, &got), -ENOTSOCK);
        assert_int_equal(got.n, 0);
        handover_fds_deinit(&got);
        objm_fd_close(file);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(what_was_put_is_taken_in_order),
                counted_test(what_is_not_taken_goes_with_the_queue),
                counted_test(a_full_queue_says_how_many_it_has),
                counted_test(lack_of_numbers_is_said),
                counted_test(other_descriptors_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
