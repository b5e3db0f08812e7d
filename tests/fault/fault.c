/* SPDX-License-Identifier: MIT */
/*
 * A library to be preloaded that makes calls of one libc function fail:
 *
 *      OBJM_FAULT=malloc:ENOMEM:17     the 17th call returns failure with that errno; 0: none
 *      OBJM_FAULT_CONTROL=FILE         shared with the test: while the process runs, the test moves the mark and reads
 *                                      what has happened. Four words of 64 bits, as in struct control.
 *
 * SIGSTOP instead of an errno: the call stops the process and, once that goes on, does its work.
 *
 * "openat2" is syscall(2) with that number; "epoll_add" and "epoll_mod" are operations of epoll_ctl(2). Failing calls
 * do nothing else. Of the allocator, calls from the program itself count, strdup() and strndup() among them, not those
 * that libraries make: glibc 2.36 does not survive a failing malloc() in getgrnam(3), nor does libconfig 1.5. What is
 * allocated before the real functions are found comes from an array and is never freed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
        _Atomic uint64_t nth;   /* the first call that fails; 0: none does */
        _Atomic uint64_t many;  /* so many calls from there on; 0: one */
        _Atomic uint64_t calls; /* counted since the test last set it to 0 */
        _Atomic uint64_t fired; /* how many have failed */
};

#define STOPS (-1)

static const struct {
        const char *name;
        int value;
} errors[] = {
        {"EAGAIN", EAGAIN},         {"ECONNABORTED", ECONNABORTED}, {"ECONNRESET", ECONNRESET}, {"EINTR", EINTR},
        {"EIO", EIO},               {"EMFILE", EMFILE},             {"ENFILE", ENFILE},         {"ENOBUFS", ENOBUFS},
        {"ENOMEM", ENOMEM},         {"ENOSPC", ENOSPC},             {"EPERM", EPERM},           {"EPIPE", EPIPE},
        {"ETOOMANYREFS", ETOOMANYREFS}, {"ECONNREFUSED", ECONNREFUSED}, {"SIGSTOP", STOPS},
};

static struct control own, *control = &own;
static char function[32]; /* "" until the environment has been read */
static int error;

static uintptr_t program, program_end; /* where the program's own code is */

static void die(const char *what)
{
        fprintf(stderr, "fault: %s\n", what);
        _exit(125);
}

static void share(const char *path)
{
        int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;

        if (!path)
                return;
        control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (control == MAP_FAILED)
                die("cannot map OBJM_FAULT_CONTROL");
        close(fd);
}

/* The first object is the program. */
static int find_program(struct dl_phdr_info *info, size_t size, void *data)
{
        (void)size, (void)data;
        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *h = &info->dlpi_phdr[i];

                if (h->p_type != PT_LOAD || !(h->p_flags & PF_X))
                        continue;
                program = info->dlpi_addr + h->p_vaddr;
                program_end = program + h->p_memsz;
        }
        return 1;
}

static bool is_program(const void *caller)
{
        return (uintptr_t)caller >= program && (uintptr_t)caller < program_end;
}

__attribute__((constructor)) static void start(void)
{
        const char *text = getenv("OBJM_FAULT");
        char name[32], code[32];
        unsigned long long nth;

        if (!text)
                return;
        if (sscanf(text, "%31[^:]:%31[^:]:%llu", name, code, &nth) != 3)
                die("OBJM_FAULT is not FUNCTION:ERRNO:N");
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
                if (strcmp(errors[i].name, code) == 0)
                        error = errors[i].value;
        if (!error)
                die("OBJM_FAULT names an unknown errno");
        share(getenv("OBJM_FAULT_CONTROL"));
        dl_iterate_phdr(find_program, NULL);
        if (nth)
                control->nth = nth;
        control->calls = 0;
        strcpy(function, name);
}

