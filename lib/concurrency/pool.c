/* SPDX-License-Identifier: MIT */
/*
 * One mutex, three FIFO lanes, one epoll instance. A thread with nothing to do sleeps in epoll_wait(2), where a watched
 * descriptor or the bell wakes it. The bell is edge-triggered, so two rings may wake one thread: whoever takes a job
 * and leaves others behind rings on. Jobs last at least some microseconds, so the lock is not what limits.
 */
#include "concurrency/pool.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Jobs go a few calls deep and hold one path; the default of 8 MiB only inflates the address space. */
#define STACK_SIZE (256 * 1024)

struct lane {
        struct objm_job *head, **tail;
        size_t length;
        unsigned running, limit; /* threads in its jobs, and how many may be; requests have none and do not count */
};

/* A thread and what it counts, which nobody else writes. */
struct seat {
        pthread_t thread;
        struct objm_pool *pool;
        _Atomic uint64_t since; /* ns: when its job began; 0: it has none */
        _Atomic uint64_t jobs, work_ns;
        struct objm_tally wait;
};

enum {
        N_LANES = OBJM_LANE_COLD + 1,
};

struct objm_pool {
        pthread_mutex_t lock;
        int epoll_fd, bell_fd;
        unsigned idle; /* threads that sleep, or are about to and have seen the lanes empty */
        struct lane lane[N_LANES];
        size_t max_queue;
        unsigned max_limited;     /* threads that may be in jobs of lanes with a limit, together */
        enum objm_pool_lane last; /* that a job was taken from */
        bool stopped;
        struct objm_qsbr *qsbr;
        char name[12];
        uint64_t full;
        unsigned n_threads, n_joined;
        struct seat seat[];
};

static void lane_init(struct lane *l, unsigned limit)
{
        *l = (struct lane){.limit = limit};
        l->tail = &l->head;
}

static void lane_push(struct lane *l, struct objm_job *job)
{
        job->next = NULL;
        *l->tail = job;
        l->tail = &job->next;
        l->length++;
}

static struct objm_job *lane_pop(struct lane *l)
{
        struct objm_job *job = l->head;

        if (!job)
                return NULL;
        l->head = job->next;
        if (!l->head)
                l->tail = &l->head;
        l->length--;
        return job;
}

static bool may_run_locked(const struct objm_pool *p, enum objm_pool_lane lane)
{
        const struct lane *l = &p->lane[lane];

        if (lane == OBJM_LANE_REQUEST)
                return l->head;
        return l->head && l->running < l->limit &&
               p->lane[OBJM_LANE_COLD].running + p->lane[OBJM_LANE_BACKGROUND].running < p->max_limited;
}

static struct objm_job *next_job_locked(struct objm_pool *p, enum objm_pool_lane *ret_lane)
{
        /* By the last one: requests and cold jobs take turns, and without requests cold jobs and the background. */
        static const enum objm_pool_lane order[N_LANES][N_LANES] = {
                [OBJM_LANE_REQUEST] = {OBJM_LANE_COLD, OBJM_LANE_REQUEST, OBJM_LANE_BACKGROUND},
                [OBJM_LANE_BACKGROUND] = {OBJM_LANE_REQUEST, OBJM_LANE_COLD, OBJM_LANE_BACKGROUND},
                [OBJM_LANE_COLD] = {OBJM_LANE_REQUEST, OBJM_LANE_BACKGROUND, OBJM_LANE_COLD},
        };

        for (unsigned i = 0; i < N_LANES; i++) {
                enum objm_pool_lane lane = order[p->last][i];

                if (!may_run_locked(p, lane))
                        continue;
                p->lane[lane].running += lane != OBJM_LANE_REQUEST;
                p->last = lane;
                *ret_lane = lane;
                return lane_pop(&p->lane[lane]);
        }
        return NULL;
}

static void ring(struct objm_pool *p)
{
        uint64_t one = 1;

        (void)!write(p->bell_fd, &one, sizeof(one));
}

static bool more_to_do_locked(const struct objm_pool *p)
{
        for (unsigned i = 0; i < N_LANES; i++)
                if (may_run_locked(p, i))
                        return true;
        return false;
}

static bool over_locked(const struct objm_pool *p)
{
        for (unsigned i = 0; i < N_LANES; i++)
                if (p->lane[i].head)
                        return false;
        return p->stopped;
}

/* A descriptor that is ready, if there is one; waits up to @timeout_ms. */
static struct objm_job *ready_job(struct objm_pool *p, int timeout_ms)
{
        struct epoll_event ev;
        struct objm_pool_source *s;

