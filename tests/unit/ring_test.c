/* SPDX-License-Identifier: MIT */
#include "concurrency/ring.h"

#include "base/fd.h"
#include "resources.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>

#define SIZE 8

struct memory {
        struct objm_ring_entry entries[SIZE];
        struct objm_ring_word head, tail, asleep;
};

struct ring {
        struct memory *m;
        struct objm_ring_producer p;
        struct objm_ring_consumer c;
};

static struct objm_ring_place place(struct memory *m, uint32_t size)
{
        return (struct objm_ring_place){m->entries, &m->head, &m->tail, &m->asleep, size};
}

static void ring_init(struct ring *r, struct memory *m, uint32_t size, uint32_t start)
{
        struct objm_ring_place at = place(m, size);

        memset(m, 0, sizeof(*m));
        r->m = m;
        atomic_store(&m->head.value, start);
        atomic_store(&m->tail.value, start);
        CHECK(objm_ring_producer_init(&r->p, &at, start) == 0);
        CHECK(objm_ring_consumer_init(&r->c, &at, start) == 0);
}

static void put(struct objm_ring_producer *p, uint64_t value)
{
        struct objm_ring_entry e;

        for (size_t i = 0; i < objm_array_len(e.word); i++)
                e.word[i] = value + i;
        objm_ring_put(p, &e);
}

static uint64_t take(struct objm_ring_consumer *c)
{
        struct objm_ring_entry e;

        objm_ring_take(c, &e);
        for (size_t i = 1; i < OBJM_RING_STAMP; i++)
                CHECK(e.word[i] == e.word[0] + i);
        return e.word[0];
}

static void skip_entry(struct objm_ring_consumer *c)
{
        struct objm_ring_entry e;

        objm_ring_take(c, &e);
}

static void refuses_what_is_no_ring(void **state)
{
        static const uint32_t wrong[] = {0, 3, 6, OBJM_RING_SIZE_MAX + 1, OBJM_RING_SIZE_MAX * 2, UINT32_MAX};
        static struct memory m;
        struct objm_ring_producer p;
        struct objm_ring_consumer c;
        struct objm_ring_place at = place(&m, SIZE), bad;

        assert_int_equal(objm_ring_producer_init(&p, &at, 0), 0);
        assert_int_equal(objm_ring_consumer_init(&c, &at, 0), 0);
        for (size_t i = 0; i < objm_array_len(wrong); i++) {
                at.size = wrong[i];
                assert_int_equal(objm_ring_producer_init(&p, &at, 0), -EINVAL);
                assert_int_equal(objm_ring_consumer_init(&c, &at, 0), -EINVAL);
        }
        at.size = SIZE;
        for (int i = 0; i < 8; i++) {
                void *pointer = i % 2 ? NULL : (char *)&m.entries + 8;

                bad = at;
                if (i / 2 == 0)
                        bad.entries = pointer;
                else
                        *(i / 2 == 1 ? &bad.head : i / 2 == 2 ? &bad.tail : &bad.asleep) = pointer;
                assert_int_equal(objm_ring_producer_init(&p, &bad, 0), -EINVAL);
                assert_int_equal(objm_ring_consumer_init(&c, &bad, 0), -EINVAL);
        }
}

static void starts_empty(void **state)
{
        static struct memory m;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        assert_int_equal(objm_ring_readable(&r.c), 0);
        assert_int_equal(objm_ring_writable(&r.p, SIZE), SIZE);
}

/* The place of the next entry, by where it shows up in memory. */
static uint32_t place_of_next(struct ring *r, uint64_t mark)
{
        put(&r->p, mark);
        (void)!objm_ring_publish(&r->p);
        for (uint32_t i = 0; i < r->p.at.size; i++)
                if (r->p.at.entries[i].word[0] == mark)
                        return i;
        CHECK(!"nowhere");
        return 0;
}

/* One at a time, a large ring uses no more than its first places; entries are the right ones all the same. */
static void a_ring_that_runs_empty_begins_anew(void **state)
{
        static struct objm_ring_entry entries[256];
        static struct memory m;
        struct objm_ring_place at = {entries, &m.head, &m.tail, &m.asleep, objm_array_len(entries)};
        struct ring r = {.m = &m};
        uint32_t last = 0;

        assert_int_equal(objm_ring_producer_init(&r.p, &at, 0), 0);
        assert_int_equal(objm_ring_consumer_init(&r.c, &at, 0), 0);
        for (uint64_t i = 1; i < 2000; i++) {
                uint32_t where;

                assert_int_equal(objm_ring_writable(&r.p, 1) > 0, true);
                where = place_of_next(&r, i << 8);
                if (where > last)
                        last = where;
                assert_int_equal(objm_ring_readable(&r.c), 1);
                assert_true(take(&r.c) == i << 8);
                objm_ring_release(&r.c);
        }
        assert_in_range(last, 1, OBJM_RING_RESTART);
}

