/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TESTS_RESOURCES_H
#define OBJM_TESTS_RESOURCES_H
/*
 * What tests of descriptors and processes share: counting open descriptors around a test, files with inodes of their
 * own to pass about, and a child process in which a limit can be set without harm to the tests that follow.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* For threads and children, where cmocka's assertions must not be used. */
#define CHECK(x) ((x) ? (void)0 : check_failed(#x, __FILE__, __LINE__))

static inline void check_failed(const char *what, const char *file, int line)
{
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
        abort();
}

static inline unsigned count_entries(const char *path)
{
        DIR *dir = opendir(path);
        unsigned n = 0;

        CHECK(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n - 2; /* "." and ".." */
}

static inline unsigned count_fds(void)
{
        return count_entries("/proc/self/fd") - 1; /* the directory's own */
}

static inline int count_before(void **state)
{
        *state = (void *)(uintptr_t)count_fds();
        return 0;
}

static inline int count_after(void **state)
{
        unsigned before = (unsigned)(uintptr_t)*state, now = count_fds();

        if (before != now)
                print_error("%u descriptors before, %u after\n", before, now);
        return before != now;
}

#define counted_test(f) cmocka_unit_test_setup_teardown(f, count_before, count_after)

/* A descriptor of a new file; no two have the same inode. */
static inline int new_file(void)
{
        int fd = memfd_create("test", MFD_CLOEXEC);

        CHECK(fd >= 0);
        return fd;
}

static inline ino_t inode_of(int fd)
{
        struct stat st;

        CHECK(fstat(fd, &st) == 0);
        return st.st_ino;
}

/* Lets this process have @n more descriptors than now, if their numbers are free. For children, or to be undone. */
static inline void limit_fds(unsigned n)
{
        struct rlimit rl;
        int next;

        CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0);
        rl.rlim_cur = rl.rlim_max;
        CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
        next = dup(STDOUT_FILENO);
        CHECK(next >= 0);
        close(next);
        rl.rlim_cur = (rlim_t)next + n;
        CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
}

/* Runs @fn in a child process; fails unless it comes back from it. */
static inline void in_child(void (*fn)(void))
{
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                fn();
                _exit(0);
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

#endif
