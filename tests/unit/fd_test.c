/* SPDX-License-Identifier: MIT */
#include "base/fd.h"

#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void closes_and_returns_minus_one(void **state)
{
        int fd = new_file();

        assert_int_equal(objm_fd_close(fd), -1);
        assert_false(is_open(fd));
        assert_int_equal(objm_fd_close(-1), -1);
}

static void keeps_errno(void **state)
{
        int fd = new_file(), gone[] = {new_file(), -1};

        close(gone[0]);
        errno = EXDEV;
        objm_fd_close(fd);
        assert_int_equal(errno, EXDEV);
        objm_fd_close(fd);
        assert_int_equal(errno, EXDEV);
        objm_fd_close_many(gone, 2);
        assert_int_equal(errno, EXDEV);
}

/* A hole in the numbers, a -1, a number out of order: what is not in the array must stay open. */
static void close_many_closes_just_those(void **state)
{
        int fd[12], given[10], others[] = {3, 8};

        for (int i = 0; i < 12; i++)
                fd[i] = new_file();
        memcpy(given, (int[]){fd[0], fd[1], fd[2], -1, fd[4], fd[5], fd[11], fd[7], fd[6], -1}, sizeof(given));
        objm_fd_close_many(given, 10);
        for (int i = 0; i < 10; i++)
                assert_int_equal(given[i], -1);
        for (int i = 0; i < 8; i++)
                assert_int_equal(is_open(fd[i]), i == 3);
        for (size_t i = 0; i < 2; i++)
                assert_true(is_open(fd[others[i]]));
        assert_false(is_open(fd[11]));
        objm_fd_close_many((int[]){fd[3], fd[8], fd[9], fd[10]}, 4);
        objm_fd_close_many(NULL, 0);
}

static void steal_leaves_nothing(void **state)
{
        int a = new_file(), number = a, b = objm_fd_steal(&a);

        assert_int_equal(b, number);
        assert_int_equal(a, -1);
        assert_true(is_open(b));
        objm_fd_closep(&b);
        assert_int_equal(b, -1);
        assert_false(is_open(number));
}

static int leave_scope(bool steal)
{
        int fd objm_cleanup(objm_fd_closep) = new_file();

        return steal ? objm_fd_steal(&fd) : fd;
}

static void scope_closes_what_was_not_stolen(void **state)
{
        int fd = leave_scope(true);

        assert_true(is_open(fd));
        close(fd);
        assert_false(is_open(leave_scope(false)));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(closes_and_returns_minus_one), counted_test(keeps_errno),
                counted_test(close_many_closes_just_those), counted_test(steal_leaves_nothing),
                counted_test(scope_closes_what_was_not_stolen),
        };

        return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
