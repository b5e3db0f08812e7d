/* SPDX-License-Identifier: MIT */
#include "transport/privilege.h"

#include "base/fd.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* 6.5 */
#endif

static int effective(pid_t pid, uint64_t *ret)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = pid};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

        if (syscall(SYS_capget, &header, data) < 0)
                return -errno;
        *ret = (uint64_t)data[1].effective << 32 | data[0].effective;
        return 0;
}

uint64_t objm_privilege_own(void)
{
        uint64_t mask = 0;

        return effective(0, &mask) == 0 ? mask : 0;
}

/* How many users a namespace has; -1: not to be seen. */
static long long users_of(const char *path)
{
        FILE *file = fopen(path, "re");
        long long users = 0;
        unsigned count;

        if (!file)
                return -1;
        while (fscanf(file, "%*u %*u %u", &count) == 1)
                users += count;
        fclose(file);
        return users;
}

/*
 * One that has been made without privileges has a single user or none; one with as many as ours was made by somebody
 * who could do without it, or ours is below it.
 */
static bool is_in_lesser_namespace(pid_t pid)
{
        char path[64];
        long long theirs;

        snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
        theirs = users_of(path);
        return theirs >= 0 && theirs < users_of("/proc/self/uid_map");
}

/* -1 where the kernel does not know of such. */
static int open_peer(int sock, int *ret)
{
        socklen_t len = sizeof(*ret);

        if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, ret, &len) == 0)
                return 0;
        *ret = -1;
        return errno == ENOPROTOOPT ? 0 : errno == EINVAL || errno == ENODATA ? -ESRCH : -errno;
}

static bool has_ended(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return pidfd >= 0 && poll(&p, 1, 0) != 0;
}

/* As long as the process has not ended its number is nobody else's: that is looked at last. */
int objm_privilege_of_peer(int sock, uint64_t *ret)
{
        int pidfd objm_cleanup(objm_fd_closep) = -1;
        struct ucred cred;
        socklen_t len = sizeof(cred);
        uint64_t mask = 0;
        int r;

        if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
                return -errno;
        r = cred.pid > 0 ? open_peer(sock, &pidfd) : -ESRCH;
        if (r == 0)
                r = effective(cred.pid, &mask);
        if (r < 0)
                return r;
        if (is_in_lesser_namespace(cred.pid))
                mask = 0;
        if (has_ended(pidfd))
                return -ESRCH;
        *ret = mask;
        return 0;
}