        if (epoll_wait(p->epoll_fd, &ev, 1, timeout_ms) != 1 || !ev.data.ptr)
                return NULL;
        s = ev.data.ptr;
        (void)atomic_load_explicit(&s->waits, memory_order_acquire);
        return &s->job;
}

/* Takes a job out of the lanes; when there is none this thread counts as idle. *ret_over: no work will come. */
static struct objm_job *queued_job(struct objm_pool *p, enum objm_pool_lane *ret_lane, bool *ret_over)
{
        struct objm_job *job;

        pthread_mutex_lock(&p->lock);
        job = next_job_locked(p, ret_lane);
        *ret_over = !job && over_locked(p);
        p->idle += !job && !*ret_over;
        if (*ret_over || (p->idle && more_to_do_locked(p)))
                ring(p);
        pthread_mutex_unlock(&p->lock);
        return job;
}

static void no_longer_idle(struct objm_pool *p)
{
        pthread_mutex_lock(&p->lock);
        p->idle--;
        pthread_mutex_unlock(&p->lock);
}

/*
 * Waits for a job; NULL when the pool has stopped and this thread has no more to do. Descriptors and lanes take turns,
 * so that neither starves the other.
 */
static struct objm_job *wait_for_job(struct objm_pool *p, enum objm_pool_lane *ret_lane, bool *lanes_first)
{
        struct objm_job *job = *lanes_first ? NULL : ready_job(p, 0);
        bool over = false;

        *lanes_first = !*lanes_first;
        while (!job) {
                job = queued_job(p, ret_lane, &over);
                if (job || over)
                        return job;
                job = ready_job(p, -1);
                no_longer_idle(p);
        }
        *ret_lane = OBJM_LANE_REQUEST;
        return job;
}

/* A thread that waits because a lane had its share may go on now. */
static void leave_lane(struct objm_pool *p, enum objm_pool_lane lane)
{
        pthread_mutex_lock(&p->lock);
        p->lane[lane].running--;
        if (p->idle && (p->stopped || more_to_do_locked(p)))
                ring(p);
        pthread_mutex_unlock(&p->lock);
}

static void run(struct seat *s, struct objm_job *job, enum objm_pool_lane lane, struct objm_qsbr_reader *reader)
{
        uint64_t start = objm_clock_ns(), queued = job->queued_ns;

        if (queued && lane != OBJM_LANE_BACKGROUND)
                objm_tally_record(&s->wait, start > queued ? start - queued : 0, 1);
        atomic_store_explicit(&s->since, start, memory_order_relaxed);
        objm_qsbr_online(reader);
        job->run(job, reader);
        objm_qsbr_offline(reader);
        objm_tally_add(&s->work_ns, objm_clock_ns() - start);
        objm_tally_add(&s->jobs, 1);
        atomic_store_explicit(&s->since, 0, memory_order_relaxed);
}

static void take_name(const struct seat *s)
{
        char name[16];

        snprintf(name, sizeof(name), "%s-%u", s->pool->name, (unsigned)(s - s->pool->seat) % 1000);
        pthread_setname_np(pthread_self(), name);
}

static void *pool_thread(void *arg)
{
        struct seat *s = arg;
        struct objm_pool *p = s->pool;
        struct objm_qsbr_reader reader;
        enum objm_pool_lane lane;
        struct objm_job *job;
        bool lanes_first = true;

        take_name(s);
        objm_qsbr_register(p->qsbr, &reader);
        while ((job = wait_for_job(p, &lane, &lanes_first))) {
                run(s, job, lane, &reader);
                if (lane != OBJM_LANE_REQUEST)
                        leave_lane(p, lane);
                objm_qsbr_poll(p->qsbr);
        }
        objm_qsbr_unregister(&reader);
        return NULL;
}

/* Every signal belongs to other threads. */
static int start_thread(struct objm_pool *p, const pthread_attr_t *attr)
{
        struct seat *s = &p->seat[p->n_threads];
        int r;

        s->pool = p;
        r = pthread_create(&s->thread, attr, pool_thread, s);
        if (r)
                return -r;
        p->n_threads++;
        return 0;
}

static int start_threads(struct objm_pool *p, unsigned threads)
{
        pthread_attr_t attr;
        sigset_t all;
        int r = -pthread_attr_init(&attr);

        if (r)
                return r;
        sigfillset(&all);
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        pthread_attr_setsigmask_np(&attr, &all);
        while (r == 0 && p->n_threads < threads)
                r = start_thread(p, &attr);
        pthread_attr_destroy(&attr);
        return r;
}

static int open_bell(struct objm_pool *p)
{
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

        p->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (p->bell_fd < 0 || p->epoll_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->bell_fd, &ev) < 0)
                return -errno;
        return 0;
}

