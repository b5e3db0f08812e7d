/* SPDX-License-Identifier: MIT */
#include "storage/index.h"

#include "base/hash.h"
#include "storage/segment.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* With a constant hash every operation walks over all entries: the same tests with fewer of them. */
#ifdef OBJM_HASH_CONSTANT
#define SCALE 20
#else
#define SCALE 1
#endif

struct fixture {
        struct objm_qsbr *q;
        struct objm_qsbr_reader r;
        struct objm_index *x;
};

static int setup(void **state)
{
        struct fixture *f = aligned_alloc(OBJM_CACHE_LINE, sizeof(*f));

        assert_int_equal(objm_qsbr_new(&f->q), 0);
        assert_int_equal(objm_index_new(f->q, &f->x), 0);
        objm_qsbr_register(f->q, &f->r);
        objm_qsbr_online(&f->r);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        objm_qsbr_unregister(&f->r);
        objm_index_free(f->x);
        objm_qsbr_free(f->q);
        free(f);
        return 0;
}

static struct objm_object_info info_of(uint64_t n)
{
        return (struct objm_object_info){.size = n, .version = n + 1, .mtime_ns = (int64_t)n};
}

static size_t key_of(char key[64], unsigned n)
{
        return (size_t)sprintf(key, "/some/where/%u", n);
}

static void put(struct fixture *f, unsigned n, uint64_t value)
{
        struct objm_object_info info = info_of(value);
        char key[64];

        assert_int_equal(objm_index_put(f->x, key, key_of(key, n), &info, 2), 0);
}

static const struct objm_entry *find(struct fixture *f, unsigned n)
{
        char key[64];

        return objm_index_find(f->x, key, key_of(key, n));
}

static void finds_what_was_put(void **state)
{
        struct fixture *f = *state;

        assert_null(find(f, 1));
        put(f, 1, 10);
        assert_int_equal(find(f, 1)->info.size, 10);
        assert_null(find(f, 2));
        put(f, 1, 11);
        assert_int_equal(find(f, 1)->info.size, 11);
        assert_int_equal(objm_index_count(f->x), 1);
}

static void keys_are_bytes_of_any_value_and_length(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info info = info_of(1);
        char key[OBJM_URI_MAX];

        memset(key, 0, sizeof(key));
        for (size_t len = 1; len <= sizeof(key); len = len * 2 + (len == 2048 ? -1 : 0)) {
                info.size = len;
                assert_int_equal(objm_index_put(f->x, key, len, &info, 2), 0);
        }
        for (size_t len = 1; len <= 2048; len *= 2)
                assert_int_equal(objm_index_find(f->x, key, len)->info.size, len);
        assert_int_equal(objm_index_find(f->x, key, 4095)->info.size, 4095);
        assert_null(objm_index_find(f->x, key, 3));
}

static void an_unchanged_entry_stays_in_place(void **state)
{
        struct fixture *f = *state;
        const struct objm_entry *e;

        put(f, 1, 10);
        e = find(f, 1);
        put(f, 1, 10);
        assert_ptr_equal(find(f, 1), e);
        put(f, 1, 12);
        assert_ptr_not_equal(find(f, 1), e);
        assert_int_equal(e->info.size, 10); /* still readable: this thread has not been quiescent */
}

/* Random operations against an array. */
static void behaves_like_a_simple_model(void **state)
{
        enum { KEYS = 20000 / SCALE, STEPS = 400000 / SCALE / SCALE };
        struct fixture *f = *state;
        uint64_t *model = calloc(KEYS, sizeof(*model));
        size_t live = 0;
        char key[64];

        srandom(1);
        for (int step = 0; step < STEPS; step++) {
                unsigned n = (unsigned)random() % KEYS;
                uint64_t value = (uint64_t)random() % 1000 + 1;
                const struct objm_entry *e = find(f, n);

                assert_int_equal(e ? e->info.size : 0, model[n]);
                /* phases of growth and of decline, so that tombstones and splits both happen */
                if ((unsigned)random() % 100 < (step / (STEPS / 4) % 2 ? 20u : 80u)) {
                        put(f, n, value);
                        live += model[n] == 0;
                        model[n] = value;
                } else {
                        assert_int_equal(objm_index_remove(f->x, key, key_of(key, n)),
                                         model[n] ? 0 : OBJM_INDEX_ABSENT);
                        live -= model[n] != 0;
                        model[n] = 0;
                }
                assert_int_equal(objm_index_count(f->x), live);
                objm_qsbr_quiescent(&f->r);
        }
        for (unsigned n = 0; n < KEYS; n++)
                assert_int_equal(find(f, n) ? find(f, n)->info.size : 0, model[n]);
        free(model);
}

struct tally {
        unsigned char *seen;
        bool drop_odd;
};

