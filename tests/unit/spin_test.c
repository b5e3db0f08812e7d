/* SPDX-License-Identifier: MIT */
#include "base/spin.h"

#include "base/clock.h"
#include "base/fd.h"
#include "resources.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>

#define PAUSE_MAX (128 * OBJM_NS_PER_MS)

/* A spinner that spins, also where this test may use one CPU only. */
static struct objm_spin new_spin(void)
{
        struct objm_spin s;

        objm_spin_init(&s, UINT32_MAX);
        s.budget_ns = UINT32_MAX;
        return s;
}

/* One occasion that finds nothing. False: it was passed by. */
static bool miss(struct objm_spin *s)
{
        s->debt = 0; /* that this test loses its CPU is another rule */
        if (!objm_spin_begin(s))
                return false;
        objm_spin_end(s, false);
        return true;
}

/* One that does; another process may take the CPU in between, and then it does not count. */
static bool hit(struct objm_spin *s)
{
        s->debt = 0;
        if (!objm_spin_begin(s))
                return false;
        (void)objm_spin_more(s);
        objm_spin_end(s, true);
        return true;
}

/* How many occasions pass before the next one is taken. */
static unsigned passed_by(struct objm_spin *s)
{
        unsigned n = 0;

        while (!miss(s))
                n++;
        return n;
}

static void no_budget_no_spin(void **state)
{
        struct objm_spin s;

        objm_spin_init(&s, 0);
        for (int i = 0; i < 10; i++)
                assert_false(objm_spin_begin(&s));
}

static void one_cpu(void)
{
        cpu_set_t set;
        struct objm_spin s;

        CPU_ZERO(&set);
        CPU_SET(sched_getcpu(), &set);
        CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
        objm_spin_init(&s, OBJM_SPIN_DEFAULT_NS);
        CHECK(!objm_spin_begin(&s));
}

static void one_cpu_no_spin(void **state)
{
        in_child(one_cpu);
}

static void budget_ends(void **state)
{
        struct objm_spin s = new_spin();

        assert_true(objm_spin_begin(&s));
        s.start -= s.budget_ns;
        assert_false(objm_spin_more(&s));
}

/* Cheap looks go on for a few more at most. */
static void budget_ends_for_cheap_looks(void **state)
{
        struct objm_spin s = new_spin();
        unsigned n = 0;

        assert_true(objm_spin_begin(&s));
        s.start -= s.budget_ns;
        while (objm_spin_more_often(&s))
                assert_true(++n < OBJM_SPIN_LOOKS);
}

/* Some looks are taken at once; then ever fewer, down to one in about a thousand, and never none. */
static void backs_off_when_it_does_not_pay(void **state)
{
        struct objm_spin s = new_spin();
        unsigned taken = 0, last = 0, n = 0;

        while (miss(&s))
                assert_true(++taken < 100);
        assert_true(taken >= 2);
        for (int i = 0; i < 30; i++) {
                bool disturbed = s.preempted || !s.calm;

                n = passed_by(&s);
                if (disturbed)
                        continue;
                assert_true(n >= last);
                last = n;
        }
        assert_int_equal(last, 1024);
}

static void comes_back_when_it_pays_again(void **state)
{
        struct objm_spin s = new_spin();
        unsigned hits = 0, occasions = 0;

        for (int i = 0; i < 40; i++)
                passed_by(&s);
        while (hits < 200) {
                hits += hit(&s);
                assert_true(++occasions < 1000000);
        }
        while (!hit(&s))
                continue;
        assert_true(s.score >= 256);
        assert_true(miss(&s));
}

/* What came soon after polling was given up is polled for longer, up to a bound; what comes late, as long as usual. */
static void a_near_miss_prolongs_it(void **state)
{
        struct objm_spin s = new_spin();
        uint32_t last = OBJM_SPIN_DEFAULT_NS;

        s.budget_ns = s.usual_ns = OBJM_SPIN_DEFAULT_NS;
        objm_spin_slept(&s); /* after no occasion */
        assert_int_equal(s.budget_ns, OBJM_SPIN_DEFAULT_NS);
        for (int i = 0; i < 10; i++) {
                s.skip = 0;
                assert_true(miss(&s));
                s.in_vain = true; /* also when this test lost its CPU */
                s.start = objm_clock_ns();
                objm_spin_slept(&s);
                assert_true(s.budget_ns >= last && s.budget_ns <= OBJM_SPIN_LATE * OBJM_SPIN_DEFAULT_NS);
                last = s.budget_ns;
        }
        assert_int_equal(last, OBJM_SPIN_LATE * OBJM_SPIN_DEFAULT_NS);
        assert_int_equal(s.skip, 0);
        assert_true(miss(&s));
        s.in_vain = true;
        s.start -= OBJM_NS_PER_S;
        objm_spin_slept(&s);
        assert_int_equal(s.budget_ns, OBJM_SPIN_DEFAULT_NS);
}

