/* SPDX-License-Identifier: MIT */
#include "concurrency/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A job that says that it runs and then waits to be let go. */
struct job {
        struct objm_job job;
        sem_t *running, *go; /* either may be NULL */
        _Atomic int *count;
        int order;
};

static void run(struct objm_job *j, struct objm_qsbr_reader *r)
{
        struct job *job = objm_container_of(j, struct job, job);

        assert_true(atomic_load(&r->seen) != 0);
        job->order = atomic_fetch_add(job->count, 1);
        if (job->running)
                sem_post(job->running);
        if (job->go)
                sem_wait(job->go);
}

struct fixture {
        struct objm_qsbr *q;
        struct objm_pool *p;
        sem_t running, go;
        _Atomic int count;
};

static struct fixture fixture_new(unsigned threads, size_t max_queue)
{
        struct fixture f = {0};

        assert_int_equal(objm_qsbr_new(&f.q), 0);
        assert_int_equal(objm_pool_new(threads, max_queue, "test", f.q, &f.p), 0);
        sem_init(&f.running, 0, 0);
        sem_init(&f.go, 0, 0);
        return f;
}

static void fixture_free(struct fixture *f)
{
        objm_pool_free(f->p);
        objm_qsbr_free(f->q);
        sem_destroy(&f->running);
        sem_destroy(&f->go);
}

static struct job job_new(struct fixture *f, bool blocks)
{
        return (struct job){
                .job.run = run, .running = &f->running, .go = blocks ? &f->go : NULL, .count = &f->count, .order = -1};
}

static void runs_what_is_submitted(void **state)
{
        struct fixture f = fixture_new(3, 1000);
        struct job jobs[500];

        assert_int_equal(objm_pool_threads(f.p), 3);
        for (int i = 0; i < 500; i++) {
                jobs[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &jobs[i].job, i % 3), 0);
        }
        objm_pool_stop(f.p);
        assert_int_equal(atomic_load(&f.count), 500);
        fixture_free(&f);
}

static void bounds_the_request_lane(void **state)
{
        struct fixture f = fixture_new(1, 2);
        struct job jobs[4];

        for (int i = 0; i < 4; i++)
                jobs[i] = job_new(&f, true);
        assert_int_equal(objm_pool_submit(f.p, &jobs[0].job, OBJM_LANE_REQUEST), 0);
        sem_wait(&f.running);
        assert_int_equal(objm_pool_submit(f.p, &jobs[1].job, OBJM_LANE_REQUEST), 0);
        assert_int_equal(objm_pool_submit(f.p, &jobs[2].job, OBJM_LANE_REQUEST), 0);
        assert_int_equal(objm_pool_queued(f.p), 2);
        assert_int_equal(objm_pool_submit(f.p, &jobs[3].job, OBJM_LANE_REQUEST), OBJM_POOL_FULL);
        for (int i = 0; i < 3; i++)
                sem_post(&f.go);
        objm_pool_stop(f.p);
        assert_int_equal(atomic_load(&f.count), 3);
        fixture_free(&f);
}

/* Four threads: two may be in the background, however much of it waits; the others serve requests. */
static void background_takes_half_at_most(void **state)
{
        struct fixture f = fixture_new(4, 100);
        struct job background[6], request[20];
        sem_t quiet;

        sem_init(&quiet, 0, 0);
        for (int i = 0; i < 6; i++) {
                background[i] = job_new(&f, true);
                background[i].running = &quiet;
                assert_int_equal(objm_pool_submit(f.p, &background[i].job, OBJM_LANE_BACKGROUND), 0);
        }
        sem_wait(&quiet);
        sem_wait(&quiet);
        for (int i = 0; i < 20; i++) {
                request[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &request[i].job, OBJM_LANE_REQUEST), 0);
        }
        for (int i = 0; i < 20; i++)
                sem_wait(&f.running);
        assert_int_equal(atomic_load(&f.count), 22);
        for (int i = 0; i < 6; i++)
                sem_post(&f.go);
        objm_pool_stop(f.p);
        assert_int_equal(atomic_load(&f.count), 26);
        sem_destroy(&quiet);
        fixture_free(&f);
}