static bool tally(const struct objm_entry *e, void *userdata)
{
        struct tally *t = userdata;

        t->seen[e->info.size]++;
        return t->drop_odd && e->info.size % 2;
}

static void a_walk_sees_each_entry_and_drops_what_it_is_told(void **state)
{
        enum { KEYS = 30000 / SCALE };
        struct fixture *f = *state;
        struct objm_index_cursor cursor = {0};
        struct tally t = {.seen = calloc(KEYS * 2, 1), .drop_odd = true};

        for (unsigned n = 0; n < KEYS; n++)
                put(f, n, n);
        for (unsigned n = KEYS; objm_index_walk(f->x, &cursor, tally, &t); n++) {
                objm_qsbr_quiescent(&f->r);
                if (n < KEYS * 2)
                        put(f, n, n); /* the table splits under the walk */
        }
        for (unsigned n = 0; n < KEYS; n++) {
                assert_int_not_equal(t.seen[n], 0);
                assert_int_equal(find(f, n) != NULL, n % 2 == 0);
        }
        free(t.seen);
}

/* The table is rebuilt many times over while the walk stands in one of its first segments. */
static bool put_many(const struct objm_entry *e, void *userdata)
{
        struct fixture *f = userdata;

        for (unsigned n = 100; n < 20000 / SCALE && !find(f, 20000 / SCALE - 1); n++)
                put(f, n, n);
        assert_int_equal(e->info.version, e->info.size + 1);
        return false;
}

static void what_a_reader_stands_in_outlives_its_successors(void **state)
{
        struct fixture *f = *state;
        struct objm_index_cursor cursor = {0};

        for (unsigned n = 0; n < 100; n++)
                put(f, n, n);
        while (objm_index_walk(f->x, &cursor, put_many, f))
                objm_qsbr_quiescent(&f->r);
        assert_int_equal(objm_index_count(f->x), 20000 / SCALE);
}

/*
 * XXH3 adds, for each 8-byte lane of a long key, the lane itself and the product of its halves after they were mixed
 * with the secret. A half that mixes to 0 takes its lane's product away, and two such lanes, 64 bytes apart, may then
 * share a sum in any way: with the secret known, 2^32 keys of one hash.
 */
static void make_colliding_key(unsigned char key[512], uint32_t n)
{
        static const unsigned char secret_0[4] = {0xb8, 0xfe, 0x6c, 0x39}, secret_8[4] = {0x7c, 0x01, 0x81, 0x2c};
        uint32_t rest = 1000000 - n;

        memset(key, 'x', 512);
        memcpy(key, secret_0, 4);
        memcpy(key + 4, &n, 4);
        memcpy(key + 64, secret_8, 4);
        memcpy(key + 68, &rest, 4);
}

static void keys_made_for_the_public_secret_do_not_collide(void **state)
{
        enum { KEYS = 4000 / SCALE, LEN = 512 };
        struct fixture *f = *state;
        unsigned char key[LEN], first[LEN];
        struct objm_hash_key secret;

        assert_int_equal(objm_hash_key_init(&secret), 0);
        make_colliding_key(first, 0);
        for (uint32_t n = 1; n <= KEYS; n++) {
                struct objm_object_info info = info_of(n);

                make_colliding_key(key, n);
                assert_true(objm_hash_public(key, LEN) == objm_hash_public(first, LEN));
#ifndef OBJM_HASH_CONSTANT
                assert_true(objm_hash(&secret, key, LEN) != objm_hash(&secret, first, LEN));
#endif
                assert_int_equal(objm_index_put(f->x, key, LEN, &info, 2), 0);
                assert_int_equal(objm_index_find(f->x, key, LEN)->info.size, n);
        }
        assert_int_equal(objm_index_count(f->x), KEYS);
}

static struct objm_entry *entry(uint64_t hash, unsigned n)
{
        struct objm_object_info info = info_of(n);
        char key[64];
        struct objm_entry *e = objm_entry_new(key, key_of(key, n), hash, &info, 2);

        assert_non_null(e);
        return e;
}

static void a_segment_forgets_tombstones_at_the_end_of_a_run(void **state)
{
        struct objm_segment *s = objm_segment_new(16, 0);
        char key[64];

        for (unsigned n = 0; n < 10; n++)
                objm_segment_add(s, 7, entry(7, n));
        for (unsigned n = 0; n < 10; n++) {
                uint32_t i = objm_segment_find_slot(s, 7, key, key_of(key, n));

                assert_int_equal(i, n);
                free(objm_segment_at(s, i));
                objm_segment_erase(s, i);
                assert_int_equal(s->live, 9 - n);
                assert_int_equal(s->used, n == 9 ? 0 : 10);
        }
        objm_segment_free(s);
}

