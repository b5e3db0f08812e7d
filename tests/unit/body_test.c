/* SPDX-License-Identifier: MIT */
#include "transport/body.h"

#include "base/fd.h"
#include "base/pagecache.h"
#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CAP      (64 * 1024)
#define FILE_MAX (1024 * 1024)
#define QUANTUM  (256 * 1024)

static uint8_t content[FILE_MAX], buf[CAP], got[FILE_MAX + OBJM_BODY_HEAD_MAX];

struct pair {
        int ours, theirs;
};

static struct pair new_pair(int sndbuf)
{
        int sv[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
        assert_int_equal(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)), 0);
        return (struct pair){sv[0], sv[1]};
}

static void close_pair(struct pair p)
{
        objm_fd_close(p.ours);
        objm_fd_close(p.theirs);
}

static int file_of(size_t size)
{
        int fd = new_file();

        for (size_t i = 0; i < size; i++)
                content[i] = (uint8_t)rand();
        assert_int_equal(write(fd, content, size), size);
        return fd;
}

static struct objm_body new_body(bool splice, int take_fd, size_t head, uint64_t at, uint64_t len)
{
        struct objm_body b = {.fd = take_fd, .splice = splice, .head_len = (uint8_t)head, .at = at, .left = len};

        for (size_t i = 0; i < head; i++)
                b.head[i] = (uint8_t)~i;
        return b;
}

/* Appends what has arrived, up to @max bytes. */
static size_t take(int sock, size_t at, size_t max)
{
        ssize_t n = recv(sock, got + at, max < sizeof(got) - at ? max : sizeof(got) - at, 0);

        assert_true(n >= 0 || errno == EAGAIN);
        return n > 0 ? at + (size_t)n : at;
}

static size_t take_all(int sock, size_t at)
{
        size_t before;

        do {
                before = at;
                at = take(sock, at, sizeof(got));
        } while (at != before);
        return at;
}

static void assert_arrived(size_t n, size_t head, uint64_t at, size_t len)
{
        assert_int_equal(n, head + len);
        for (size_t i = 0; i < head; i++)
                assert_int_equal(got[i], (uint8_t)~i);
        assert_memory_equal(got + head, content + at, len);
}

static void both(void (*fn)(bool splice))
{
        fn(false);
        fn(true);
}

static void check_small(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(100), 11, 0, 100);

        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf)), 0);
        assert_arrived(take_all(p.theirs, 0), 11, 0, 100);
        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf)), 0);
        assert_int_equal(take(p.theirs, 0, 1), 0);
        objm_body_deinit(&b);
        assert_int_equal(b.fd, -1);
        objm_body_deinit(&b);
        close_pair(p);
}

static void a_small_object_goes_at_once(void **state)
{
        both(check_small);
}

static void copied_head_and_first_bytes_are_one_message(void **state)
{
        struct objm_body b = new_body(false, file_of(100), 40, 0, 100);
        int sv[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
        assert_int_equal(objm_body_send(&b, sv[0], QUANTUM, buf, sizeof(buf)), 0);
        assert_arrived(take(sv[1], 0, sizeof(got)), 40, 0, 100);
        objm_body_deinit(&b);
        close_pair((struct pair){sv[0], sv[1]});
}

static void check_empty(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(10), 40, 10, 0);

        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf)), 0);
        assert_arrived(take_all(p.theirs, 0), 40, 10, 0);
        objm_body_deinit(&b);
        close_pair(p);
}

static void of_an_empty_range_only_the_head_goes(void **state)
{
        both(check_empty);
}

static void check_quantum(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(100000), 11, 0, 100000);
        int r = objm_body_send(&b, p.ours, 10000, buf, 4096);

        assert_int_equal(r, OBJM_BODY_MORE);
        assert_in_range(100000 - b.left, 10000, 10000 + 4096);
        assert_int_equal(take_all(p.theirs, 0), 11 + 100000 - b.left);
        objm_body_deinit(&b);
        close_pair(p);
}

static void no_more_than_a_quantum_goes(void **state)
{
        both(check_quantum);
}

/* What the caller does: on with MORE, and when the peer has read something. */
static size_t send_all(struct objm_body *b, struct pair p, size_t quantum, size_t cap, size_t read_max)
{
        size_t n = 0;
        int r;

        while ((r = objm_body_send(b, p.ours, quantum, buf, cap)) != 0) {
                assert_true(r == OBJM_BODY_MORE || r == -EAGAIN);
                if (r == -EAGAIN)
                        n = take(p.theirs, n, 1 + (size_t)rand() % read_max);
        }
        return take_all(p.theirs, n);
}