/* An occasion on which the kernel gave the CPU to another for @ns. True: polling may go on. */
static bool lose_cpu(struct objm_spin *s, uint64_t ns)
{
        bool more;

        s->skip = 0;
        assert_true(objm_spin_begin(s));
        s->start -= ns;
        s->last -= ns;
        s->switches_seen = -1; /* as if there had been one by now */
        more = objm_spin_more(s);
        objm_spin_end(s, true);
        return more;
}

/* An occasion after many on which the kernel has switched. */
static void be_displaced(struct objm_spin *s)
{
        s->resumes_at = 0;
        s->debt = 0;
        s->sampled = 1000000;
        s->switches = -1000000;
        assert_true(objm_spin_begin(s));
        objm_spin_end(s, true);
        s->debt = 0;
}

/* For how long it stops after the last occasion. */
static uint64_t pause_of(const struct objm_spin *s)
{
        return s->resumes_at - s->last;
}

/* An interrupt, or the hypervisor: nobody here waits for the CPU. Another process may, now and then. */
static bool goes_on_after_stolen_time(void)
{
        struct objm_spin s = new_spin();
        bool more;

        s.budget_ns = OBJM_SPIN_DEFAULT_NS;
        s.switches_seen = LONG_MAX;
        assert_true(objm_spin_begin(&s));
        s.start -= OBJM_NS_PER_MS;
        s.last -= OBJM_NS_PER_MS;
        more = objm_spin_more(&s);
        objm_spin_end(&s, true);
        return more && !s.skip && !s.resumes_at && s.score == 1024;
}

static void stolen_time_is_no_preemption(void **state)
{
        for (int i = 0; i < 20; i++)
                if (goes_on_after_stolen_time())
                        return;
        fail();
}

/* The thread had lost its CPU before the find: that is no success. When that was for long, polling stops for longer. */
static void a_gap_stops_it_and_does_not_count(void **state)
{
        struct objm_spin s = new_spin();
        uint32_t before = s.score;

        assert_false(lose_cpu(&s, 100 * OBJM_NS_PER_MS));
        assert_true(s.score < before);
        s.debt_at = objm_clock_ns();
        assert_false(objm_spin_begin(&s));
        s.debt_at -= OBJM_NS_PER_S;
        assert_true(objm_spin_begin(&s));
        objm_spin_end(&s, true);
        assert_false(lose_cpu(&s, 1000 * OBJM_NS_PER_S));
        s.debt_at -= OBJM_NS_PER_S / 4;
        assert_true(objm_spin_begin(&s));
}

/* Nobody looks at the time before there have been some looks; then the occasion starts, with all of its budget. */
static void untimed_it_starts_with_the_first_time(void **state)
{
        struct objm_spin s = new_spin();

        s.last = 5;
        assert_true(objm_spin_begin_untimed(&s));
        assert_int_equal(s.start, 0);
        objm_spin_end_often(&s, true);
        assert_int_equal(s.last, 5);
        assert_true(objm_spin_begin_untimed(&s));
        assert_true(objm_spin_more(&s));
        assert_true(s.start > 5 && s.start == s.last);
        s.start -= s.budget_ns;
        assert_false(objm_spin_more(&s));
}

static void untimed_it_is_passed_by_as_well(void **state)
{
        struct objm_spin s = new_spin();

        s.last = objm_clock_ns();
        s.resumes_at = s.last + OBJM_NS_PER_S;
        assert_false(objm_spin_begin_untimed(&s));
        s.resumes_at = s.last;
        s.skip = 2;
        assert_false(objm_spin_begin_untimed(&s));
        assert_false(objm_spin_begin_untimed(&s));
        assert_true(objm_spin_begin_untimed(&s));
        objm_spin_init(&s, 0);
        assert_false(objm_spin_begin_untimed(&s));
}

