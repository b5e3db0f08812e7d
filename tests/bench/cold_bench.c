/* SPDX-License-Identifier: MIT */
/*
 * One pass of reads that find nothing in the page cache: @AT_ONCE transfers of the files of a directory leave through
 * Unix sockets that one thread drains, moved by one of several engines. Beside them, when a duration is given, one
 * client asks a pool of four threads for an object that is in the cache. Prints one line of JSON.
 *
 *      cold_bench ENGINE DIRECTORY SIZE AT_ONCE cold|warm [SECONDS [HOT_FILE]]
 *
 * Without SECONDS each file is sent once; otherwise they go round, evicted anew each time. What the threads hand on
 * goes through sockets, the pool's lock or @halves; ThreadSanitizer does not see the first.
 */
#include "base/clock.h"
#include "base/hist.h"
#include "cold_engine.h"
#include "cold_files.h"
#include "uring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define MAX_FILES   1024
#define MAX_AT_ONCE 256
#define THINK_NS    300000 /* between two requests of the hot client */

static struct {
        const struct engine *engine;
        int file[MAX_FILES];
        size_t n_files, next, at_once;
        uint64_t size, deadline, bytes;
        bool cold;
        pthread_mutex_t lock;
        struct objm_hist hist;
        struct transfer transfer[MAX_AT_ONCE + 1];
        atomic_size_t live;
        struct objm_pool *pool;
        uint64_t reader_cpu, hot_cpu;
} b;

/* Who reads what is not in the cache, and who waits for a place to do so. */
static struct {
        pthread_mutex_t lock;
        unsigned n;
        struct objm_job *head, **tail;
} cold = {.lock = PTHREAD_MUTEX_INITIALIZER, .tail = &cold.head};

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Returns the part of the files that is in the cache before the pass starts. */
static double prepare_files(const char *directory)
{
        DIR *d = opendir(directory);
        double sum = 0;

        if (!d)
                die(directory);
        for (struct dirent *e; (e = readdir(d)) && b.n_files < MAX_FILES;) {
                int fd = e->d_name[0] == '.' ? -1 : openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);

                if (fd < 0)
                        continue;
                if (b.cold)
                        evict(fd);
                else
                        warm(fd);
                b.file[b.n_files++] = fd;
        }
        closedir(d);
        for (size_t i = 0; i < b.n_files; i++)
                sum += resident(b.file[i], b.size);
        return b.n_files ? sum / (double)b.n_files : 0;
}

/* ---- what all engines do ----------------------------------------------------------------------------------------- */

static void start(struct transfer *t, int fd);

/* The next file, or the end of this slot: its reader sees that nobody sends any more. */
static void next_file(struct transfer *t)
{
        uint64_t now = objm_clock_ns();
        bool over;

        pthread_mutex_lock(&b.lock);
        if (t->started) {
                objm_hist_record(&b.hist, now - t->started);
                b.bytes += t->size;
        }
        over = b.deadline ? now >= b.deadline : b.next >= b.n_files;
        if (!over && !b.deadline)
                t->index = b.next++;
        pthread_mutex_unlock(&b.lock);
        if (over) {
                shutdown(t->sock[0], SHUT_RDWR);
                return;
        }
        if (b.deadline && b.cold)
                evict(b.file[t->index]);
        start(t, b.file[t->index]);
}

static void half_done(struct transfer *t)
{
        if (atomic_fetch_sub(&t->halves, 1) == 1 && t != &b.transfer[MAX_AT_ONCE])
                next_file(t);
}

static void advise(struct transfer *t)
{
        uint64_t window = (uint64_t)t->engine->window << 20;
        bool on = t->engine->when == AHEAD || (t->engine->when == AHEAD_ON_MISS && t->missed);

        if (!on || t->ahead >= t->size || t->body.at + window / 2 < t->ahead)
                return;
        (void)posix_fadvise(t->body.fd, (off_t)t->ahead, (off_t)window, POSIX_FADV_WILLNEED);
        t->ahead += window;
}

static void begin(struct transfer *t)
{
        t->begun = true;
        if (t->size > SEQUENTIAL && !t->engine->no_seq)
                (void)posix_fadvise(t->body.fd, 0, (off_t)t->size, POSIX_FADV_SEQUENTIAL);
        advise(t);
}