static void check_full(bool splice)
{
        struct pair p = new_pair(1); /* the kernel's minimum */
        struct objm_body b = new_body(splice, file_of(200000), 192, 0, 200000);

        assert_int_equal(objm_body_send(&b, p.ours, FILE_MAX, buf, sizeof(buf)), -EAGAIN);
        assert_true(b.left > 0);
        assert_int_equal(objm_body_send(&b, p.ours, FILE_MAX, buf, sizeof(buf)), -EAGAIN);
        assert_arrived(send_all(&b, p, FILE_MAX, sizeof(buf), 5000), 192, 0, 200000);
        objm_body_deinit(&b);
        close_pair(p);
}

static void a_full_socket_is_resumed_exactly(void **state)
{
        both(check_full);
}

struct reading {
        int sock;
        size_t n;
};

/* Reads on as long as something comes; slowly, so that the other side has to wait. */
static void *read_on(void *arg)
{
        struct reading *r = arg;
        struct pollfd p = {.fd = r->sock, .events = POLLIN};
        ssize_t n;

        while (poll(&p, 1, -1) == 1 && (n = recv(r->sock, got + r->n, 5000, 0)) > 0)
                r->n += (size_t)n;
        return NULL;
}

/* A peer that reads is waited for, one that does not only so long, and with 0 none any more. */
static void check_patience(bool splice)
{
        struct pair p = new_pair(1);
        struct objm_body b = new_body(splice, file_of(200000), 192, 0, 200000);
        struct reading reading = {.sock = p.theirs};
        pthread_t t;

        b.patient = true;
        assert_int_equal(objm_body_set_patience(p.ours, 10), 0);
        assert_int_equal(objm_body_send(&b, p.ours, FILE_MAX, buf, sizeof(buf)), -EAGAIN);
        assert_true(b.left > 0);
        assert_int_equal(objm_body_set_patience(p.ours, 60000), 0);
        assert_int_equal(pthread_create(&t, NULL, read_on, &reading), 0);
        assert_int_equal(objm_body_send(&b, p.ours, FILE_MAX, buf, sizeof(buf)), 0);
        shutdown(p.ours, SHUT_WR);
        pthread_join(t, NULL);
        assert_arrived(reading.n, 192, 0, 200000);
        assert_int_equal(objm_body_set_patience(p.ours, 0), 0);
        assert_true(fcntl(p.ours, F_GETFL) & O_NONBLOCK);
        assert_int_equal(recv(p.ours, buf, 1, 0), -1);
        assert_int_equal(errno, EAGAIN);
        objm_body_deinit(&b);
        close_pair(p);
}

static void a_patient_one_waits_for_the_peer(void **state)
{
        both(check_patience);
}

static void check_partial_head(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(1000), 40, 5, 900);

        memcpy(got, b.head, 17);
        b.head_sent = 17;
        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf)), 0);
        assert_arrived(take_all(p.theirs, 17), 40, 5, 900);
        objm_body_deinit(&b);
        close_pair(p);
}

static void a_head_that_has_left_in_part_goes_on(void **state)
{
        both(check_partial_head);
}

static void check_shrunk(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(100000), 11, 0, 100000);
        size_t n;

        assert_int_equal(objm_body_send(&b, p.ours, 20000, buf, 20011), OBJM_BODY_MORE);
        n = take_all(p.theirs, 0);
        assert_int_equal(ftruncate(b.fd, 30000), 0);
        while (objm_body_send(&b, p.ours, 20000, buf, 20000) == OBJM_BODY_MORE)
                n = take_all(p.theirs, n);
        assert_arrived(take_all(p.theirs, n), 11, 0, 30000);
        assert_int_equal(objm_body_send(&b, p.ours, 20000, buf, 20000), -ENODATA);
        assert_int_equal(take(p.theirs, 0, 1), 0);
        assert_int_equal(b.left, 70000);
        objm_body_deinit(&b);
        close_pair(p);
}

static void a_file_that_shrinks_is_not_padded(void **state)
{
        both(check_shrunk);
}

static void check_peer_closed(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(1000), 11, 0, 1000);
        int r;

        p.theirs = objm_fd_close(p.theirs);
        r = objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf));
        assert_int_equal(r, -EPIPE);
        b.head_sent = b.head_len;
        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf)), -EPIPE);
        objm_body_deinit(&b);
        close_pair(p);
}

static void a_peer_that_has_closed_is_an_error(void **state)
{
        both(check_peer_closed);
}