/* What was not given back keeps its place, however far the producer has come. */
static void a_ring_that_is_not_empty_goes_on(void **state)
{
        static struct objm_ring_entry entries[64];
        static struct memory m;
        struct objm_ring_place at = {entries, &m.head, &m.tail, &m.asleep, objm_array_len(entries)};
        struct ring r = {.m = &m};
        uint64_t taken = 0;

        assert_int_equal(objm_ring_producer_init(&r.p, &at, 0), 0);
        assert_int_equal(objm_ring_consumer_init(&r.c, &at, 0), 0);
        for (uint64_t i = 0; i < 5000; i++) {
                assert_true(objm_ring_writable(&r.p, 1) > 0);
                put(&r.p, i << 8);
                (void)!objm_ring_publish(&r.p);
                if (i % 7 == 0) /* the consumer lags by one to seven, and now and then not at all */
                        continue;
                while (taken + (i % 11 != 0) <= i) {
                        assert_true(objm_ring_readable(&r.c) > 0);
                        assert_true(take(&r.c) == taken++ << 8);
                }
                objm_ring_release(&r.c);
        }
}

/* A peer that lies about its origin gets another of its own entries, and no more. */
static void any_origin_is_a_place(void **state)
{
        static const uint32_t origins[] = {1, SIZE - 1, SIZE, 12345, UINT32_MAX, UINT32_MAX - SIZE};
        static struct memory m;
        struct ring r;

        for (size_t i = 0; i < objm_array_len(origins); i++) {
                ring_init(&r, &m, SIZE, 0);
                put(&r.p, 77);
                atomic_store(&m.head.origin, origins[i]);
                (void)!objm_ring_publish(&r.p);
                assert_int_equal(objm_ring_readable(&r.c), 1);
                skip_entry(&r.c);
        }
}

/* Nothing is seen before publish(), everything at once after it; room comes back at release(), not before. */
static void batches_are_whole(void **state)
{
        static struct memory m;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        for (uint64_t i = 0; i < SIZE; i++) {
                assert_int_equal(objm_ring_writable(&r.p, 1), SIZE - i);
                assert_int_equal(objm_ring_readable(&r.c), 0);
                put(&r.p, 100 * i);
        }
        assert_false(objm_ring_publish(&r.p));
        assert_int_equal(objm_ring_writable(&r.p, SIZE), 0);
        for (uint64_t i = 0; i < SIZE; i++) {
                assert_int_equal(objm_ring_readable(&r.c), SIZE - i);
                assert_int_equal(take(&r.c), 100 * i);
                assert_int_equal(objm_ring_writable(&r.p, SIZE), 0);
        }
        assert_int_equal(objm_ring_readable(&r.c), 0);
        objm_ring_release(&r.c);
        assert_int_equal(objm_ring_writable(&r.p, SIZE), SIZE);
}

/* Every size, every fill, over the point where the indices begin again at 0. */
static void wraps_around(void **state)
{
        static struct memory m;

        for (uint32_t size = 1; size <= SIZE; size *= 2)
                for (uint32_t batch = 1; batch <= size; batch++) {
                        struct ring r;
                        uint64_t sent = 0, got = 0;

                        ring_init(&r, &m, size, UINT32_MAX - 20);
                        while (got < 60) {
                                assert_int_equal(objm_ring_writable(&r.p, size), size);
                                for (uint32_t i = 0; i < batch; i++)
                                        put(&r.p, sent++);
                                assert_false(objm_ring_publish(&r.p));
                                while (objm_ring_readable(&r.c))
                                        assert_int_equal(take(&r.c), got++);
                                objm_ring_release(&r.c);
                                assert_int_equal(got, sent);
                        }
                        assert_int_equal(atomic_load(&m.head.value), (uint32_t)(UINT32_MAX - 20 + sent));
                        assert_int_equal(atomic_load(&m.tail.value), (uint32_t)(UINT32_MAX - 20 + sent));
                }
}