static bool fails(const char *name)
{
        uint64_t nth, call, many;

        if (strcmp(function, name) != 0)
                return false;
        call = atomic_fetch_add(&control->calls, 1) + 1;
        nth = atomic_load(&control->nth);
        many = atomic_load(&control->many);
        if (!nth || call < nth || call - nth >= (many ? many : 1))
                return false;
        atomic_fetch_add(&control->fired, 1);
        if (error == STOPS) {
                raise(SIGSTOP);
                return false;
        }
        errno = error;
        return true;
}

static void *find(const char *name)
{
        int saved = errno;
        void *fn = dlsym(RTLD_NEXT, name);

        if (!fn)
                die(name);
        errno = saved;
        return fn;
}

/* Declares `real`, of this function's type, looked up once. */
#define REAL(name)                                                             \
        static __typeof__(name) *_Atomic found;                                \
        __typeof__(name) *real = atomic_load_explicit(&found, memory_order_relaxed); \
        if (!real)                                                             \
                atomic_store_explicit(&found, real = (__typeof__(name) *)find(#name), memory_order_relaxed)

/* ---- memory ---- */

static char early[65536];
static _Atomic size_t early_used;
static _Thread_local bool finding;

static void *early_alloc(size_t size)
{
        size_t at = atomic_fetch_add(&early_used, (size + 15) & ~(size_t)15);

        if (at + size > sizeof(early))
                die("too much is allocated too early");
        return early + at;
}

static bool is_early(const void *p)
{
        return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

/* dlsym() may allocate; that must not look for the function again. */
#define REAL_ALLOCATOR(name, instead)                                           \
        static __typeof__(name) *_Atomic found;                                 \
        __typeof__(name) *real = atomic_load_explicit(&found, memory_order_relaxed); \
        if (!real) {                                                            \
                if (finding)                                                    \
                        return instead;                                         \
                finding = true;                                                 \
                real = (__typeof__(name) *)find(#name);                         \
                finding = false;                                                \
                atomic_store_explicit(&found, real, memory_order_relaxed);      \
        }

#define CALLER_FAILS(name) (is_program(__builtin_return_address(0)) && fails(name))

void *malloc(size_t size)
{
        REAL_ALLOCATOR(malloc, early_alloc(size));
        return CALLER_FAILS("malloc") ? NULL : real(size);
}

void *calloc(size_t n, size_t size)
{
        REAL_ALLOCATOR(calloc, early_alloc(n * size));
        return CALLER_FAILS("calloc") ? NULL : real(n, size);
}

static void *move_early(void *old, size_t size)
{
        size_t rest = (size_t)(early + sizeof(early) - (char *)old);
        void *p = malloc(size);

        return p ? memcpy(p, old, size < rest ? size : rest) : NULL;
}

void *realloc(void *old, size_t size)
{
        REAL_ALLOCATOR(realloc, move_early(old ? old : early_alloc(0), size));
        if (is_early(old))
                return move_early(old, size);
        return CALLER_FAILS("realloc") ? NULL : real(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
        size_t total;

        if (CALLER_FAILS("realloc"))
                return NULL;
        if (__builtin_mul_overflow(n, size, &total)) {
                errno = ENOMEM;
                return NULL;
        }
        return realloc(old, total);
}

void *aligned_alloc(size_t alignment, size_t size)
{
        REAL(aligned_alloc);
        return CALLER_FAILS("aligned_alloc") ? NULL : real(alignment, size);
}

void free(void *p)
{
        REAL_ALLOCATOR(free, (void)0);
        if (!is_early(p))
                real(p);
}

char *strdup(const char *text)
{
        REAL(strdup);
        return CALLER_FAILS("malloc") ? NULL : real(text);
}

char *strndup(const char *text, size_t max)
{
        REAL(strndup);
        return CALLER_FAILS("malloc") ? NULL : real(text, max);
}

/* ---- the kernel ---- */

#define FORWARD(type, name, declaration, arguments)       \
        type name declaration                             \
        {                                                 \
                REAL(name);                               \
                return fails(#name) ? -1 : real arguments; \
        }

FORWARD(int, accept4, (int fd, struct sockaddr *restrict a, socklen_t *restrict len, int flags), (fd, a, len, flags))
FORWARD(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
FORWARD(int, bind, (int fd, const struct sockaddr *a, socklen_t len), (fd, a, len))
FORWARD(int, listen, (int fd, int backlog), (fd, backlog))
FORWARD(int, connect, (int fd, const struct sockaddr *a, socklen_t len), (fd, a, len))
FORWARD(int, getsockopt, (int fd, int level, int name, void *restrict v, socklen_t *restrict len),
        (fd, level, name, v, len))
FORWARD(int, setsockopt, (int fd, int level, int name, const void *v, socklen_t len), (fd, level, name, v, len))
FORWARD(ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
FORWARD(ssize_t, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags))
FORWARD(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
FORWARD(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
FORWARD(ssize_t, write, (int fd, const void *buf, size_t len), (fd, buf, len))
FORWARD(ssize_t, pread, (int fd, void *buf, size_t len, off_t at), (fd, buf, len, at))
FORWARD(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t at, int flags), (fd, v, n, at, flags))
FORWARD(ssize_t, copy_file_range, (int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags),
        (in, in_at, out, out_at, len, flags))
FORWARD(ssize_t, sendfile, (int out, int in, off_t *at, size_t len), (out, in, at, len))
FORWARD(int, ftruncate, (int fd, off_t len), (fd, len))
FORWARD(ssize_t, __getdelim, (char **line, size_t *cap, int end, FILE *f), (line, cap, end, f))
FORWARD(int, poll, (struct pollfd *p, nfds_t n, int timeout), (p, n, timeout))
FORWARD(int, ppoll, (struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *s), (p, n, t, s))
FORWARD(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags), (fd, m, n, flags))
FORWARD(int, recvmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t), (fd, m, n, flags, t))
FORWARD(int, epoll_create1, (int flags), (flags))
FORWARD(int, epoll_wait, (int fd, struct epoll_event *e, int n, int timeout), (fd, e, n, timeout))
FORWARD(int, eventfd, (unsigned value, int flags), (value, flags))
FORWARD(int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags))
FORWARD(int, memfd_create, (const char *name, unsigned flags), (name, flags))
FORWARD(int, inotify_init1, (int flags), (flags))
FORWARD(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask))
FORWARD(int, fstat, (int fd, struct stat *st), (fd, st))
FORWARD(int, chmod, (const char *path, mode_t mode), (path, mode))
FORWARD(ssize_t, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags))

int open(const char *path, int flags, ...)
{
        mode_t mode;
        va_list ap;
        REAL(open);

        va_start(ap, flags);
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
        va_end(ap);
        return fails("open") ? -1 : real(path, flags, mode);
}

/* Not that of share(), which comes before there is a function to fail. */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
        REAL(mmap);
        return CALLER_FAILS("mmap") ? MAP_FAILED : real(at, len, protection, flags, fd, offset);
}

int madvise(void *at, size_t len, int advice)
{
        REAL(madvise);
        return CALLER_FAILS("madvise") ? -1 : real(at, len, advice);
}

int epoll_ctl(int fd, int op, int target, struct epoll_event *event)
{
        REAL(epoll_ctl);

        if ((op == EPOLL_CTL_ADD && fails("epoll_add")) || (op == EPOLL_CTL_MOD && fails("epoll_mod")))
                return -1;
        return real(fd, op, target, event);
}

long syscall(long number, ...)
{
        long a[6];
        va_list ap;
        REAL(syscall);

        va_start(ap, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(ap, long);
        va_end(ap);
        if (number == SYS_openat2 && fails("openat2"))
                return -1;
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int pthread_create(pthread_t *restrict t, const pthread_attr_t *restrict attr, void *(*fn)(void *), void *restrict arg)
{
        REAL(pthread_create);
        return fails("pthread_create") ? error : real(t, attr, fn, arg);
}
