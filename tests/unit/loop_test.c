/* SPDX-License-Identifier: MIT */
#include "concurrency/loop.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>

static struct objm_loop loop;

static int open_loop(void **state)
{
        count_before(state);
        return objm_loop_init(&loop);
}

static int close_loop(void **state)
{
        objm_loop_deinit(&loop);
        return count_after(state);
}

#define loop_test(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)

static int turn(int timeout_ms)
{
        int n = objm_loop_wait(&loop, timeout_ms);

        objm_loop_dispatch(&loop);
        return n;
}

/* A source on an eventfd that counts its calls and may take another one out of the loop. */
struct probe {
        struct objm_source source;
        struct probe *removes;
        bool gone;
        unsigned calls;
        uint32_t last;
};

static void on_events(struct objm_source *s, uint32_t events)
{
        struct probe *p = objm_container_of(s, struct probe, source);

        p->calls++;
        p->last = events;
        if (!p->gone && p->removes && !p->removes->gone) {
                objm_loop_remove(&loop, &p->removes->source);
                p->removes->gone = true;
        }
}

static struct probe new_probe(bool ready)
{
        return (struct probe){.source = {.fd = eventfd(ready, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN,
                                         .on_events = on_events}};
}

static void add(struct probe *p)
{
        assert_true(p->source.fd >= 0);
        assert_int_equal(objm_loop_add(&loop, &p->source), 0);
}

static void reports_what_is_watched(void **state)
{
        struct probe p = new_probe(false);

        add(&p);
        assert_int_equal(turn(0), 0);
        assert_int_equal(eventfd_write(p.source.fd, 1), 0);
        assert_int_equal(turn(-1), 1);
        assert_int_equal(turn(-1), 1); /* level-triggered */
        assert_int_equal(p.calls, 2);
        assert_int_equal(p.last, EPOLLIN);
        assert_int_equal(objm_loop_set(&loop, &p.source, EPOLLOUT), 0);
        assert_int_equal(turn(-1), 1);
        assert_int_equal(p.last, EPOLLOUT);
        assert_int_equal(objm_loop_set(&loop, &p.source, 0), 0);
        assert_int_equal(turn(0), 0);
        objm_loop_remove(&loop, &p.source);
        close(p.source.fd);
}

static void says_why_it_cannot_watch(void **state)
{
        struct probe p = new_probe(true), file = {.source = {.fd = new_file(), .events = EPOLLIN}};

        add(&p);
        assert_int_equal(objm_loop_add(&loop, &p.source), -EEXIST);
        assert_int_equal(objm_loop_add(&loop, &file.source), -EPERM);
        objm_loop_remove(&loop, &p.source);
        objm_loop_remove(&loop, &p.source);
        assert_int_equal(objm_loop_set(&loop, &p.source, p.source.events), 0);
        assert_int_equal(objm_loop_set(&loop, &p.source, EPOLLOUT), -ENOENT);
        assert_int_equal(p.source.events, EPOLLIN);
        assert_int_equal(turn(0), 0);
        close(p.source.fd);
        close(file.source.fd);
        assert_int_equal(objm_loop_add(&loop, &p.source), -EBADF);
}

/* Two ready sources remove each other: the later event of the batch finds its source alive, the next turn none. */
static void source_removed_in_the_same_batch(void **state)
{
        struct probe a = new_probe(true), b = new_probe(true);

        a.removes = &b;
        b.removes = &a;
        add(&a);
        add(&b);
        assert_int_equal(turn(-1), 2);
        assert_int_equal(a.calls, 1);
        assert_int_equal(b.calls, 1);
        assert_int_equal(a.gone + b.gone, 1);
        assert_int_equal(turn(0), 1);
        assert_int_equal(a.calls, 1 + !a.gone);
        assert_int_equal(b.calls, 1 + !b.gone);
        objm_loop_remove(&loop, &a.source);
        objm_loop_remove(&loop, &b.source);
        close(a.source.fd);
        close(b.source.fd);
}

static void more_sources_than_a_batch_are_all_served(void **state)
{
        enum { N = OBJM_LOOP_BATCH + 100 };
        static struct probe p[N];
        unsigned served = 0;

        for (int i = 0; i < N; i++) {
                p[i] = new_probe(true);
                add(&p[i]);
        }
        for (int i = 0; i < 4; i++)
                assert_int_equal(turn(0), OBJM_LOOP_BATCH);
        for (int i = 0; i < N; i++) {
                served += p[i].calls > 0;
                close(p[i].source.fd);
        }
        assert_int_equal(served, N);
}

struct letter {
        struct objm_mail mail;
        unsigned poster, number;
        struct letter *then; /* posted when this one is delivered */
};

#define POSTERS 8
#define LETTERS 12500

static struct letter letters[POSTERS][LETTERS];
static unsigned delivered[POSTERS], out_of_order;

static void deliver(struct objm_mail *m)
{
        struct letter *l = objm_container_of(m, struct letter, mail);

        out_of_order += l->number != delivered[l->poster];
        delivered[l->poster]++;
        if (l->then)
                objm_loop_post(&loop, &l->then->mail);
}

static void *post_all(void *arg)
{
        struct letter *l = arg;

        for (unsigned i = 0; i < LETTERS; i++)
                objm_loop_post(&loop, &l[i].mail);
        return NULL;
}

static unsigned total(void)
{
        unsigned n = 0;

        for (unsigned i = 0; i < POSTERS; i++)
                n += delivered[i];
        return n;
}

static void forget_letters(void)
{
        memset(delivered, 0, sizeof(delivered));
        out_of_order = 0;
        for (unsigned p = 0; p < POSTERS; p++)
                for (unsigned i = 0; i < LETTERS; i++)
                        letters[p][i] = (struct letter){.mail.deliver = deliver, .poster = p, .number = i};
}

/* The loop sleeps without a timeout whenever it has nothing: one ring too few and this test hangs. */
static void mail_of_many_threads_is_neither_lost_nor_shuffled(void **state)
{
        pthread_t thread[POSTERS];

        forget_letters();
        for (unsigned i = 0; i < POSTERS; i++)
                assert_int_equal(pthread_create(&thread[i], NULL, post_all, letters[i]), 0);
        while (total() < POSTERS * LETTERS)
                turn(-1);
        for (unsigned i = 0; i < POSTERS; i++)
                pthread_join(thread[i], NULL);
        assert_int_equal(out_of_order, 0);
        assert_int_equal(total(), POSTERS * LETTERS);
        turn(0); /* the ring of mail that was taken early may be left */
        assert_int_equal(turn(0), 0);
        assert_int_equal(total(), POSTERS * LETTERS);
}

/* One letter at a time, each from another thread to a sleeping loop. */
static void *post_one(void *arg)
{
        objm_loop_post(&loop, arg);
        return NULL;
}

static void each_post_wakes_a_sleeping_loop(void **state)
{
        forget_letters();
        for (unsigned i = 0; i < 300; i++) {
                pthread_t t;

                assert_int_equal(pthread_create(&t, NULL, post_one, &letters[0][i].mail), 0);
                while (total() <= i)
                        turn(-1);
                pthread_join(t, NULL);
        }
        assert_int_equal(out_of_order, 0);
}

static void mail_posted_by_mail_comes_in_a_later_turn(void **state)
{
        forget_letters();
        for (unsigned i = 0; i < 9; i++)
                letters[0][i].then = &letters[0][i + 1];
        objm_loop_post(&loop, &letters[0][0].mail);
        for (unsigned i = 0; i < 10; i++) {
                assert_int_equal(total(), i);
                assert_int_equal(turn(-1), 1);
        }
        assert_int_equal(total(), 10);
        assert_int_equal(turn(0), 0);
}

static void mail_comes_after_the_events(void **state)
{
        struct probe p = new_probe(true);

        forget_letters();
        add(&p);
        objm_loop_post(&loop, &letters[0][0].mail);
        assert_int_equal(objm_loop_wait(&loop, -1), 2);
        objm_loop_dispatch(&loop);
        assert_int_equal(p.calls, 1);
        assert_int_equal(total(), 1);
        objm_loop_dispatch(&loop); /* nothing is worked through twice */
        assert_int_equal(p.calls, 1);
        objm_loop_remove(&loop, &p.source);
        close(p.source.fd);
}

static void without_descriptors(void)
{
        struct objm_loop l;
        unsigned before = count_fds();

        for (unsigned n = 1; n <= 2; n++) { /* for none, and for one of the two */
                limit_fds(n - 1);
                CHECK(objm_loop_init(&l) == -EMFILE);
                CHECK(l.epoll_fd == -1 && l.wake_fd == -1);
                limit_fds(100);
                CHECK(count_fds() == before);
        }
}

static void init_fails_whole(void **state)
{
        in_child(without_descriptors);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                loop_test(reports_what_is_watched),
                loop_test(says_why_it_cannot_watch),
                loop_test(source_removed_in_the_same_batch),
                loop_test(more_sources_than_a_batch_are_all_served),
                loop_test(mail_of_many_threads_is_neither_lost_nor_shuffled),
                loop_test(each_post_wakes_a_sleeping_loop),
                loop_test(mail_posted_by_mail_comes_in_a_later_turn),
                loop_test(mail_comes_after_the_events),
                counted_test(init_fails_whole),
        };

        return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