static void check_other_errors(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, -1, 0, 0, 1000);

        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf)), splice ? -EBADF : -EIO);
        assert_int_equal(take(p.theirs, 0, 1), 0);
        close_pair(p);
}

static void what_cannot_be_read_is_an_error(void **state)
{
        both(check_other_errors);
}

static bool is_cached(int fd, size_t size)
{
        static unsigned char pages[FILE_MAX / 4096];
        void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        bool cached = false;

        assert_true(map != MAP_FAILED);
        assert_int_equal(mincore(map, size, pages), 0);
        for (size_t i = 0; i < (size + 4095) / 4096; i++)
                cached = cached || (pages[i] & 1);
        munmap(map, size);
        return cached;
}

/*
 * On a disk, and no longer in the page cache; -1: that cannot be done here. A page that the kernel is busy with stays
 * when it is told to go: it is told again.
 */
static int evicted_file(size_t size)
{
        char name[] = "body_test.XXXXXX";
        int out = mkstemp(name), fd = open(name, O_RDONLY | O_CLOEXEC);

        assert_true(out >= 0 && fd >= 0);
        unlink(name);
        assert_int_equal(write(out, content, size), size);
        assert_int_equal(fsync(out), 0);
        close(out);
        for (int i = 0; i < 100; i++) {
                assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
                if (!is_cached(fd, size))
                        return fd;
                usleep(1000);
        }
        close(fd);
        return -1;
}

/* A disk may be done with what the first look made it read before that look is over. */
#define COLD_TRIES 20

/* False: it was sent at once. */
static bool send_cold(bool splice, int fd)
{
        struct pair p = new_pair(4 << 20);
        struct objm_body b = new_body(splice, fd, 40, 0, FILE_MAX);
        size_t n = 0;
        int r;

        b.nowait = true;
        r = objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf));
        if (r == OBJM_BODY_COLD) {
                assert_int_equal(take(p.theirs, 0, sizeof(got)), 0);
                while ((r = objm_body_send(&b, p.ours, QUANTUM, buf, sizeof(buf))) != 0) {
                        b.nowait = r != OBJM_BODY_COLD;
                        assert_true(r == OBJM_BODY_COLD || r == OBJM_BODY_MORE || r == -EAGAIN);
                        n = take_all(p.theirs, n);
                }
                assert_arrived(take_all(p.theirs, n), 40, 0, FILE_MAX);
                r = OBJM_BODY_COLD;
        }
        objm_body_deinit(&b);
        close_pair(p);
        return r == OBJM_BODY_COLD;
}

static void check_cold_as(bool splice, uid_t uid)
{
        bool cold = false;

        for (int i = 0; i < COLD_TRIES && !cold; i++) {
                uid_t was = geteuid();
                int fd = evicted_file(FILE_MAX);

                if (fd < 0) {
                        print_message("SKIPPED: what is here does not leave the page cache\n");
                        return;
                }
                assert_int_equal(seteuid(uid), 0);
                cold = send_cold(splice, fd);
                assert_int_equal(seteuid(was), 0);
        }
        assert_true(cold);
}

static void check_cold(bool splice)
{
        check_cold_as(splice, geteuid());
}

static void what_is_not_cached_is_not_waited_for(void **state)
{
        both(check_cold);
}

/* Linux 6.18 tells nobody but the owner what is in the page cache: then it has to be found out. */
static void nor_what_is_another_users(void **state)
{
        if (geteuid() != 0) {
                print_message("SKIPPED: needs root, to be somebody else\n");
                return;
        }
        for (int splice = 0; splice < 2; splice++)
                check_cold_as(splice, 65534);
}

/* The kernel counts a page as cached from when it begins to be read. */
static void what_is_still_being_read_is_not_cached(void **state)
{
        struct iovec iov = {.iov_base = buf, .iov_len = 1};
        int fd = evicted_file(FILE_MAX);
        struct objm_body b = new_body(true, fd, 40, 0, CAP);

        for (int i = 0; fd >= 0 && i < 50; i++) {
                assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
                assert_int_equal(posix_fadvise(fd, 0, CAP, POSIX_FADV_WILLNEED), 0);
                if (objm_body_cached(&b)) {
                        assert_int_equal(preadv2(fd, &iov, 1, 0, RWF_NOWAIT), 1);
                        assert_int_equal(preadv2(fd, &iov, 1, CAP - 1, RWF_NOWAIT), 1);
                }
        }
        objm_body_deinit(&b);
}