/* A consumer that polls does not need head, neither for what is in a batch nor when the producer begins anew. */
static void stamps_alone_tell_what_is_there(void **state)
{
        static struct objm_ring_entry entries[64];
        static struct memory m;
        struct objm_ring_place at = {entries, &m.head, &m.tail, &m.asleep, objm_array_len(entries)};
        struct ring r = {.m = &m};
        uint64_t sent = 0, got = 0;

        assert_int_equal(objm_ring_producer_init(&r.p, &at, 0), 0);
        assert_int_equal(objm_ring_consumer_init(&r.c, &at, 0), 0);
        for (int batch = 1; batch <= 40; batch++) {
                assert_false(objm_ring_look(&r.c));
                assert_true(objm_ring_writable(&r.p, (uint32_t)batch) >= batch);
                for (int i = 0; i < batch; i++)
                        put(&r.p, sent++ << 8);
                assert_false(objm_ring_look(&r.c));
                (void)!objm_ring_publish(&r.p);
                atomic_store(&m.head.value, 0);
                atomic_store(&m.head.origin, 12345);
                while (objm_ring_look(&r.c)) {
                        assert_true(objm_ring_readable(&r.c) > 0);
                        assert_true(take(&r.c) == got++ << 8);
                }
                assert_true(got == sent);
                objm_ring_release(&r.c);
        }
}

/* Head may be behind what stamps have told of, by a ring's size, but not behind where it has been. */
static void a_head_may_follow_the_stamps(void **state)
{
        static struct memory m;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        for (uint32_t i = 1; i < 10 * SIZE; i++) {
                assert_true(objm_ring_writable(&r.p, 1) > 0);
                put(&r.p, 1);
                (void)!objm_ring_publish(&r.p);
                assert_int_equal(objm_ring_readable(&r.c), 1);
                skip_entry(&r.c);
                objm_ring_release(&r.c);
                if (i % SIZE)
                        continue;
                atomic_store(&m.head.value, i - 1);
                assert_int_equal(objm_ring_readable(&r.c), 0);
                atomic_store(&m.head.value, i - 2);
                assert_int_equal(objm_ring_readable(&r.c), -EPROTO);
                atomic_store(&m.head.value, i);
                assert_int_equal(objm_ring_readable(&r.c), 0);
        }
}

/* Who polls finds what has no stamp, too. */
static void an_entry_without_a_stamp_is_found_by_head(void **state)
{
        static struct memory m;
        struct ring r;
        int looks = 1;

        ring_init(&r, &m, SIZE, 0);
        atomic_store(&m.head.value, 1);
        while (!objm_ring_look(&r.c))
                looks++;
        assert_in_range(looks, 2, OBJM_RING_LOOKS);
        assert_int_equal(objm_ring_readable(&r.c), 1);
}

/* What was taken back is not there, though it had its stamp, until it is put again. */
static void what_is_taken_back_is_not_seen(void **state)
{
        static struct memory m;

        for (uint32_t kept = 0; kept < 5; kept++)
                for (uint32_t again = 0; again < 3; again++) {
                        struct ring r;

                        ring_init(&r, &m, SIZE, 0);
                        for (uint64_t i = 0; i < 5; i++)
                                put(&r.p, 100 + i * 10);
                        objm_ring_unput(&r.p, kept);
                        assert_int_equal(objm_ring_readable(&r.c), 0);
                        for (uint64_t i = 0; i < again; i++)
                                put(&r.p, 500 + i * 10);
                        (void)!objm_ring_publish(&r.p);
                        assert_int_equal(objm_ring_readable(&r.c), kept + again);
                        for (uint64_t i = 0; i < kept; i++)
                                assert_int_equal(take(&r.c), 100 + i * 10);
                        for (uint64_t i = 0; i < again; i++)
                                assert_int_equal(take(&r.c), 500 + i * 10);
                        assert_false(objm_ring_look(&r.c));
                        assert_int_equal(objm_ring_readable(&r.c), 0);
                }
}

/* The consumer's line is read only when what is known does not suffice. */
static void looks_only_when_it_must(void **state)
{
        static struct memory m;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        atomic_store(&m.tail.value, 77); /* a lie, not noticed as long as nobody looks */
        for (int i = 0; i < SIZE; i++) {
                assert_int_equal(objm_ring_writable(&r.p, 1), SIZE - i);
                put(&r.p, 1);
        }
        assert_int_equal(objm_ring_writable(&r.p, 1), -EPROTO);
}

