/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_SANDBOX_H
#define OBJMAPPERD_SANDBOX_H
/*
 * What the process gives up for good, whoever may have got hold of it. Reading stays possible everywhere, because a
 * reload may bring exports that nobody knows yet. The log says at level info what is in force; a kernel that lacks
 * something is no error.
 */
#include "base/attr.h"
#include "objmapperd/config.h"

/*
 * Files, by Landlock: nothing is executed, and nothing written, made or removed but in the directories of the Unix
 * sockets of @config, unless the service manager @passed sockets. Of use to threads that are started later.
 */
void sandbox_files(const struct config *config, bool passed);

/* System calls, by seccomp: those that are not needed after the start fail with EPERM. Of all threads. */
void sandbox_calls(void);

/* The same two without a word. A Landlock ABI, or negative errno; 0 or negative errno. */
int sandbox_restrict_files(const struct config *config, bool passed);
int sandbox_restrict_calls(void);

#endif