static void start(struct transfer *t, int fd)
{
        t->body = (struct objm_body){.fd = fd, .splice = t->engine->splice, .left = t->size};
        t->got = t->ahead = 0;
        t->begun = t->missed = t->may_block = false;
        atomic_store(&t->halves, 2);
        t->started = objm_clock_ns();
        if (t->engine->uring) {
                if (send(t->sock[1], "?", 1, MSG_NOSIGNAL) != 1)
                        die("send");
        } else if (objm_pool_submit(b.pool, &t->source.job, OBJM_LANE_REQUEST)) {
                die("objm_pool_submit");
        }
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

/* False: the job waits until somebody leaves. */
static bool cold_enter(struct objm_job *job, unsigned max)
{
        bool ok;

        pthread_mutex_lock(&cold.lock);
        ok = cold.n < max;
        cold.n += ok;
        if (!ok) {
                job->next = NULL;
                *cold.tail = job;
                cold.tail = &job->next;
        }
        pthread_mutex_unlock(&cold.lock);
        return ok;
}

/* The place goes to who waited longest. */
static void cold_leave(void)
{
        struct objm_job *job;

        pthread_mutex_lock(&cold.lock);
        job = cold.head;
        if (!job)
                cold.n--;
        else if (!(cold.head = job->next))
                cold.tail = &cold.head;
        pthread_mutex_unlock(&cold.lock);
        if (job && objm_pool_submit(b.pool, job, OBJM_LANE_REQUEST))
                die("objm_pool_submit");
}

/* What is not in the cache is not waited for, but the kernel starts to read it. COLD, or as objm_body_send(). */
static int send_cached(struct transfer *t, uint8_t *buf)
{
        size_t sent = 0;

        while (t->body.left && sent < QUANTUM) {
                size_t want = t->body.left < PIECE ? (size_t)t->body.left : PIECE;
                struct iovec iov = {.iov_base = buf, .iov_len = want};
                ssize_t n = preadv2(t->body.fd, &iov, 1, (off_t)t->body.at, RWF_NOWAIT), k;

                if (n <= 0)
                        return n < 0 && errno == EAGAIN ? COLD : -EIO;
                k = send(t->sock[0], buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (k < 0)
                        return -errno;
                t->body.at += (uint64_t)k;
                t->body.left -= (uint64_t)k;
                sent += (size_t)k;
                if (k < n)
                        return -EAGAIN;
        }
        return t->body.left ? OBJM_BODY_MORE : 0;
}

/* For sendfile(2), which has no such flag: the next quantum's beginning, enough to be read ahead of, and its end. */
static bool is_cached(struct transfer *t, uint8_t *buf)
{
        uint64_t len = t->body.left < QUANTUM ? t->body.left : QUANTUM;
        struct iovec head = {.iov_base = buf, .iov_len = len < PIECE ? (size_t)len : PIECE};
        struct iovec tail = {.iov_base = buf, .iov_len = 1};

        return preadv2(t->body.fd, &head, 1, (off_t)t->body.at, RWF_NOWAIT) == (ssize_t)head.iov_len &&
               preadv2(t->body.fd, &tail, 1, (off_t)(t->body.at + len - 1), RWF_NOWAIT) == 1;
}

static int send_quantum(struct transfer *t, uint8_t *buf)
{
        bool nowait = t->engine->cold_max && !t->may_block;

        if (nowait && t->engine->splice && !is_cached(t, buf))
                return COLD;
        if (nowait && !t->engine->splice)
                return send_cached(t, buf);
        return objm_body_send(&t->body, t->sock[0], QUANTUM, buf, PIECE);
}

static void on_miss(struct transfer *t)
{
        if (t->ahead < t->body.at)
                t->ahead = t->body.at;
        t->missed = true;
        advise(t);
}

static int send_pieces(struct transfer *t)
{
        uint8_t buf[PIECE];
        unsigned n = 0;
        int r;

        do {
                advise(t);
                r = send_quantum(t, buf);
                if (r == COLD)
                        on_miss(t);
        } while (r == OBJM_BODY_MORE && !t->may_block && ++n < TURN && objm_pool_queued(b.pool) == 0);
        return r;
}

/* One turn; COLD: the job waits for a place. */
static int take_turn(struct transfer *t)
{
        int r;

        if (!t->begun)
                begin(t);
        r = send_pieces(t);
        if (r == COLD) {
                t->may_block = true; /* before: another thread may have the job from now on */
                if (!cold_enter(&t->source.job, t->engine->cold_max))
                        return COLD;
                r = send_pieces(t);
        }
        if (t->may_block)
                cold_leave();
        t->may_block = false;
        return r;
}

static void pool_run(struct objm_job *job, struct objm_qsbr_reader *reader)
{
        struct transfer *t = objm_container_of(job, struct transfer, source.job);
        int r;

        objm_qsbr_offline(reader);
        r = take_turn(t);
        if (r == COLD)
                return;
        if (r == OBJM_BODY_MORE)
                r = objm_pool_submit(b.pool, job, OBJM_LANE_REQUEST);
        else if (r == -EAGAIN)
                r = objm_pool_wait(b.pool, &t->source, EPOLLOUT);
        else if (r == 0)
                half_done(t);
        if (r)
                die("pool_run");
}

/* ---- io_uring ---------------------------------------------------------------------------------------------------- */

static void queue_read(struct uring *u, struct transfer *t)
{
        t->phase = READING;
        advise(t);
        uring_queue(u, IORING_OP_READ, t->body.fd, t->buf, t->body.left < PIECE ? t->body.left : PIECE, t->body.at, t);
}

static void queue_send(struct uring *u, struct transfer *t)
{
        t->phase = SENDING;
        uring_queue(u, IORING_OP_SEND, t->sock[0], t->buf + t->off, t->have - t->off, 0, t);
}

static void queue_wait(struct uring *u, struct transfer *t)
{
        t->phase = ASKED;
        uring_queue(u, IORING_OP_RECV, t->sock[0], t->buf, 1, 0, t);
}

static void on_sent(struct uring *u, struct transfer *t, size_t n)
{
        t->off += n;
        if (t->off < t->have) {
                queue_send(u, t);
                return;
        }
        t->body.at += t->have;
        t->body.left -= t->have;
        if (t->body.left) {
                queue_read(u, t);
                return;
        }
        queue_wait(u, t);
        half_done(t);
}

/* False: the slot has ended. */
static bool on_complete(struct uring *u, struct transfer *t, int result)
{
        if (result <= 0 && t->phase == ASKED)
                return false;
        check(result, "io_uring");
        if (t->phase == ASKED) {
                begin(t);
                queue_read(u, t);
        } else if (t->phase == READING) {
                t->have = (size_t)result;
                t->off = 0;
                queue_send(u, t);
        } else {
                on_sent(u, t, (size_t)result);
        }
        return true;
}

static void *ring_thread(void *arg)
{
        struct uring u;
        size_t live = b.at_once;
        struct transfer *t;
        int result;

        check(uring_init(&u, 2 * MAX_AT_ONCE), "io_uring is not available here");
        for (size_t i = 0; i < b.at_once; i++) {
                b.transfer[i].buf = malloc(PIECE);
                if (!b.transfer[i].buf)
                        die("malloc");
                queue_wait(&u, &b.transfer[i]);
        }
        while (live) {
                check(uring_wait(&u), "io_uring_enter");
                while ((t = uring_next(&u, &result)))
                        live -= !on_complete(&u, t, result);
        }
        return NULL;
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static uint64_t thread_cpu(void)
{
        return objm_clock_read(CLOCK_THREAD_CPUTIME_ID);
}

static void drain(struct transfer *t, uint8_t *buf)
{
        ssize_t n = recv(t->sock[1], buf, QUANTUM, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0) {
                atomic_fetch_sub(&b.live, 1);
                close(t->sock[1]);
                return;
        }
        t->got += (uint64_t)n;
        if (t->got == t->size)
                half_done(t);
}

static void *reader_thread(void *arg)
{
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        uint8_t *buf = malloc(QUANTUM);
        struct epoll_event ev[64];

        for (size_t i = 0; i < b.at_once; i++) {
                ev[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = &b.transfer[i]};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, b.transfer[i].sock[1], &ev[0]);
        }
        while (atomic_load(&b.live)) {
                int n = epoll_wait(epoll_fd, ev, 64, -1);

                for (int i = 0; i < n; i++)
                        drain(ev[i].data.ptr, buf);
        }
        close(epoll_fd);
        free(buf);
        b.reader_cpu = thread_cpu();
        return NULL;
}

/* What the pool serves to a client that has to wait for nobody but the pool. */
static void *hot_thread(void *arg)
{
        const struct timespec think = {.tv_nsec = THINK_NS};
        struct transfer *t = &b.transfer[MAX_AT_ONCE];
        struct objm_hist *hist = arg;
        uint8_t *buf = malloc(QUANTUM);
        int fd = t->body.fd;

        while (objm_clock_ns() < b.deadline) {
                start(t, fd);
                while (t->got < t->size) {
                        ssize_t n = recv(t->sock[1], buf, QUANTUM, 0);

                        if (n <= 0)
                                die("recv");
                        t->got += (uint64_t)n;
                }
                objm_hist_record(hist, objm_clock_ns() - t->started);
                half_done(t);
                do
                        nanosleep(&think, NULL);
                while (atomic_load(&t->halves));
        }
        free(buf);
        b.hot_cpu = thread_cpu();
        return NULL;
}

/* ---- a pass ------------------------------------------------------------------------------------------------------ */

static void transfer_init(struct transfer *t, const struct engine *e, uint64_t size)
{
        int size_of_buffer = SNDBUF;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t->sock) < 0)
                die("socketpair");
        setsockopt(t->sock[0], SOL_SOCKET, SO_SNDBUF, &size_of_buffer, sizeof(size_of_buffer));
        if (!e->uring) /* sendfile(2) has no MSG_DONTWAIT; io_uring would not wait for room */
                fcntl(t->sock[0], F_SETFL, O_NONBLOCK);
        t->engine = e;
        t->size = size;
        t->source.fd = t->sock[0];
        t->source.job.run = pool_run;
}