/* What others had while nobody looked at the time shows when somebody does. */
static void a_long_gap_is_seen_afterwards(void **state)
{
        struct objm_spin s = new_spin();

        assert_true(objm_spin_begin(&s));
        objm_spin_end(&s, true);
        assert_true(objm_spin_begin_untimed(&s));
        s.last -= 100 * OBJM_NS_PER_MS;
        s.switches_seen = -1; /* as if there had been one by now */
        assert_false(objm_spin_more(&s));
        assert_true(s.debt > OBJM_SPIN_DEBT_NS);
        objm_spin_end(&s, true);
        assert_false(objm_spin_begin_untimed(&s)); /* which looks at the time while there is a debt */
        s.debt_at -= OBJM_NS_PER_S;
        assert_true(objm_spin_begin_untimed(&s));
        assert_true(s.start > 0);
}

static bool short_gaps_cost_nothing(void)
{
        struct objm_spin s = new_spin();

        for (int i = 0; i < 10; i++)
                if (!lose_cpu(&s, 30 * OBJM_NS_PER_US) || !hit(&s))
                        return false;
        return true;
}

/* A kernel thread that has to run for a moment. Another process may disturb once. */
static void a_short_gap_does_not_stop_it(void **state)
{
        for (int i = 0; i < 20; i++)
                if (short_gaps_cost_nothing())
                        return;
        fail();
}

static bool a_slice_costs_nothing(void)
{
        struct objm_spin s = new_spin();

        return lose_cpu(&s, 4 * OBJM_NS_PER_MS) && lose_cpu(&s, 3 * OBJM_NS_PER_MS) && hit(&s) && !s.resumes_at;
}

/* Polling went on 8 ms later, and at half load what came meanwhile had to wait for as long again. */
static void a_slice_of_the_scheduler_does_not_stop_it(void **state)
{
        for (int i = 0; i < 20; i++)
                if (a_slice_costs_nothing())
                        return;
        fail();
}

/* Many short ones do. */
static void short_gaps_add_up(void **state)
{
        struct objm_spin s = new_spin();
        unsigned n = 1;

        while (lose_cpu(&s, 100 * OBJM_NS_PER_US))
                assert_true(++n < 1000);
}

/* Displaced again soon, it stops for longer each time, up to a bound. */
static void displaced_often_it_stops_for_longer(void **state)
{
        struct objm_spin s = new_spin();
        uint64_t before;

        be_displaced(&s);
        before = pause_of(&s);
        assert_true(before >= OBJM_NS_PER_MS);
        be_displaced(&s);
        assert_int_equal(pause_of(&s), 2 * before);
        for (int i = 0; i < 50; i++)
                be_displaced(&s);
        assert_true(pause_of(&s) <= PAUSE_MAX);
}

/* After a long time without, it is nothing. */
static void calm_makes_good(void **state)
{
        struct objm_spin s = new_spin();
        uint64_t first;

        be_displaced(&s);
        first = pause_of(&s);
        be_displaced(&s);
        s.calm = 1000000;
        be_displaced(&s);
        assert_int_equal(pause_of(&s), first);
}

/* It ends by time: one who seldom has an occasion does not wait for many. */
static void a_pause_ends_however_few_occasions_there_are(void **state)
{
        struct objm_spin s = new_spin();

        be_displaced(&s);
        s.resumes_at += OBJM_NS_PER_S; /* however slow this test is */
        assert_false(objm_spin_begin(&s));
        s.resumes_at = objm_clock_ns();
        assert_true(objm_spin_begin(&s));
}

#define ROUNDS    30000
#define TAIL      10000
#define PASSED_BY 512
#define PROBE     64 /* occasions */

static void onto_this_cpu_alone(pthread_attr_t *attr)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(sched_getcpu(), &set);
        pthread_attr_init(attr);
        assert_int_equal(pthread_attr_setaffinity_np(attr, sizeof(set), &set), 0);
}

static void *answer(void *arg)
{
        int sock = *(int *)arg;
        char byte;

        while (recv(sock, &byte, 1, 0) == 1 && send(sock, &byte, 1, MSG_NOSIGNAL) == 1)
                continue;
        return NULL;
}

