/* SPDX-License-Identifier: MIT */
#include "concurrency/crew.h"

#include "threads.h"

#include <semaphore.h>

#define IDLE_MS 20

static struct objm_qsbr *qsbr;

/* Runs until it is let go. */
struct work {
        struct objm_job job;
        sem_t running, go;
        _Atomic(pthread_t) thread;
        atomic_uint runs;
};

static void run(struct objm_job *job, struct objm_qsbr_reader *r)
{
        struct work *w = objm_container_of(job, struct work, job);

        CHECK(atomic_load(&r->seen) != 0);
        atomic_store(&w->thread, pthread_self());
        sem_post(&w->running);
        sem_wait(&w->go);
        atomic_fetch_add(&w->runs, 1);
}

static void work_init(struct work *w)
{
        *w = (struct work){.job.run = run};
        sem_init(&w->running, 0, 0);
        sem_init(&w->go, 0, 0);
}

static struct objm_crew *new_crew(unsigned max, unsigned idle_ms)
{
        struct objm_crew *c;

        assert_int_equal(objm_crew_new(max, idle_ms, "crew", qsbr, &c), 0);
        return c;
}

static void start(struct objm_crew *c, struct work *w)
{
        work_init(w);
        assert_int_equal(objm_crew_run(c, &w->job), 0);
        sem_wait(&w->running);
}

static void full_when_all_are_busy(void **state)
{
        struct objm_crew *c = new_crew(3, 60000);
        struct work w[3], other;

        work_init(&other);
        for (int i = 0; i < 3; i++)
                start(c, &w[i]);
        assert_int_equal(objm_crew_run(c, &other.job), OBJM_CREW_BUSY);
        sem_post(&other.go);
        sem_post(&w[1].go);
        while (objm_crew_run(c, &other.job) == OBJM_CREW_BUSY)
                sched_yield();
        sem_post(&w[0].go);
        sem_post(&w[2].go);
        objm_crew_free(c);
        assert_int_equal(atomic_load(&other.runs), 1);
        assert_int_equal(atomic_load(&w[0].runs) + atomic_load(&w[1].runs) + atomic_load(&w[2].runs), 3);
}

/* A refused job makes one of the others end, not all of them, however often it is refused. */
static void refusals_are_passed_on_once(void **state)
{
        struct objm_crew *c = new_crew(2, 60000);
        struct work w[2], other;

        work_init(&other);
        assert_false(objm_crew_wanted(c));
        for (int i = 0; i < 2; i++)
                start(c, &w[i]);
        assert_false(objm_crew_wanted(c));
        assert_int_equal(objm_crew_run(c, &other.job), OBJM_CREW_BUSY);
        assert_true(objm_crew_wanted(c));
        assert_false(objm_crew_wanted(c));
        for (int i = 0; i < 10; i++)
                assert_int_equal(objm_crew_run(c, &other.job), OBJM_CREW_BUSY);
        assert_true(objm_crew_wanted(c));
        assert_true(objm_crew_wanted(c));
        assert_false(objm_crew_wanted(c));
        sem_post(&w[0].go);
        sem_post(&w[1].go);
        objm_crew_free(c);
        assert_int_equal(atomic_load(&other.runs), 0);
}

static void one_thread_does_one_job_after_the_other(void **state)
{
        struct objm_crew *c = new_crew(1, 60000);
        struct work w;
        pthread_t first;

        wait_for_threads_to_leave();
        start(c, &w);
        first = atomic_load(&w.thread);
        for (int i = 0; i < 100; i++) {
                sem_post(&w.go);
                while (objm_crew_run(c, &w.job) == OBJM_CREW_BUSY)
                        sched_yield();
                sem_wait(&w.running);
                assert_true(pthread_equal(atomic_load(&w.thread), first));
                assert_int_equal(count_threads(), threads_at_rest + 1);
        }
        sem_post(&w.go);
        objm_crew_free(c);
        assert_int_equal(atomic_load(&w.runs), 101);
        wait_for_threads_to_leave();
}

static void idle_threads_end_and_others_come(void **state)
{
        struct objm_crew *c = new_crew(8, IDLE_MS);
        struct work w[3][8];

        wait_for_threads_to_leave();
        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 8; i++)
                        start(c, &w[round][i]);
                assert_int_equal(count_threads(), threads_at_rest + 8);
                for (int i = 0; i < 8; i++)
                        sem_post(&w[round][i].go);
                wait_for_threads_to_leave();
        }
        objm_crew_free(c);
}

struct count_job {
        struct objm_job job;
        atomic_uint *done;
        atomic_bool free;
};

static void count_one(struct objm_job *job, struct objm_qsbr_reader *r)
{
        struct count_job *j = objm_container_of(job, struct count_job, job);

        atomic_fetch_add(j->done, 1);
        atomic_store(&j->free, true);
}

struct caller {
        pthread_t thread;
        struct objm_crew *crew;
        atomic_uint *done;
        unsigned taken;
};

#define CALLS 2000
#define JOBS  4

static void *call_often(void *arg)
{
        struct caller *by = arg;
        struct count_job jobs[JOBS];

        for (int i = 0; i < JOBS; i++)
                jobs[i] = (struct count_job){.job.run = count_one, .done = by->done, .free = true};
        for (int i = 0; i < CALLS; i++) {
                struct count_job *j = &jobs[i % JOBS];

                if (!atomic_exchange(&j->free, false))
                        continue;
                if (objm_crew_run(by->crew, &j->job) == 0)
                        by->taken++;
                else
                        atomic_store(&j->free, true);
        }
        for (int i = 0; i < JOBS; i++)
                while (!atomic_load(&jobs[i].free))
                        sched_yield();
        return NULL;
}

/* With threads that end at once, so that calls meet those that are about to. */
static void every_job_taken_runs_once(void **state)
{
        struct objm_crew *c = new_crew(3, 0);
        struct caller by[4];
        atomic_uint done = 0;
        unsigned taken = 0;

        for (int i = 0; i < 4; i++) {
                by[i] = (struct caller){.crew = c, .done = &done};
                assert_int_equal(pthread_create(&by[i].thread, NULL, call_often, &by[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
                pthread_join(by[i].thread, NULL);
                taken += by[i].taken;
        }
        objm_crew_free(c);
        assert_true(taken > 0);
        assert_int_equal(atomic_load(&done), taken);
}

static void nothing_to_free(void **state)
{
        objm_crew_free(NULL);
        objm_crew_free(new_crew(1, 60000));
}

static int set_up(void **state)
{
        return objm_qsbr_new(&qsbr) || count_threads_at_rest(state);
}

static int tear_down(void **state)
{
        objm_qsbr_free(qsbr);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(full_when_all_are_busy),
                counted_test(refusals_are_passed_on_once),
                counted_test(one_thread_does_one_job_after_the_other),
                counted_test(idle_threads_end_and_others_come),
                counted_test(every_job_taken_runs_once),
                counted_test(nothing_to_free),
        };

        return cmocka_run_group_tests_name("crew", tests, set_up, tear_down);
}
