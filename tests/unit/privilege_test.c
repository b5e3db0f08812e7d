/* SPDX-License-Identifier: MIT */
#include "transport/privilege.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

/* As the kernel writes it down. */
static uint64_t said(void)
{
        FILE *file = fopen("/proc/self/status", "re");
        uint64_t mask = 0;
        char line[256];
        int found = 0;

        CHECK(file);
        while (!found && fgets(line, sizeof(line), file))
                found = sscanf(line, "CapEff: %" SCNx64, &mask) == 1;
        CHECK(found);
        fclose(file);
        return mask;
}

static void own_is_what_the_kernel_says(void **state)
{
        assert_true(objm_privilege_own() == said());
}

static void a_peer_s_are_its_process_s(void **state)
{
        uint64_t mask = ~said();
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(objm_privilege_of_peer(pair[0], &mask), 0);
        assert_true(mask == said());
        objm_fd_close_many(pair, 2);
}

/* On kernels without SO_PEERPIDFD, too: nobody has its number yet. */
static void a_peer_that_has_ended_has_none(void **state)
{
        struct sockaddr address = {.sa_family = AF_UNIX}; /* the kernel picks a name */
        socklen_t len = sizeof(address.sa_family);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, status;
        struct { struct sockaddr sa; char more[16]; } bound;
        uint64_t mask = 1;
        pid_t pid;

        assert_int_equal(bind(listener, &address, len), 0);
        len = sizeof(bound);
        assert_int_equal(getsockname(listener, &bound.sa, &len), 0);
        assert_int_equal(listen(listener, 1), 0);
        pid = fork();
        if (pid == 0)
                _exit(connect(socket(AF_UNIX, SOCK_STREAM, 0), &bound.sa, len) == 0 ? 0 : 1);
        fd = accept(listener, NULL, NULL);
        assert_true(fd >= 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(objm_privilege_of_peer(fd, &mask), -ESRCH);
        assert_int_equal(mask, 1);
        objm_fd_close(fd);
        objm_fd_close(listener);
}

static void other_descriptors_have_no_peer(void **state)
{
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), file = new_file();
        uint64_t mask = 1;

        assert_int_equal(objm_privilege_of_peer(file, &mask), -ENOTSOCK);
        assert_int_equal(objm_privilege_of_peer(tcp, &mask), -ESRCH);
        assert_int_equal(objm_privilege_of_peer(-1, &mask), -EBADF);
        assert_int_equal(mask, 1);
        objm_fd_close(file);
        objm_fd_close(tcp);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(own_is_what_the_kernel_says),
                counted_test(a_peer_s_are_its_process_s),
                counted_test(a_peer_that_has_ended_has_none),
                counted_test(other_descriptors_have_no_peer),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