int objm_pool_new(unsigned threads, size_t max_queue, const char *name, struct objm_qsbr *qsbr, struct objm_pool **ret)
{
        struct objm_pool *p;
        int r;

        if (threads == 0)
                return -EINVAL;
        p = calloc(1, sizeof(*p) + threads * sizeof(p->seat[0]));
        if (!p)
                return -ENOMEM;
        pthread_mutex_init(&p->lock, NULL);
        for (unsigned i = 0; i < N_LANES; i++)
                lane_init(&p->lane[i], threads > 1 ? threads / 2 : 1);
        p->max_queue = max_queue;
        p->last = OBJM_LANE_BACKGROUND;
        p->max_limited = threads > 1 ? threads - 1 : 1;
        p->qsbr = qsbr;
        snprintf(p->name, sizeof(p->name), "%s", name);
        r = open_bell(p);
        if (r == 0)
                r = start_threads(p, threads);
        if (r < 0) {
                objm_pool_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

static size_t queued_locked(const struct objm_pool *p)
{
        return p->lane[OBJM_LANE_REQUEST].length + p->lane[OBJM_LANE_COLD].length;
}

int objm_pool_submit(struct objm_pool *p, struct objm_job *job, enum objm_pool_lane lane)
{
        int r = 0;

        job->queued_ns = objm_clock_ns();
        pthread_mutex_lock(&p->lock);
        if (p->stopped)
                r = OBJM_POOL_STOPPED;
        else if (lane != OBJM_LANE_BACKGROUND && queued_locked(p) >= p->max_queue)
                r = OBJM_POOL_FULL;
        else
                lane_push(&p->lane[lane], job);
        if (r == 0 && p->idle)
                ring(p);
        p->full += r == OBJM_POOL_FULL;
        pthread_mutex_unlock(&p->lock);
        return r;
}

int objm_pool_wait(struct objm_pool *p, struct objm_pool_source *s, uint32_t events)
{
        struct epoll_event ev = {.events = events | EPOLLONESHOT, .data.ptr = s};
        int op = s->known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

        s->job.queued_ns = 0;
        s->known = true; /* before: the job may run and look at this at once */
        atomic_fetch_add_explicit(&s->waits, 1, memory_order_release); /* pairs with ready_job() */
        if (epoll_ctl(p->epoll_fd, op, s->fd, &ev) == 0)
                return 0;
        s->known = op == EPOLL_CTL_MOD;
        return -errno;
}

void objm_pool_forget(struct objm_pool *p, struct objm_pool_source *s)
{
        if (s->known)
                epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        s->known = false;
}

unsigned objm_pool_threads(const struct objm_pool *p)
{
        return p->n_threads;
}

size_t objm_pool_queued(struct objm_pool *p)
{
        size_t n;

        pthread_mutex_lock(&p->lock);
        n = p->lane[OBJM_LANE_REQUEST].length;
        pthread_mutex_unlock(&p->lock);
        return n;
}

static void count_seat(const struct seat *s, uint64_t now, struct objm_pool_counts *into)
{
        uint64_t since = objm_tally_get(&s->since);

        into->busy += since != 0;
        into->work_ns += objm_tally_get(&s->work_ns) + (since && now > since ? now - since : 0);
        into->jobs += objm_tally_get(&s->jobs);
        objm_tally_merge(&into->wait, &s->wait);
}

void objm_pool_count(struct objm_pool *p, struct objm_pool_counts *ret)
{
        uint64_t now = objm_clock_ns();

        memset(ret, 0, sizeof(*ret));
        pthread_mutex_lock(&p->lock);
        ret->threads = p->n_threads;
        ret->requests = p->lane[OBJM_LANE_REQUEST].length;
        ret->cold = p->lane[OBJM_LANE_COLD].length;
        ret->background = p->lane[OBJM_LANE_BACKGROUND].length;
        ret->full = p->full;
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < ret->threads; i++)
                count_seat(&p->seat[i], now, ret);
}

void objm_pool_stop(struct objm_pool *p)
{
        pthread_mutex_lock(&p->lock);
        p->stopped = true;
        ring(p);
        pthread_mutex_unlock(&p->lock);
        while (p->n_joined < p->n_threads)
                pthread_join(p->seat[p->n_joined++].thread, NULL);
}

void objm_pool_free(struct objm_pool *p)
{
        if (!p)
                return;
        objm_pool_stop(p);
        objm_fd_close(p->epoll_fd);
        objm_fd_close(p->bell_fd);
        pthread_mutex_destroy(&p->lock);
        free(p);
}
