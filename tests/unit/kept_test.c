/* SPDX-License-Identifier: MIT */
/*
 * What one thread keeps open: that it is found only as long as an opening would find the same, and given back in time.
 */
#include "store_fixture.h"

#include "storage/kept.h"

#include <sys/mman.h>
#include <sys/time.h>

#define CAPACITY 64
#define NOW      (1000 * OBJM_NS_PER_S)

static const struct objm_kept_limits limits = {.size = 16 * 1024, .memory = 4096};

static struct objm_kept_budget budget;
static struct objm_kept kept;

static int setup(void **state)
{
        atomic_store(&budget.left, 40);
        objm_kept_init(&kept, CAPACITY, limits, &budget);
        return fixture_setup(state);
}

static int teardown(void **state)
{
        objm_kept_deinit(&kept);
        assert_int_equal(atomic_load(&budget.left), 40);
        return fixture_teardown(state);
}

static bool in_step(struct fixture *f)
{
        return settled(f) && counts(f).in_step;
}

/* One request, as the daemon makes it. True: it was kept before. */
static bool ask_as(struct fixture *f, const struct objm_peer *peer, const char *uri, uint64_t now)
{
        struct objm_object_info info;
        struct objm_kept_object o;
        size_t len = strlen(uri);
        int fd;

        objm_qsbr_quiescent(&f->r);
        objm_kept_begin(&kept, now);
        if (objm_store_find_kept(f->s, &kept, peer, uri, len, &o))
                return true;
        if (objm_store_open(f->s, peer, uri, len, 0, &fd, &info) == 0 &&
            !objm_store_keep(f->s, &kept, uri, len, fd, &info))
                close(fd);
        return false;
}

static bool finds(struct fixture *f, const char *uri)
{
        return ask_as(f, NULL, uri, NOW);
}

static void keep(struct fixture *f, const char *uri)
{
        wait_until(f, in_step(f) && finds(f, uri));
}

static void start_and_keep(struct fixture *f)
{
        make_file(f, "file", "12345");
        start(f, true, true);
        keep(f, "/file");
        assert_int_equal(kept.n, 1);
}

