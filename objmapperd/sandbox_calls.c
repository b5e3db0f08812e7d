/* SPDX-License-Identifier: MIT */
/*
 * A filter in the kernel's classic BPF, written down rather than made by a library: it is a list. What it allows
 * whatever the arguments are, the kernel (since 5.11) does not run it for.
 */
#include "objmapperd/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* 6.5 */
#endif

#define DENY    (SECCOMP_RET_ERRNO | EPERM)
#define UNKNOWN (SECCOMP_RET_ERRNO | ENOSYS)
#define LATEST  SYS_cachestat /* what is later is not there, as on an older kernel: libraries fall back */

static const int allowed[] = {
        /* requests */
        SYS_recvmsg, SYS_recvfrom, SYS_recvmmsg, SYS_sendmsg, SYS_sendto, SYS_sendmmsg, SYS_epoll_pwait, SYS_openat2,
        SYS_close, SYS_fstat, SYS_sendfile, SYS_splice, SYS_pipe2, SYS_preadv2, SYS_preadv, SYS_pread64, SYS_readv,
        SYS_read, SYS_writev, SYS_write, SYS_readahead, SYS_fadvise64, SYS_cachestat, SYS_lseek, SYS_fcntl,
        /* connections */
        SYS_accept4, SYS_shutdown, SYS_getsockopt, SYS_setsockopt, SYS_getsockname, SYS_getpeername, SYS_socketpair,
        SYS_connect, SYS_bind, SYS_listen,
        /* trees */
        SYS_openat, SYS_newfstatat, SYS_statx, SYS_getdents64, SYS_readlinkat, SYS_faccessat, SYS_faccessat2,
        SYS_statfs, SYS_fstatfs, SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_getcwd,
        /* socket files */
        SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_fchmodat, SYS_fchmod, SYS_fchownat, SYS_fchown, SYS_flock,
        /* loops */
        SYS_epoll_create1, SYS_epoll_ctl, SYS_eventfd2, SYS_signalfd4, SYS_ppoll, SYS_pselect6, SYS_dup, SYS_dup3,
        SYS_close_range,
        /* memory */
        SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mincore, SYS_memfd_create, SYS_ftruncate, SYS_fallocate,
        SYS_membarrier, SYS_mlock, SYS_mlock2, SYS_munlock,
        /* threads */
        SYS_futex, SYS_exit, SYS_exit_group, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_sched_getaffinity,
        SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_getcpu, SYS_gettid, SYS_tgkill,
        /* signals and clocks */
        SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_clock_gettime,
        SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
        /* what the process is */
        SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getgroups, SYS_getrusage,
        SYS_prlimit64, SYS_sysinfo, SYS_uname, SYS_umask, SYS_getrandom, SYS_capget,
#ifdef __x86_64__
        SYS_epoll_wait, SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_unlink, SYS_rename, SYS_chmod,
        SYS_chown, SYS_poll, SYS_select, SYS_dup2, SYS_getrlimit, SYS_time, SYS_getdents, SYS_getpgrp,
#endif
};

struct filter {
        struct sock_filter at[2 * sizeof(allowed) / sizeof(*allowed) + 64];
        unsigned short n;
};

static void put(struct filter *f, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
        f->at[f->n++] = (struct sock_filter){.code = code, .k = k, .jt = if_true, .jf = if_false};
}

static void load(struct filter *f, size_t offset)
{
        put(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(struct filter *f, uint32_t how)
{
        put(f, BPF_RET | BPF_K, how, 0, 0);
}

static void answer_if_equal(struct filter *f, uint32_t value, uint32_t how)
{
        put(f, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
        answer(f, how);
}

/* Of arguments the lower half; those that are looked at here are ints. */
static void load_argument(struct filter *f, unsigned i)
{
        load(f, offsetof(struct seccomp_data, args) + i * sizeof(uint64_t) +
                        (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? sizeof(uint32_t) : 0));
}

/* Call @nr only with one of @n values of argument @i. */
static void one_of(struct filter *f, int nr, unsigned i, const uint32_t *value, uint8_t n)
{
        put(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, (uint8_t)(2 * n + 2));
        load_argument(f, i);
        for (uint8_t v = 0; v < n; v++)
                answer_if_equal(f, value[v], SECCOMP_RET_ALLOW);
        answer(f, DENY);
}

/* Call @nr: @how when argument @i has all of @bits, @otherwise when it has not. */
static void by_bits(struct filter *f, int nr, unsigned i, uint32_t bits, uint32_t how, uint32_t otherwise)
{
        put(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 5);
        load_argument(f, i);
        put(f, BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
        answer_if_equal(f, bits, how);
        answer(f, otherwise);
}

static void build(struct filter *f, uint32_t arch)
{
        const uint32_t families[] = {AF_UNIX, AF_INET, AF_INET6}, requests[] = {SIOCOUTQ, FIONREAD};
        const uint32_t options[] = {PR_SET_NAME, PR_SET_VMA};

        load(f, offsetof(struct seccomp_data, arch));
        put(f, BPF_JMP | BPF_JEQ | BPF_K, arch, 1, 0);
        answer(f, DENY);
        load(f, offsetof(struct seccomp_data, nr));
        put(f, BPF_JMP | BPF_JGT | BPF_K, LATEST, 0, 1); /* also x86-64 with pointers of 32 bits */
        answer(f, UNKNOWN);
        one_of(f, SYS_ioctl, 1, requests, objm_array_len(requests)); /* run for, and often: first */
        for (size_t i = 0; i < objm_array_len(allowed); i++)
                answer_if_equal(f, (uint32_t)allowed[i], SECCOMP_RET_ALLOW);
        one_of(f, SYS_socket, 0, families, objm_array_len(families));
        one_of(f, SYS_prctl, 0, options, objm_array_len(options));
        by_bits(f, SYS_mmap, 2, PROT_WRITE | PROT_EXEC, DENY, SECCOMP_RET_ALLOW);
        by_bits(f, SYS_mprotect, 2, PROT_EXEC, DENY, SECCOMP_RET_ALLOW);
        by_bits(f, SYS_clone, 0, CLONE_THREAD, SECCOMP_RET_ALLOW, DENY);
        answer_if_equal(f, SYS_clone3, UNKNOWN); /* its flags are out of sight: clone(2) serves instead */
        answer(f, DENY);
}

int sandbox_restrict_calls(void)
{
#if defined(__x86_64__)
        const uint32_t arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
        const uint32_t arch = AUDIT_ARCH_AARCH64;
#else
        const uint32_t arch = 0;
#endif
        struct filter f = {.n = 0};
        struct sock_fprog program;

        if (!arch)
                return -EOPNOTSUPP;
        build(&f, arch);
        program = (struct sock_fprog){.len = f.n, .filter = f.at};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        switch (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program)) {
        case 0:
                return 0;
        case -1:
                return -errno;
        default:
                return -EBUSY; /* a thread has a filter of its own */
        }
}