/* Readers look keys up while writers insert, replace and remove them; a key of the fixed half is always there. */
struct hammer {
        struct objm_qsbr *q;
        struct objm_index *x;
        _Atomic bool stop;
        _Atomic int wrong;
        unsigned keys;
};

static void *hammer_reader(void *arg)
{
        struct hammer *h = arg;
        struct objm_qsbr_reader r;
        char key[64];

        objm_qsbr_register(h->q, &r);
        objm_qsbr_online(&r);
        for (unsigned n = 0; !atomic_load_explicit(&h->stop, memory_order_relaxed); n = (n + 7) % h->keys) {
                size_t len = key_of(key, n);
                const struct objm_entry *e = objm_index_find(h->x, key, len);

                if (e ? !objm_entry_has_key(e, key, len) || e->info.version != e->info.size + 1 : n % 2 == 0)
                        atomic_fetch_add(&h->wrong, 1);
                objm_qsbr_quiescent(&r);
        }
        objm_qsbr_unregister(&r);
        return NULL;
}

static void *hammer_writer(void *arg)
{
        struct hammer *h = arg;
        char key[64];

        for (unsigned round = 1; round < 6; round++)
                for (unsigned n = 0; n < h->keys * 2; n++) {
                        struct objm_object_info info = info_of(n * round);
                        size_t len = key_of(key, n);

                        if (n % 2 && round % 2 == 0)
                                objm_index_remove(h->x, key, len);
                        else if (objm_index_put(h->x, key, len, &info, 2) < 0)
                                atomic_fetch_add(&h->wrong, 1);
                }
        return NULL;
}

static void readers_and_writers_do_not_disturb_each_other(void **state)
{
        struct fixture *f = *state;
        struct hammer h = {.q = f->q, .x = f->x, .keys = 8000 / SCALE};
        pthread_t reader[2], writer[2];

        for (unsigned n = 0; n < h.keys; n += 2)
                put(f, n, n);
        objm_qsbr_offline(&f->r);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(pthread_create(&reader[i], NULL, hammer_reader, &h), 0);
                assert_int_equal(pthread_create(&writer[i], NULL, hammer_writer, &h), 0);
        }
        for (int i = 0; i < 2; i++)
                pthread_join(writer[i], NULL);
        atomic_store(&h.stop, true);
        for (int i = 0; i < 2; i++)
                pthread_join(reader[i], NULL);
        assert_int_equal(atomic_load(&h.wrong), 0);
        objm_qsbr_online(&f->r);
        assert_int_equal(objm_index_count(f->x), h.keys * 2);
}

/* Known keys, unknown ones and those of other lengths, as many as can be. */
static void what_is_expected_stays_as_it_is(void **state)
{
        struct fixture *f = *state;
        struct objm_store_name keys[OBJM_STORE_EXPECT_MAX];
        char text[OBJM_STORE_EXPECT_MAX][64];

        objm_index_expect(f->x, NULL, 0);
        for (unsigned i = 0; i < OBJM_STORE_EXPECT_MAX; i++)
                keys[i] = (struct objm_store_name){.uri = text[i], .len = i % 7 ? key_of(text[i], i) : 0};
        objm_index_expect(f->x, keys, OBJM_STORE_EXPECT_MAX);
        for (unsigned i = 0; i < 5000 / SCALE; i += 2)
                put(f, i, i);
        objm_index_expect(f->x, keys, OBJM_STORE_EXPECT_MAX);
        for (unsigned i = 0; i < OBJM_STORE_EXPECT_MAX; i++)
                assert_int_equal(find(f, i) != NULL, i % 2 == 0);
        for (unsigned i = 0; i < OBJM_STORE_EXPECT_MAX; i++)
                assert_int_equal(objm_index_find_hashed(f->x, keys[i].hash, keys[i].uri, keys[i].len) != NULL,
                                 i % 7 && i % 2 == 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(finds_what_was_put, setup, teardown),
                cmocka_unit_test_setup_teardown(keys_are_bytes_of_any_value_and_length, setup, teardown),
                cmocka_unit_test_setup_teardown(an_unchanged_entry_stays_in_place, setup, teardown),
                cmocka_unit_test_setup_teardown(behaves_like_a_simple_model, setup, teardown),
                cmocka_unit_test_setup_teardown(a_walk_sees_each_entry_and_drops_what_it_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(what_a_reader_stands_in_outlives_its_successors, setup, teardown),
                cmocka_unit_test_setup_teardown(keys_made_for_the_public_secret_do_not_collide, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_expected_stays_as_it_is, setup, teardown),
                cmocka_unit_test(a_segment_forgets_tombstones_at_the_end_of_a_run),
                cmocka_unit_test_setup_teardown(readers_and_writers_do_not_disturb_each_other, setup, teardown),
        };

        return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