static bool poll_for_byte(struct objm_spin *s, int sock)
{
        char byte;
        bool found;

        do
                found = recv(sock, &byte, 1, MSG_DONTWAIT) == 1;
        while (!found && objm_spin_more(s));
        objm_spin_end(s, found);
        return found;
}

/* Returns how many of the last TAIL rounds were polled for, less two probes for each of the longest pauses. */
static void *ask(void *arg)
{
        int sock = *(int *)arg;
        struct objm_spin s = new_spin();
        uint64_t tail_at = 0, probes;
        uintptr_t polled = 0;
        char byte = 0;

        s.budget_ns = OBJM_SPIN_DEFAULT_NS;
        for (int i = 0; i < ROUNDS; i++) {
                bool begun, found;

                if (i == ROUNDS - TAIL)
                        tail_at = objm_clock_ns();
                if (send(sock, &byte, 1, MSG_NOSIGNAL) != 1)
                        break;
                begun = objm_spin_begin(&s);
                found = begun && poll_for_byte(&s, sock);
                polled += begun && i >= ROUNDS - TAIL;
                if (!found && recv(sock, &byte, 1, 0) != 1)
                        break;
        }
        probes = (objm_clock_ns() - tail_at) / PAUSE_MAX * 2 * PROBE;
        shutdown(sock, SHUT_RDWR);
        return (void *)(polled - (probes < polled ? probes : polled));
}

/* The other side answers in a few microseconds, but needs the CPU for it that is being polled on. */
static void stops_for_a_quick_peer_on_the_same_cpu(void **state)
{
        pthread_attr_t here;
        pthread_t a, b;
        void *polled;
        int sock[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
        onto_this_cpu_alone(&here);
        assert_int_equal(pthread_create(&b, &here, answer, &sock[1]), 0);
        assert_int_equal(pthread_create(&a, &here, ask, &sock[0]), 0);
        pthread_attr_destroy(&here);
        pthread_join(a, &polled);
        pthread_join(b, NULL);
        objm_fd_close(sock[0]);
        objm_fd_close(sock[1]);
        assert_in_range((uintptr_t)polled, 0, TAIL / 10);
}

static bool all_taken_after_a_pause(void)
{
        struct objm_spin s = new_spin();

        be_displaced(&s);
        s.resumes_at += OBJM_NS_PER_S;
        for (int i = 0; i < PASSED_BY; i++)
                assert_false(objm_spin_begin(&s));
        s.resumes_at = 0;
        s.switches -= PASSED_BY / 10; /* as if there had been that many more by now */
        for (int i = 0; i < 100; i++)
                if (!hit(&s))
                        return false;
        return true;
}

/* Switches while occasions are passed by say nothing about those that are taken. Another process may disturb once. */
static void a_pause_does_not_prolong_itself(void **state)
{
        for (int i = 0; i < 20; i++)
                if (all_taken_after_a_pause())
                        return;
        fail();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_budget_no_spin),
                cmocka_unit_test(one_cpu_no_spin),
                cmocka_unit_test(budget_ends),
                cmocka_unit_test(budget_ends_for_cheap_looks),
                cmocka_unit_test(backs_off_when_it_does_not_pay),
                cmocka_unit_test(comes_back_when_it_pays_again),
                cmocka_unit_test(a_gap_stops_it_and_does_not_count),
                cmocka_unit_test(a_short_gap_does_not_stop_it),
                cmocka_unit_test(a_slice_of_the_scheduler_does_not_stop_it),
                cmocka_unit_test(short_gaps_add_up),
                cmocka_unit_test(displaced_often_it_stops_for_longer),
                cmocka_unit_test(stolen_time_is_no_preemption),
                cmocka_unit_test(untimed_it_starts_with_the_first_time),
                cmocka_unit_test(untimed_it_is_passed_by_as_well),
                cmocka_unit_test(a_long_gap_is_seen_afterwards),
                cmocka_unit_test(a_near_miss_prolongs_it),
                cmocka_unit_test(calm_makes_good),
                cmocka_unit_test(a_pause_ends_however_few_occasions_there_are),
                cmocka_unit_test(stops_for_a_quick_peer_on_the_same_cpu),
                cmocka_unit_test(a_pause_does_not_prolong_itself),
        };

        return cmocka_run_group_tests_name("spin", tests, NULL, NULL);
}