/* Nor may both together hold all threads; nor do cold jobs wait as long as there are requests. */
static void one_thread_is_left_to_requests(void **state)
{
        struct fixture f = fixture_new(4, 100);
        struct job slow[8], request[20];
        sem_t quiet;

        sem_init(&quiet, 0, 0);
        for (int i = 0; i < 8; i++) {
                slow[i] = job_new(&f, true);
                slow[i].running = &quiet;
                assert_int_equal(objm_pool_submit(f.p, &slow[i].job, i % 2 ? OBJM_LANE_COLD : OBJM_LANE_BACKGROUND),
                                 0);
        }
        for (int i = 0; i < 3; i++)
                sem_wait(&quiet);
        for (int i = 0; i < 20; i++) {
                request[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &request[i].job, OBJM_LANE_REQUEST), 0);
                sem_wait(&f.running);
        }
        assert_int_equal(sem_trywait(&quiet), -1);
        for (int i = 0; i < 8; i++)
                sem_post(&f.go);
        objm_pool_stop(f.p);
        assert_int_equal(atomic_load(&f.count), 28);
        sem_destroy(&quiet);
        fixture_free(&f);
}

static void cold_jobs_and_requests_take_turns(void **state)
{
        struct fixture f = fixture_new(1, 100);
        struct job first = job_new(&f, true), request[10], cold[5];

        assert_int_equal(objm_pool_submit(f.p, &first.job, OBJM_LANE_REQUEST), 0);
        sem_wait(&f.running);
        for (int i = 0; i < 10; i++) {
                request[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &request[i].job, OBJM_LANE_REQUEST), 0);
        }
        for (int i = 0; i < 5; i++) {
                cold[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &cold[i].job, OBJM_LANE_COLD), 0);
        }
        sem_post(&f.go);
        objm_pool_stop(f.p);
        for (int i = 0; i < 5; i++)
                assert_int_equal(cold[i].order, 2 * i + 1);
        fixture_free(&f);
}

static void cold_jobs_and_the_background_take_turns(void **state)
{
        struct fixture f = fixture_new(1, 100);
        struct job first = job_new(&f, true), cold[10], background[5];

        assert_int_equal(objm_pool_submit(f.p, &first.job, OBJM_LANE_REQUEST), 0);
        sem_wait(&f.running);
        for (int i = 0; i < 10; i++) {
                cold[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &cold[i].job, OBJM_LANE_COLD), 0);
        }
        for (int i = 0; i < 5; i++) {
                background[i] = job_new(&f, false);
                assert_int_equal(objm_pool_submit(f.p, &background[i].job, OBJM_LANE_BACKGROUND), 0);
        }
        sem_post(&f.go);
        objm_pool_stop(f.p);
        for (int i = 0; i < 5; i++)
                assert_int_equal(background[i].order, 2 * i + 2);
        fixture_free(&f);
}

static void requests_go_first(void **state)
{
        struct fixture f = fixture_new(1, 100);
        struct job first = job_new(&f, true), background = job_new(&f, false), request = job_new(&f, false);

        assert_int_equal(objm_pool_submit(f.p, &first.job, OBJM_LANE_REQUEST), 0);
        sem_wait(&f.running);
        assert_int_equal(objm_pool_submit(f.p, &background.job, OBJM_LANE_BACKGROUND), 0);
        assert_int_equal(objm_pool_submit(f.p, &request.job, OBJM_LANE_REQUEST), 0);
        sem_post(&f.go);
        objm_pool_stop(f.p);
        assert_int_equal(request.order, 1);
        assert_int_equal(background.order, 2);
        fixture_free(&f);
}

static void refuses_after_stop(void **state)
{
        struct fixture f = fixture_new(2, 10);
        struct job j = job_new(&f, false);

        objm_pool_stop(f.p);
        objm_pool_stop(f.p);
        assert_int_equal(objm_pool_submit(f.p, &j.job, OBJM_LANE_REQUEST), OBJM_POOL_STOPPED);
        assert_int_equal(objm_pool_submit(f.p, &j.job, OBJM_LANE_BACKGROUND), OBJM_POOL_STOPPED);
        assert_int_equal(atomic_load(&f.count), 0);
        fixture_free(&f);
        assert_int_equal(objm_pool_new(0, 1, "none", NULL, &f.p), -EINVAL);
        objm_pool_free(NULL);
}

struct submitter {
        pthread_t thread;
        struct fixture *f;
        struct job jobs[300];
};