/* What the consumer's tail may be after 3 of 5 entries were released: 3, 4, 5 and nothing else of 2^32. */
static void a_tail_that_lies_is_found(void **state)
{
        static const uint32_t starts[] = {0, 1, 1000, UINT32_MAX - 7, UINT32_MAX - 4, UINT32_MAX - 2, UINT32_MAX};
        static const uint32_t moves[] = {0, 1, 2, 6, 7, SIZE, SIZE + 1, 1U << 31, (1U << 31) + 5, UINT32_MAX,
                                         UINT32_MAX - SIZE};
        static struct memory m;

        for (size_t s = 0; s < objm_array_len(starts); s++)
                for (size_t i = 0; i < objm_array_len(moves) + 3; i++) {
                        bool honest = i >= objm_array_len(moves);
                        uint32_t move = honest ? 3 + (uint32_t)(i - objm_array_len(moves)) : moves[i];
                        struct ring r;

                        ring_init(&r, &m, SIZE, starts[s]);
                        for (int n = 0; n < 5; n++)
                                put(&r.p, 1);
                        assert_false(objm_ring_publish(&r.p));
                        put(&r.p, 1); /* not published: a tail beyond it is a lie all the same */
                        atomic_store(&m.tail.value, starts[s] + 3);
                        assert_int_equal(objm_ring_writable(&r.p, SIZE), 5);
                        atomic_store(&m.tail.value, starts[s] + move);
                        assert_int_equal(objm_ring_writable(&r.p, SIZE), honest ? (int)(SIZE - 6 + move) : -EPROTO);
                }
}

/* A head may come as far as there was room for what the producer can know of, and never back. */
static void a_head_that_lies_is_found(void **state)
{
        static const uint32_t starts[] = {0, 1, 1000, UINT32_MAX - 7, UINT32_MAX - 4, UINT32_MAX - 2, UINT32_MAX};
        static const uint32_t moves[] = {0, 1, SIZE + 3, SIZE + 4, 1U << 31, (1U << 31) + 2, UINT32_MAX,
                                         UINT32_MAX - SIZE};
        static struct memory m;

        for (size_t s = 0; s < objm_array_len(starts); s++)
                for (size_t i = 0; i < objm_array_len(moves) + SIZE + 1; i++) {
                        bool honest = i >= objm_array_len(moves);
                        uint32_t move = honest ? 2 + (uint32_t)(i - objm_array_len(moves)) : moves[i];
                        struct ring r;

                        ring_init(&r, &m, SIZE, starts[s]);
                        atomic_store(&m.head.value, starts[s] + 2);
                        assert_int_equal(objm_ring_readable(&r.c), 2);
                        skip_entry(&r.c);
                        skip_entry(&r.c);
                        objm_ring_release(&r.c);
                        atomic_store(&m.head.value, starts[s] + move);
                        assert_int_equal(objm_ring_readable(&r.c), honest ? (int)(move - 2) : -EPROTO);
                        assert_int_equal(objm_ring_sleep(&r.c), honest ? (int)(move - 2) : -EPROTO);
                }
}

/* Places that were taken and not released count as occupied: a head there would overwrite them. */
static void a_head_over_places_not_released_is_found(void **state)
{
        static struct memory m;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        atomic_store(&m.head.value, SIZE);
        assert_int_equal(objm_ring_readable(&r.c), SIZE);
        for (int i = 0; i < SIZE; i++)
                skip_entry(&r.c);
        atomic_store(&m.head.value, SIZE + 1);
        assert_int_equal(objm_ring_readable(&r.c), -EPROTO);
        objm_ring_release(&r.c);
        assert_int_equal(objm_ring_readable(&r.c), 1);
}

/* However wild the peer's words are, both sides stay within the ring. */
static void random_words_do_no_harm(void **state)
{
        static struct memory m;
        unsigned seed = 1;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        for (int i = 0; i < 200000; i++) {
                uint32_t lie = (uint32_t)rand_r(&seed) << 3 ^ (uint32_t)rand_r(&seed);
                int n;

                if (i % 3)
                        lie = r.c.seen + lie % (2 * SIZE) - SIZE;
                atomic_store(&m.head.value, lie);
                n = objm_ring_readable(&r.c);
                assert_true(n == -EPROTO || (n >= 0 && n <= SIZE));
                while (n-- > 0)
                        skip_entry(&r.c);
                objm_ring_release(&r.c);
                atomic_store(&m.tail.value, lie);
                n = objm_ring_writable(&r.p, SIZE);
                assert_true(n == -EPROTO || (n >= 0 && n <= SIZE));
                if (n > 0)
                        put(&r.p, 1);
                (void)!objm_ring_publish(&r.p);
        }
}