static void check_cached(bool splice)
{
        struct pair p = new_pair(QUANTUM);
        struct objm_body b = new_body(splice, file_of(FILE_MAX), 40, 0, FILE_MAX);

        b.nowait = true;
        assert_arrived(send_all(&b, p, QUANTUM, CAP, CAP), 40, 0, FILE_MAX);
        objm_body_deinit(&b);
        close_pair(p);
}

static void what_is_cached_goes_without_waiting(void **state)
{
        both(check_cached);
}

/* tmpfs, of which a memfd is a file, knows no RWF_NOWAIT and has no disk to wait for. */
static void what_is_in_memory_anyway_is_read_at_once(void **state)
{
        int fd = memfd_create("body", MFD_CLOEXEC);
        char bytes[8];

        assert_return_code(fd, errno);
        assert_int_equal(write(fd, "content", 7), 7);
        assert_int_equal(objm_pagecache_read(fd, bytes, sizeof(bytes), 0), 7);
        assert_memory_equal(bytes, "content", 7);
        assert_int_equal(objm_pagecache_read(fd, bytes, 3, 5), 2);
        assert_memory_equal(bytes, "nt", 2);
        assert_int_equal(objm_pagecache_read(fd, bytes, 1, 7), 0);
        objm_fd_close(fd);
        assert_int_equal(objm_pagecache_read(-1, bytes, 1, 0), -EBADF);
}

/* The bytes are in memory already: the file is not read, and may be anything. */
static void what_is_lent_is_sent(void **state)
{
        for (size_t cap = OBJM_BODY_HEAD_MAX; cap <= CAP; cap = cap * 4 + 1) {
                struct pair p = new_pair(2304);
                struct objm_body b = new_body(false, file_of(0), 40, 7, 60000);

                b.bytes = content;
                assert_arrived(send_all(&b, p, QUANTUM, cap, 777), 40, 7, 60000);
                objm_body_deinit(&b);
                close_pair(p);
        }
}

static void what_is_lent_no_more_is_read(void **state)
{
        struct pair p = new_pair(2304);
        struct objm_body b = new_body(false, file_of(70000), 40, 7, 60000);

        b.bytes = content;
        assert_int_equal(objm_body_send(&b, p.ours, QUANTUM, buf, CAP), -EAGAIN);
        assert_in_range(b.left, 1, 59999);
        b.bytes = NULL;
        assert_arrived(send_all(&b, p, QUANTUM, CAP, 777), 40, 7, 60000);
        objm_body_deinit(&b);
        close_pair(p);
}

/* Any size, range, head, quantum, buffer and pace: what arrives is the head and the range. */
static void anything_arrives_as_it_is(void **state)
{
        static const int sndbufs[] = {1, 2304, 10000, 128 * 1024};

        srand(1);
        for (unsigned i = 0; i < 300; i++) {
                size_t size = (size_t)rand() % (i % 10 ? 70000 : FILE_MAX), at = size ? (size_t)rand() % size : 0;
                size_t len = size - at ? (size_t)rand() % (size - at + 1) : 0;
                size_t head = (size_t)rand() % (OBJM_BODY_HEAD_MAX + 1), cap = head + 1 + (size_t)rand() % (CAP - head);
                struct pair p = new_pair(sndbufs[rand() % 4]);
                struct objm_body b = new_body(i % 2, file_of(size), head, at, len);

                assert_arrived(send_all(&b, p, 1 + (size_t)rand() % QUANTUM, cap, CAP), head, at, len);
                assert_int_equal(b.at, at + len);
                objm_body_deinit(&b);
                close_pair(p);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(a_small_object_goes_at_once),
                counted_test(copied_head_and_first_bytes_are_one_message),
                counted_test(of_an_empty_range_only_the_head_goes),
                counted_test(no_more_than_a_quantum_goes),
                counted_test(a_full_socket_is_resumed_exactly),
                counted_test(a_patient_one_waits_for_the_peer),
                counted_test(a_head_that_has_left_in_part_goes_on),
                counted_test(a_file_that_shrinks_is_not_padded),
                counted_test(a_peer_that_has_closed_is_an_error),
                counted_test(what_cannot_be_read_is_an_error),
                counted_test(what_is_not_cached_is_not_waited_for),
                counted_test(nor_what_is_another_users),
                counted_test(what_is_still_being_read_is_not_cached),
                counted_test(what_is_cached_goes_without_waiting),
                counted_test(what_is_in_memory_anyway_is_read_at_once),
                counted_test(what_is_lent_is_sent),
                counted_test(what_is_lent_no_more_is_read),
                counted_test(anything_arrives_as_it_is),
        };

        signal(SIGPIPE, SIG_IGN); /* as the daemon does */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
