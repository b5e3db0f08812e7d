/* SPDX-License-Identifier: MIT */
#include "objmapperd/pulse.h"

#include "resources.h"

#include <pthread.h>

#define LOOPS 3

static struct objm_loop home, loops[LOOPS];
static struct beat beats[LOOPS];
static struct pulse pulse;
static unsigned rounds;

static void on_answered(struct pulse *p)
{
        rounds++;
}

static int open_loops(void **state)
{
        int r;

        count_before(state);
        r = objm_loop_init(&home);
        for (unsigned i = 0; r == 0 && i < LOOPS; i++) {
                beats[i] = (struct beat){0};
                r = objm_loop_init(&loops[i]);
        }
        pulse_init(&pulse, &home, on_answered);
        rounds = 0;
        return r;
}

static int close_loops(void **state)
{
        objm_loop_deinit(&home);
        for (unsigned i = 0; i < LOOPS; i++)
                objm_loop_deinit(&loops[i]);
        return count_after(state);
}

static int turn(struct objm_loop *l, int timeout_ms)
{
        int n = objm_loop_wait(l, timeout_ms);

        objm_loop_dispatch(l);
        return n;
}

static void ask(unsigned n)
{
        assert_true(pulse_begin(&pulse));
        for (unsigned i = 0; i < n; i++)
                pulse_ask(&pulse, &beats[i], &loops[i]);
        pulse_end(&pulse);
}

static void the_last_answer_ends_the_round(void **state)
{
        ask(LOOPS);
        for (unsigned i = 0; i < LOOPS; i++) {
                turn(&home, 0);
                assert_int_equal(rounds, 0);
                assert_false(pulse_begin(&pulse));
                assert_int_equal(turn(&loops[i], 0), 1);
        }
        turn(&home, 0);
        assert_int_equal(rounds, 1);
        ask(LOOPS);
}

static void a_round_without_loops_is_one(void **state)
{
        ask(0);
        turn(&home, 0);
        assert_int_equal(rounds, 1);
}

static void a_loop_that_hangs_is_asked_once(void **state)
{
        ask(2);
        turn(&loops[0], 0);
        turn(&home, 0);
        assert_false(pulse_begin(&pulse));
        assert_int_equal(rounds, 0);
        assert_int_equal(turn(&loops[1], 0), 1);
        assert_int_equal(turn(&loops[1], 0), 0);
        turn(&home, 0);
        assert_int_equal(rounds, 1);
}

static void what_is_forgotten_is_not_waited_for(void **state)
{
        pulse_forget(&beats[0]); /* never asked */
        ask(2);
        turn(&loops[0], 0);
        pulse_forget(&beats[0]); /* has answered */
        turn(&home, 0);
        assert_int_equal(rounds, 0);
        pulse_forget(&beats[1]);
        turn(&home, 0);
        assert_int_equal(rounds, 1);
        turn(&loops[1], 0); /* its mail counts no more */
        turn(&home, 0);
        assert_int_equal(rounds, 1);
}

static atomic_bool enough;

static void *turn_until_enough(void *arg)
{
        while (!atomic_load(&enough))
                turn(arg, 1);
        return NULL;
}

static void threads_answer(void **state)
{
        pthread_t threads[LOOPS];

        atomic_store(&enough, false);
        for (unsigned i = 0; i < LOOPS; i++)
                CHECK(pthread_create(&threads[i], NULL, turn_until_enough, &loops[i]) == 0);
        for (unsigned n = 1; n <= 200; n++) {
                ask(LOOPS);
                while (rounds < n)
                        CHECK(turn(&home, 60000) > 0);
        }
        atomic_store(&enough, true);
        for (unsigned i = 0; i < LOOPS; i++)
                pthread_join(threads[i], NULL);
}

#define pulse_test(f) cmocka_unit_test_setup_teardown(f, open_loops, close_loops)

int main(void)
{
        const struct CMUnitTest tests[] = {
                pulse_test(the_last_answer_ends_the_round),
                pulse_test(a_round_without_loops_is_one),
                pulse_test(a_loop_that_hangs_is_asked_once),
                pulse_test(what_is_forgotten_is_not_waited_for),
                pulse_test(threads_answer),
        };

        return cmocka_run_group_tests_name("pulse", tests, NULL, NULL);
}
