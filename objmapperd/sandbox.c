/* SPDX-License-Identifier: MIT */
#include "objmapperd/sandbox.h"

#include "objmapperd/log.h"

#include <string.h>

/* Sanitizers trace the process at its end, and look at what they like; coverage is written to files. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FILES_TOO true
#define CALLS_TOO false
#elif defined(OBJM_COVERAGE)
#define FILES_TOO false
#define CALLS_TOO false
#else
#define FILES_TOO true
#define CALLS_TOO true
#endif

static void say_no(const char *what, int error)
{
        log_line(LOG_INFO, "sandbox: %s: %s", what, error ? strerror(-error) : "not in a build with instruments");
}

void sandbox_files(const struct config *config, bool passed)
{
        int r = FILES_TOO ? sandbox_restrict_files(config, passed) : 0;

        if (r <= 0)
                say_no("files are not restricted", r);
        else
                log_line(LOG_INFO, "sandbox: nothing is executed, nothing written%s (Landlock ABI %d)",
                         passed ? "" : " but beside the sockets", r);
}

void sandbox_calls(void)
{
        int r = CALLS_TOO ? sandbox_restrict_calls() : 0;

        if (r < 0 || !CALLS_TOO)
                say_no("system calls are not filtered", r);
        else
                log_line(LOG_INFO, "sandbox: system calls are filtered (seccomp)");
}