static void the_flag_asks_for_the_doorbell(void **state)
{
        static struct memory m;
        struct ring r;

        ring_init(&r, &m, SIZE, 0);
        put(&r.p, 1);
        assert_false(objm_ring_publish(&r.p));
        assert_int_equal(objm_ring_sleep(&r.c), 1);
        put(&r.p, 2);
        assert_false(objm_ring_publish(&r.p)); /* it did not sleep after all */
        skip_entry(&r.c);
        assert_int_equal(objm_ring_sleep(&r.c), 1);
        skip_entry(&r.c);
        assert_int_equal(objm_ring_sleep(&r.c), 0);
        assert_int_equal(objm_ring_writable(&r.p, SIZE), SIZE);
        put(&r.p, 3);
        assert_true(objm_ring_publish(&r.p));
        objm_ring_awake(&r.c);
        put(&r.p, 4);
        assert_false(objm_ring_publish(&r.p));
        assert_int_equal(objm_ring_readable(&r.c), 2);
}

#define MANY 100000

struct pair {
        struct ring *r;
        int bell;
};

static void *produce(void *arg)
{
        struct pair *pair = arg;
        struct objm_ring_producer *p = &pair->r->p;
        unsigned seed = 7;

        for (uint64_t sent = 0; sent < MANY;) {
                int room = objm_ring_writable(p, 1), n = 1 + rand_r(&seed) % SIZE;

                CHECK(room >= 0);
                if (!room)
                        sched_yield();
                for (int i = 0; i < room && i < n && sent < MANY; i++)
                        put(p, sent++);
                if (room && objm_ring_publish(p) && pair->bell >= 0)
                        CHECK(eventfd_write(pair->bell, 1) == 0);
        }
        return NULL;
}

static void wait_for_bell(struct objm_ring_consumer *c, int bell)
{
        eventfd_t rung;
        int n = objm_ring_sleep(c);

        CHECK(n >= 0);
        if (n)
                return;
        CHECK(eventfd_read(bell, &rung) == 0);
        objm_ring_awake(c);
}

static void consume(struct pair *pair)
{
        struct objm_ring_consumer *c = &pair->r->c;

        for (uint64_t got = 0; got < MANY;) {
                int n = objm_ring_readable(c);

                CHECK(n >= 0);
                for (int i = 0; i < n; i++)
                        CHECK(take(c) == got++);
                objm_ring_release(c);
                if (!n && pair->bell >= 0)
                        wait_for_bell(c, pair->bell);
                else if (!n)
                        sched_yield();
        }
}

static void run_two_threads(int bell)
{
        static struct memory m;
        struct ring r;
        struct pair pair = {&r, bell};
        pthread_t thread;

        ring_init(&r, &m, SIZE, UINT32_MAX - MANY / 2);
        assert_int_equal(pthread_create(&thread, NULL, produce, &pair), 0);
        consume(&pair);
        pthread_join(thread, NULL);
        assert_int_equal(objm_ring_readable(&r.c), 0);
}

static void two_threads_that_poll(void **state)
{
        run_two_threads(-1);
}

static void two_threads_one_of_which_sleeps(void **state)
{
        int bell = eventfd(0, EFD_CLOEXEC);

        assert_true(bell >= 0);
        run_two_threads(bell);
        objm_fd_close(bell);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(refuses_what_is_no_ring),
                cmocka_unit_test(starts_empty),
                cmocka_unit_test(a_ring_that_runs_empty_begins_anew),
                cmocka_unit_test(a_ring_that_is_not_empty_goes_on),
                cmocka_unit_test(any_origin_is_a_place),
                cmocka_unit_test(batches_are_whole),
                cmocka_unit_test(wraps_around),
                cmocka_unit_test(stamps_alone_tell_what_is_there),
                cmocka_unit_test(a_head_may_follow_the_stamps),
                cmocka_unit_test(an_entry_without_a_stamp_is_found_by_head),
                cmocka_unit_test(what_is_taken_back_is_not_seen),
                cmocka_unit_test(looks_only_when_it_must),
                cmocka_unit_test(a_tail_that_lies_is_found),
                cmocka_unit_test(a_head_that_lies_is_found),
                cmocka_unit_test(a_head_over_places_not_released_is_found),
                cmocka_unit_test(random_words_do_no_harm),
                cmocka_unit_test(the_flag_asks_for_the_doorbell),
                cmocka_unit_test_setup_teardown(two_threads_that_poll, count_before, count_after),
                cmocka_unit_test_setup_teardown(two_threads_one_of_which_sleeps, count_before, count_after),
        };

        return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