/* The hot client's object goes the way of the engine, but never by io_uring: that is for what is cold. */
static void prepare_hot(const char *path)
{
        struct transfer *t = &b.transfer[MAX_AT_ONCE];
        static struct engine e;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                die(path);
        warm(fd);
        e = *b.engine;
        e.uring = false;
        transfer_init(t, &e, (uint64_t)st.st_size);
        t->body.fd = fd;
}

static uint64_t process_cpu(void)
{
        return objm_clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

static void run_pass(bool has_hot, struct objm_hist *hot)
{
        pthread_t reader, ring, client;

        pthread_create(&reader, NULL, reader_thread, NULL);
        if (b.engine->uring)
                pthread_create(&ring, NULL, ring_thread, NULL);
        for (size_t i = 0; i < b.at_once; i++) {
                b.transfer[i].index = i % b.n_files;
                next_file(&b.transfer[i]);
        }
        if (has_hot) {
                pthread_create(&client, NULL, hot_thread, hot);
                pthread_join(client, NULL);
        }
        pthread_join(reader, NULL);
        if (b.engine->uring)
                pthread_join(ring, NULL);
}

static const struct engine *engine_find(const char *name)
{
        for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
                if (strcmp(engines[i].name, name) == 0)
                        return &engines[i];
        fprintf(stderr, "no engine %s\n", name);
        exit(2);
}

static void print(double in_cache, uint64_t took, uint64_t cpu, const struct objm_hist *hot)
{
        double mb = (double)b.bytes / 1e6;

        printf("{\"mb_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_us_mb\": %.1f, \"transfers\": %llu, "
               "\"resident\": %.4f, \"hot_p50_us\": %.1f, \"hot_p99_us\": %.1f, \"hot\": %llu}\n",
               mb / ((double)took / 1e9), (double)objm_hist_quantile(&b.hist, 0.5) / 1e3,
               (double)objm_hist_quantile(&b.hist, 0.99) / 1e3, mb > 0 ? (double)cpu / 1e3 / mb : 0,
               (unsigned long long)b.hist.count, in_cache, (double)objm_hist_quantile(hot, 0.5) / 1e3,
               (double)objm_hist_quantile(hot, 0.99) / 1e3, (unsigned long long)hot->count);
}

int main(int argc, char **argv)
{
        static struct objm_hist hot;
        struct objm_qsbr *qsbr;
        uint64_t t, cpu;
        double in_cache;

        if (argc < 6 || argc > 8)
                return 2;
        b.engine = engine_find(argv[1]);
        b.size = strtoull(argv[3], NULL, 10);
        b.at_once = strtoull(argv[4], NULL, 10);
        b.cold = strcmp(argv[5], "cold") == 0;
        b.live = b.at_once;
        pthread_mutex_init(&b.lock, NULL);
        objm_hist_init(&b.hist);
        objm_hist_init(&hot);
        in_cache = prepare_files(argv[2]);
        if (!b.size || !b.n_files || b.at_once > MAX_AT_ONCE)
                return 2;
        for (size_t i = 0; i < b.at_once; i++)
                transfer_init(&b.transfer[i], b.engine, b.size);
        if (argc == 8)
                prepare_hot(argv[7]);
        check(objm_qsbr_new(&qsbr), "objm_qsbr_new");
        if (objm_pool_new(THREADS, 4096, "cold", qsbr, &b.pool) < 0)
                die("objm_pool_new");
        t = objm_clock_ns();
        cpu = process_cpu();
        if (argc > 6)
                b.deadline = t + (uint64_t)(strtod(argv[6], NULL) * 1e9);
        run_pass(argc == 8, &hot);
        objm_pool_free(b.pool);
        t = objm_clock_ns() - t;
        print(in_cache, t, process_cpu() - cpu - b.reader_cpu - b.hot_cpu, &hot);
        return 0;
}