static void *submit_all(void *arg)
{
        struct submitter *s = arg;

        for (int i = 0; i < 300; i++) {
                s->jobs[i] = job_new(s->f, false);
                s->jobs[i].running = NULL;
                assert_int_equal(objm_pool_submit(s->f->p, &s->jobs[i].job, i % 3 == 0), 0);
        }
        return NULL;
}

static void many_may_submit_at_once(void **state)
{
        struct fixture f = fixture_new(4, 10000);
        static struct submitter s[3];

        for (int i = 0; i < 3; i++) {
                s[i].f = &f;
                assert_int_equal(pthread_create(&s[i].thread, NULL, submit_all, &s[i]), 0);
        }
        for (int i = 0; i < 3; i++)
                pthread_join(s[i].thread, NULL);
        objm_pool_stop(f.p);
        assert_int_equal(atomic_load(&f.count), 900);
        fixture_free(&f);
}

struct echo {
        struct objm_pool_source source;
        struct objm_pool *pool;
        atomic_uint runs;
        unsigned wanted;
        bool failed; /* to receive */
};

/* Takes one byte and waits for the next one, up to `wanted` times. From wait() on, the job is another thread's. */
static void run_echo(struct objm_job *job, struct objm_qsbr_reader *r)
{
        struct echo *e = objm_container_of(job, struct echo, source.job);
        unsigned runs = atomic_load(&e->runs) + 1;
        char c;

        if (recv(e->source.fd, &c, 1, MSG_DONTWAIT) != 1)
                e->failed = true;
        if (runs >= e->wanted)
                objm_pool_forget(e->pool, &e->source);
        atomic_store(&e->runs, runs);
        if (runs < e->wanted && objm_pool_wait(e->pool, &e->source, EPOLLIN) < 0)
                abort();
}

/* More jobs wait for sockets than there are threads, others go through the lanes meanwhile; each runs once a byte. */
static void waits_for_descriptors(void **state)
{
        enum { ECHOES = 20, BYTES = 200 };
        struct echo echoes[ECHOES];
        struct fixture f = fixture_new(2, 100);
        int pairs[ECHOES][2];

        for (unsigned i = 0; i < ECHOES; i++) {
                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
                echoes[i] = (struct echo){.pool = f.p, .wanted = BYTES,
                                          .source = {.fd = pairs[i][0], .job.run = run_echo}};
                assert_int_equal(objm_pool_wait(f.p, &echoes[i].source, EPOLLIN), 0);
        }
        for (unsigned k = 0; k < BYTES; k++)
                for (unsigned i = 0; i < ECHOES; i++)
                        assert_int_equal(send(pairs[i][1], "x", 1, 0), 1);
        for (unsigned i = 0; i < ECHOES; i++) {
                while (atomic_load(&echoes[i].runs) < BYTES)
                        sched_yield();
                assert_false(echoes[i].failed);
                assert_false(echoes[i].source.known);
        }
        fixture_free(&f);
        for (unsigned i = 0; i < ECHOES; i++) {
                close(pairs[i][0]);
                close(pairs[i][1]);
        }
}

/* The other end going away is an event too. */
static void hang_up_wakes(void **state)
{
        struct echo e;
        struct fixture f = fixture_new(1, 100);
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        e = (struct echo){.pool = f.p, .wanted = 1, .source = {.fd = pair[0], .job.run = run_echo}};
        assert_int_equal(objm_pool_wait(f.p, &e.source, EPOLLOUT | EPOLLIN), 0);
        while (!atomic_load(&e.runs)) /* writable at once */
                sched_yield();
        atomic_store(&e.runs, 0);
        assert_int_equal(objm_pool_wait(f.p, &e.source, EPOLLIN), 0);
        close(pair[1]);
        while (!atomic_load(&e.runs))
                sched_yield();
        fixture_free(&f);
        close(pair[0]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(runs_what_is_submitted),
                cmocka_unit_test(bounds_the_request_lane),
                cmocka_unit_test(background_takes_half_at_most),
                cmocka_unit_test(one_thread_is_left_to_requests),
                cmocka_unit_test(cold_jobs_and_requests_take_turns),
                cmocka_unit_test(cold_jobs_and_the_background_take_turns),
                cmocka_unit_test(requests_go_first),
                cmocka_unit_test(refuses_after_stop),
                cmocka_unit_test(many_may_submit_at_once),
                cmocka_unit_test(waits_for_descriptors),
                cmocka_unit_test(hang_up_wakes),
        };

        return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
