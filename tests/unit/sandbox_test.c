/* SPDX-License-Identifier: MIT */
#include "objmapperd/sandbox.h"

#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static bool has_landlock(void)
{
        return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

/* ---- calls ---- */

#define FAILS(call, error) (errno = 0, (long)(call) == -1 && errno == (error))

static void *add_one(void *arg)
{
        ++*(int *)arg;
        return NULL;
}

static void try_calls(void)
{
        int fd;

        CHECK(sandbox_restrict_calls() == 0);
        CHECK(FAILS(syscall(SYS_execve, "/bin/true", NULL, NULL), EPERM));
        CHECK(FAILS(syscall(SYS_clone, 0, NULL, NULL, NULL, NULL), EPERM));
        CHECK(FAILS(syscall(SYS_clone3, NULL, 0), ENOSYS));
        CHECK(FAILS(syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0), EPERM));
        CHECK(FAILS(syscall(SYS_kill, getpid(), 0), EPERM));
        CHECK(FAILS(syscall(SYS_io_uring_setup, 1, NULL), EPERM));
        CHECK(FAILS(syscall(SYS_setuid, getuid()), EPERM));
        CHECK(FAILS(syscall(SYS_truncate, "/dev/null", 0), EPERM));
        CHECK(FAILS(syscall(100000), ENOSYS));
        CHECK(FAILS(syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0), EPERM));
        CHECK(FAILS(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, ""), EPERM));
        CHECK(FAILS(syscall(SYS_mmap, NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EPERM));
        CHECK(FAILS(syscall(SYS_mprotect, (uintptr_t)try_calls & ~4095ul, 4096, PROT_READ | PROT_EXEC), EPERM));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0 && close(fd) == 0);
}

static void what_is_not_needed_fails(void **state)
{
        in_child(try_calls);
}

static void start_a_thread(void)
{
        pthread_t thread;
        int n = 0;

        CHECK(sandbox_restrict_calls() == 0);
        CHECK(pthread_create(&thread, NULL, add_one, &n) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(n == 1);
}

static void threads_can_be_started(void **state)
{
        in_child(start_a_thread);
}

/* ---- files ---- */

struct place {
        char dir[32], beside[64], socket[64], outside[32];
        bool passed;
};

static struct place place;

static void try_files(void)
{
        struct place *p = &place;
        struct config_listen listen = {.transport = CONFIG_TRANSPORT_UNIX, .path = p->socket};
        struct config config = {.listen = &listen, .n_listen = 1};
        bool may = !p->passed;
        int fd;

        CHECK(sandbox_restrict_files(&config, p->passed) > 0);
        CHECK(FAILS(open(p->outside, O_WRONLY), EACCES));
        CHECK(FAILS(unlink(p->outside), EACCES));
        CHECK(FAILS(mkdir(p->beside, 0700), EACCES));
        fd = open(p->outside, O_RDONLY);
        CHECK(fd >= 0 && close(fd) == 0);
        fd = open(p->beside, O_WRONLY | O_CREAT, 0600);
        CHECK((fd >= 0) == may);
        if (may)
                CHECK(close(fd) == 0 && unlink(p->beside) == 0);
        CHECK(FAILS(execl("/bin/true", "true", NULL), EACCES));
}

static void check_files(bool passed)
{
        struct place *p = &place;
        int fd;

        if (!has_landlock())
                skip();
        place = (struct place){.dir = "/tmp/objm-XXXXXX", .outside = "/tmp/objm-XXXXXX", .passed = passed};
        fd = mkstemp(p->outside);
        assert_true(fd >= 0);
        close(fd);
        assert_non_null(mkdtemp(p->dir));
        snprintf(p->socket, sizeof(p->socket), "%.31s/sock", p->dir);
        snprintf(p->beside, sizeof(p->beside), "%.31s/file", p->dir);
        in_child(try_files);
        assert_int_equal(rmdir(p->dir), 0);
        assert_int_equal(unlink(p->outside), 0);
}

static void files_are_written_beside_the_sockets(void **state)
{
        check_files(false);
}

static void files_are_not_written_at_all(void **state)
{
        check_files(true);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(what_is_not_needed_fails),
                counted_test(threads_can_be_started),
                counted_test(files_are_written_beside_the_sockets),
                counted_test(files_are_not_written_at_all),
        };

        return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
