/* SPDX-License-Identifier: MIT */
#include "objmapperd/sandbox.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Later than the headers that this is built with (6.7, 6.12). */
#define NET_CONNECT_TCP UINT64_C(2)
#define SCOPE_ABSTRACT  UINT64_C(1)
#define SCOPE_SIGNAL    UINT64_C(2)
#define ABI_NET         4
#define ABI_SCOPE       6

struct ruleset_attr {
        uint64_t handled_access_fs, handled_access_net, scoped;
};

/* A socket, and the file that locks its name. */
#define BESIDE_SOCKETS (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | \
                        LANDLOCK_ACCESS_FS_MAKE_SOCK)
/*
 * Neither reading nor what goes with an open file (truncate, ioctl): every open(2) would have to look at each directory
 * up to the root for them. A file that cannot be opened for writing is not truncated; the filter has the rest.
 */
#define HANDLED (BESIDE_SOCKETS | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
                 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_FIFO | \
                 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

/* The manager may be talked to through a socket without a file. */
static bool notifies_abstract(void)
{
        const char *path = getenv("NOTIFY_SOCKET");

        return path && *path == '@';
}

static int new_ruleset(int abi)
{
        struct ruleset_attr attr = {.handled_access_fs = HANDLED};

        if (abi >= ABI_NET)
                attr.handled_access_net = NET_CONNECT_TCP;
        if (abi >= ABI_SCOPE)
                attr.scoped = SCOPE_SIGNAL | (notifies_abstract() ? 0 : SCOPE_ABSTRACT);
        return (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
}

static int allow_beside(int ruleset, const char *socket)
{
        struct landlock_path_beneath_attr rule = {.allowed_access = BESIDE_SOCKETS};
        const char *slash = strrchr(socket, '/');
        char directory[PATH_MAX];
        int fd objm_cleanup(objm_fd_closep) = -1;

        if (!slash)
                memcpy(directory, ".", 2);
        else
                snprintf(directory, sizeof(directory), "%.*s", slash == socket ? 1 : (int)(slash - socket), socket);
        fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        rule.parent_fd = fd;
        return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int sandbox_restrict_files(const struct config *config, bool passed)
{
        int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        int ruleset objm_cleanup(objm_fd_closep) = -1;
        int r = 0;

        if (abi < 0)
                return -errno;
        ruleset = new_ruleset(abi);
        if (ruleset < 0)
                return -errno;
        for (size_t i = 0; r == 0 && !passed && i < config->n_listen; i++)
                if (config->listen[i].transport == CONFIG_TRANSPORT_UNIX)
                        r = allow_beside(ruleset, config->listen[i].path);
        if (r == 0 && config->http && config->http[0] == '/')
                r = allow_beside(ruleset, config->http);
        if (r < 0)
                return r;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
                return -errno;
        return abi;
}