static void finds_what_was_asked_for_twice(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info opened;
        struct objm_kept_object o;
        char buf[16];

        make_file(f, "file", "12345");
        make_file(f, "other", "");
        start(f, true, true);
        wait_until(f, in_step(f));
        assert_false(finds(f, "/other"));
        assert_int_equal(kept.n, 0);
        keep(f, "/file");
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        assert_int_equal(pread(o.fd, buf, sizeof(buf), 0), 5);
        assert_memory_equal(buf, "12345", 5);
        assert_memory_equal(o.bytes, "12345", 5);
        assert_int_equal(fcntl(o.fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(ask(f, "/file", &opened), 0);
        assert_memory_equal(&o.info, &opened, sizeof(opened));
        assert_false(objm_store_find_kept(f->s, &kept, NULL, "/fil", 4, &o));
        assert_false(objm_store_find_kept(f->s, &kept, NULL, "", 0, &o));
}

static void keeps_nothing_that_is_not_watched(void **state)
{
        struct fixture *f = *state;
        struct objm_export_config e = {.prefix = "/", .path = f->tree, .follow_symlinks = true};

        make_file(f, "file", "12345");
        start(f, true, false);
        wait_until(f, !counts(f).scanning);
        for (int i = 0; i < 5; i++)
                assert_false(finds(f, "/file"));
        objm_store_free(f->s);
        start_exports(f, &e, 1, true, true);
        wait_until(f, in_step(f));
        for (int i = 0; i < 5; i++)
                assert_false(finds(f, "/file"));
        assert_int_equal(kept.n, 0);
}

static void keeps_nothing_large_and_nothing_with_two_names(void **state)
{
        struct fixture *f = *state;
        char a[4300], b[4300];

        make_file(f, "large", "");
        at(f, "large", a);
        assert_return_code(truncate(a, (off_t)limits.size + 1), errno);
        make_file(f, "linked", "1");
        at(f, "linked", a);
        at(f, "../other", b);
        assert_return_code(link(a, b), errno);
        start_and_keep(f); /* which waits for longer than the two would take */
        for (int i = 0; i < 5; i++) {
                assert_false(finds(f, "/large"));
                assert_false(finds(f, "/linked"));
        }
        assert_int_equal(kept.n, 1);
}

/* The events wait unread: nobody pumps between the change and the question. */
static void expect_change(struct fixture *f)
{
        assert_false(finds(f, "/d/file"));
        wait_until(f, in_step(f));
        assert_false(finds(f, "/d/file"));
}

static void notices_changes_of_the_tree(void **state)
{
        struct fixture *f = *state;
        char path[4300];

        make_dir(f, "d");
        make_file(f, "d/file", "1");
        start(f, true, true);
        at(f, "d/file", path);
        keep(f, "/d/file");
        make_file(f, "d/new", "2");
        move(f, "d/new", "d/file");
        expect_change(f);
        keep(f, "/d/file");
        make_file(f, "d/file", "3");
        expect_change(f);
        keep(f, "/d/file");
        assert_return_code(truncate(path, 7), errno);
        expect_change(f);
        keep(f, "/d/file");
        assert_return_code(chmod(path, 0), errno);
        assert_false(finds(f, "/d/file"));
        assert_return_code(chmod(path, 0644), errno);
        keep(f, "/d/file");
        at(f, "d", path);
        assert_return_code(chmod(path, 0700), errno);
        expect_change(f);
        keep(f, "/d/file");
        move(f, "d", "e");
        expect_change(f);
        move(f, "e", "d");
        keep(f, "/d/file");
        take_away(f, "d/file");
        expect_change(f);
        assert_int_equal(kept.n, 0);
}

/* What nobody reports, the ctime shows; while the bytes are in memory it is not asked all the time. */
static void notices_changes_by_other_ways(void **state)
{
        struct fixture *f = *state;
        uint64_t later = NOW + OBJM_KEPT_FRESH_NS;
        char a[4300], b[4300], *map;
        int fd;

        start_and_keep(f);
        at(f, "file", a);
        at(f, "../other", b);
        assert_return_code(link(a, b), errno);
        assert_true(ask_as(f, NULL, "/file", later - 1));
        assert_false(ask_as(f, NULL, "/file", later));
        assert_return_code(unlink(b), errno);
        keep(f, "/file");
        fd = open(a, O_RDWR);
        assert_return_code(fd, errno);
        map = mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        map[0] = 'x';
        assert_false(ask_as(f, NULL, "/file", later));
        munmap(map, 5);
        close(fd);
}

static void assert_lent(struct fixture *f, uint64_t now, const char *bytes, uint64_t version)
{
        struct objm_kept_object o;

        objm_kept_begin(&kept, now);
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        assert_memory_equal(o.bytes, bytes, 5);
        assert_int_equal(o.info.version, version);
}

/* The bytes in memory are those of the version that is told, until the file has been asked again. */
static void bytes_and_version_belong_together(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info before, after = {0};
        char a[4300], b[4300];

        make_file(f, "file", "12345");
        start(f, true, true);
        keep(f, "/file");
        assert_int_equal(ask(f, "/file", &before), 0);
        at(f, "file", a);
        at(f, "../other", b);
        assert_return_code(link(a, b), errno);
        make_file(f, "../other", "abcde"); /* nobody reports it */
        assert_lent(f, NOW + OBJM_KEPT_FRESH_NS - 1, "12345", before.version);
        assert_false(ask_as(f, NULL, "/file", NOW + OBJM_KEPT_FRESH_NS));
        assert_return_code(unlink(b), errno);
        assert_return_code(utimensat(AT_FDCWD, a, NULL, 0), errno); /* somebody does */
        keep(f, "/file");
        assert_int_equal(ask(f, "/file", &after), 0);
        assert_int_not_equal(before.version, after.version);
        assert_lent(f, NOW, "abcde", after.version);
        assert_lent(f, NOW + OBJM_KEPT_FRESH_NS, "abcde", after.version);
}

static void what_is_not_small_is_not_in_memory(void **state)
{
        struct fixture *f = *state;
        struct objm_kept_object o;
        char path[4300], other[4300];

        make_file(f, "file", "12345");
        at(f, "file", path);
        assert_return_code(truncate(path, (off_t)limits.memory + 1), errno);
        start(f, true, true);
        keep(f, "/file");
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        assert_null(o.bytes);
        at(f, "../other", other);
        assert_return_code(link(path, other), errno);
        assert_false(finds(f, "/file")); /* each time it is asked */
}

static void survives_changes_of_others(void **state)
{
        struct fixture *f = *state;

        start_and_keep(f);
        make_file(f, "stranger", "1");
        assert_false(finds(f, "/file"));
        assert_int_equal(kept.n, 1);
        wait_until(f, in_step(f));
#ifdef OBJM_HASH_CONSTANT
        keep(f, "/file"); /* to this build a change of one is a change of all */
#else
        assert_true(finds(f, "/file"));
#endif
}

static void does_not_outlive_its_time(void **state)
{
        struct fixture *f = *state;
        uint64_t due;

        start_and_keep(f);
        due = objm_kept_due(&kept);
        assert_true(due > NOW && due <= NOW + OBJM_KEPT_NS);
        objm_kept_expire(&kept, NOW + OBJM_KEPT_NS - 1);
        assert_int_equal(kept.n, 1);
        assert_false(ask_as(f, NULL, "/file", NOW + OBJM_KEPT_NS));
        assert_int_equal(kept.n, 1); /* opened anew */
        assert_true(ask_as(f, NULL, "/file", NOW + OBJM_KEPT_NS));
        objm_kept_expire(&kept, NOW + 3 * OBJM_KEPT_NS);
        assert_int_equal(kept.n, 0);
        assert_int_equal(objm_kept_due(&kept), 0);
}

static void make_many(struct fixture *f, int n)
{
        char name[32];

        for (int i = 0; i < n; i++) {
                snprintf(name, sizeof(name), "%d", i);
                make_file(f, name, name);
        }
        start(f, true, true);
        wait_until(f, in_step(f));
}

static void ask_many(struct fixture *f, int n, int times)
{
        char uri[32];

        for (int i = 0; i < n; i++)
                for (int t = 0; t < times; t++) {
                        snprintf(uri, sizeof(uri), "/%d", i);
                        (void)finds(f, uri);
                }
}

static void is_bounded(void **state)
{
        struct fixture *f = *state;

        make_many(f, 300);
        keep(f, "/0");
        ask_many(f, 300, 3);
        assert_in_range(kept.n, 1, 40);
        assert_int_equal(atomic_load(&budget.left), 40 - kept.n);
        atomic_fetch_add(&budget.left, 1000);
        for (int i = 0; i < 5; i++)
                ask_many(f, 300, 3);
        assert_in_range(kept.n, 1, CAPACITY);
        atomic_fetch_sub(&budget.left, 1000);
}

static void what_is_not_asked_for_makes_room(void **state)
{
        struct fixture *f = *state;

        make_many(f, 300);
        keep(f, "/0");
        atomic_fetch_add(&budget.left, 1000);
        for (int i = 0; i < 5; i++)
                ask_many(f, 300, 3);
        keep(f, "/299");
        keep(f, "/17");
        atomic_fetch_sub(&budget.left, 1000);
}

static void goes_when_descriptors_run_out(void **state)
{
        struct fixture *f = *state;

        start_and_keep(f);
        objm_kept_expire(&kept, NOW);
        assert_int_equal(kept.n, 1);
        objm_kept_squeeze(&budget);
        objm_kept_expire(&kept, NOW);
        assert_int_equal(kept.n, 0);
        for (int i = 0; i < 5; i++)
                assert_false(finds(f, "/file"));
        assert_false(ask_as(f, NULL, "/file", NOW + OBJM_KEPT_NS));
        assert_false(ask_as(f, NULL, "/file", NOW + OBJM_KEPT_NS));
        assert_true(ask_as(f, NULL, "/file", NOW + OBJM_KEPT_NS));
}

static void can_be_taken_out(void **state)
{
        struct fixture *f = *state;
        struct objm_kept_object o;
        char buf[8];

        start_and_keep(f);
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        objm_kept_surrender(&kept, o.fd);
        assert_int_equal(kept.n, 0);
        assert_int_equal(pread(o.fd, buf, sizeof(buf), 0), 5);
        close(o.fd);
}

static void lists_are_asked_each_time(void **state)
{
        struct fixture *f = *state;
        uid_t uid = 4711;
        struct objm_export_config e = {.prefix = "/", .path = f->tree, .allow_uids = &uid, .n_allow_uids = 1};
        struct objm_peer good = {.uid = 4711}, bad = {.uid = 4712}, remote = {.uid = 4711, .remote = true};

        make_file(f, "file", "12345");
        start_exports(f, &e, 1, true, true);
        wait_until(f, in_step(f) && ask_as(f, &good, "/file", NOW));
        assert_false(ask_as(f, &bad, "/file", NOW));
        assert_false(ask_as(f, &remote, "/file", NOW));
        assert_true(ask_as(f, &good, "/file", NOW));
}

static void is_of_one_store(void **state)
{
        struct fixture *f = *state;
        struct objm_store *old;
        char path[4300];
        struct objm_export_config e = {.prefix = "/", .path = path};

        start_and_keep(f);
        old = f->s;
        make_dir(f, "../second");
        make_file(f, "../second/file", "other");
        at(f, "../second", path);
        start_exports(f, &e, 1, true, true);
        wait_until(f, in_step(f));
        assert_false(finds(f, "/file"));
        assert_int_equal(kept.n, 0);
        objm_qsbr_offline(&f->r);
        objm_store_free(old);
        objm_qsbr_online(&f->r);
}

/* As a worker does that has been told of several connections which may be read. */
static void is_owed_to_each_request(void **state)
{
        struct fixture *f = *state;
        struct objm_kept_object o;
        uint64_t reported, received;

        start_and_keep(f);
        reported = objm_kept_mark(&kept);
        received = objm_kept_mark(&kept);
        objm_kept_need(&kept, reported);
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        make_file(f, "new", "6789");
        move(f, "new", "file");
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o)); /* had come before the change */
        objm_kept_need(&kept, received);
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o)); /* the same */
        received = objm_kept_mark(&kept);
        objm_kept_need(&kept, reported);
        assert_true(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        objm_kept_need(&kept, received);
        assert_false(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
        objm_kept_need(&kept, reported); /* what is known since then */
        assert_false(objm_store_find_kept(f->s, &kept, NULL, "/file", 5, &o));
}

#define HOT 256

/* As the store does, asked for by hash alone. True: it was kept before. */
static bool ask_by_hash(struct objm_kept *k, uint64_t hash)
{
        static const struct objm_object_info info;
        static const struct timespec ctime;
        int fd;

        if (objm_kept_look(k, hash, &hash, sizeof(hash)))
                return true;
        k->wish.hash = hash;
        k->wish.len = sizeof(hash);
        k->wish.uri = objm_kept_want(k, hash) ? &hash : NULL;
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        if (!objm_kept_put(k, fd, &ctime, &info))
                close(fd);
        return false;
}

/* None of them takes the place of another one. */
static void has_room_for_a_quarter_of_its_places(void **state)
{
        struct objm_kept_budget own = {.left = HOT};
        struct objm_kept k;
        unsigned found = 0;

        objm_kept_init(&k, 4 * HOT, limits, &own);
        objm_kept_begin(&k, NOW);
        for (int round = 0; round < 3; round++) {
                uint64_t hash = 88172645463325252;

                found = 0;
                for (int i = 0; i < HOT; i++) {
                        hash ^= hash << 13;
                        hash ^= hash >> 7;
                        hash ^= hash << 17;
                        found += ask_by_hash(&k, hash);
                }
        }
        assert_int_equal(found, HOT);
        objm_kept_deinit(&k);
        assert_int_equal(own.left, HOT);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(finds_what_was_asked_for_twice),
                TEST(keeps_nothing_that_is_not_watched),
                TEST(keeps_nothing_large_and_nothing_with_two_names),
                TEST(notices_changes_of_the_tree),
                TEST(notices_changes_by_other_ways),
                TEST(bytes_and_version_belong_together),
                TEST(what_is_not_small_is_not_in_memory),
                TEST(survives_changes_of_others),
                TEST(does_not_outlive_its_time),
                TEST(is_bounded),
                TEST(what_is_not_asked_for_makes_room),
                TEST(goes_when_descriptors_run_out),
                TEST(can_be_taken_out),
                TEST(lists_are_asked_each_time),
                TEST(is_of_one_store),
                TEST(is_owed_to_each_request),
                TEST(has_room_for_a_quarter_of_its_places),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
