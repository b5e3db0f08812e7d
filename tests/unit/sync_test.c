/* SPDX-License-Identifier: MIT */
/*
 * Scan and watch: that the index knows what the tree holds, and follows it.
 */
#include "store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* No request has been made, so the index holds what scan and watch put there. */
static void a_scan_finds_every_regular_file(void **state)
{
        struct fixture *f = *state;
        char name[64], path[4300];

        for (int d = 0; d < 20; d++) {
                sprintf(name, "d%d", d);
                make_dir(f, name);
                sprintf(name, "d%d/sub", d);
                make_dir(f, name);
                for (int i = 0; i < 50; i++) {
                        sprintf(name, "d%d/%s%d", d, i % 2 ? "sub/" : "", i);
                        make_file(f, name, "x");
                }
        }
        make_link(f, "d1", "link");
        make_link(f, "d1/0", "filelink");
        at(f, "fifo", path);
        assert_return_code(mkfifo(path, 0666), errno);
        start(f, true, false);
        wait_until(f, !counts(f).scanning);
        assert_int_equal(counts(f).objects, 1000);
        assert_int_equal(counts(f).scanned, 1000);
        assert_false(counts(f).in_step);
        assert_int_equal(objm_store_watch_fd(f->s), -1);
        assert_int_equal(ask(f, "/d3/sub/7", NULL), 0);
        assert_int_equal(counts(f).hits, 1);
        assert_int_equal(counts(f).misses, 0);
}

static void names_too_long_for_a_uri_are_passed_over(void **state)
{
        struct fixture *f = *state;
        char name[256], cwd[4096];

        memset(name, 'n', 255);
        name[255] = 0;
        make_file(f, "short", "");
        assert_non_null(getcwd(cwd, sizeof(cwd)));
        assert_return_code(chdir(f->tree), errno);
        for (int i = 0; i < 18; i++) {
                int fd = open("file", O_WRONLY | O_CREAT, 0644);

                assert_return_code(fd, errno);
                close(fd);
                assert_return_code(mkdir(name, 0755), errno);
                assert_return_code(chdir(name), errno);
        }
        assert_return_code(chdir(cwd), errno);
        start(f, true, true);
        wait_until(f, !counts(f).scanning);
        /* below 15 directories a name has 255 bytes, so "file" fits there and not below the 16th */
        assert_int_equal(counts(f).objects, 17);
        assert_int_equal(atomic_load(&f->logged), 1);
}

static bool stat_says(struct fixture *f, const char *uri, int64_t size)
{
        struct objm_object_info info;
        int r = ask_stat(f, uri, &info);

        return size < 0 ? r == OBJM_STORE_NOT_FOUND : r == 0 && info.size == (uint64_t)size;
}

#define BIG 5000

/* What has been done to the tree has reached the index. */
static bool in_step(struct fixture *f)
{
        return settled(f) && counts(f).in_step;
}

/* The index knows the name; the tree is not asked for it. */
static bool stat_hits(struct fixture *f, const char *uri)
{
        uint64_t hits = counts(f).hits;

        return ask_stat(f, uri, NULL) == 0 && counts(f).hits > hits;
}

static void start_in_step(struct fixture *f)
{
        start(f, true, true);
        wait_until(f, in_step(f));
}

static bool finds(struct fixture *f, const char *uri, uid_t uid, struct objm_object_info *ret)
{
        const struct objm_peer peer = {.uid = uid, .gid = uid};
        struct objm_store_name name = {.uri = uri, .len = strlen(uri)};

        objm_store_expect(f->s, &name, 1);
        return objm_store_find(f->s, &peer, &name, ret);
}

/* Expected names are found as long as the index alone can say, for those who may ask, and are counted when told. */
static void finds_what_is_expected(void **state)
{
        static const uid_t uids[] = {10};
        struct fixture *f = *state;
        struct objm_export_config e = {.prefix = "/p/", .path = f->tree, .allow_uids = uids, .n_allow_uids = 1};
        struct objm_object_info info, found;

        make_file(f, "file", "22");
        start_exports(f, &e, 1, true, true);
        wait_until(f, in_step(f));
        assert_int_equal(ask_stat(f, "/p/file", &info), 0);
        assert_int_equal(counts(f).hits, 1);
        assert_true(finds(f, "/p/file", 10, &found));
        assert_memory_equal(&found, &info, sizeof(info));
        assert_int_equal(counts(f).hits, 1);
        objm_store_found(f->s, 3);
        assert_int_equal(counts(f).hits, 4);
        assert_false(finds(f, "/p/file", 11, &found));
        assert_false(finds(f, "/p/none", 10, &found));
        assert_false(finds(f, "/p/", 10, &found));
        assert_false(finds(f, "/file", 10, &found));
        assert_false(finds(f, "", 10, &found));
        objm_store_unwatch(f->s);
        assert_false(finds(f, "/p/file", 10, &found));
}

/* In step, STAT does not ask the tree: the change has come by an event. */
static void follows_files(void **state)
{
        struct fixture *f = *state;
        char path[4300];

        make_file(f, "file", "1");
        start_in_step(f);
        assert_true(stat_says(f, "/file", 1));
        assert_int_equal(counts(f).hits, 1);
        make_file(f, "file", "22");
        wait_until(f, in_step(f));
        assert_true(stat_says(f, "/file", 2));
        at(f, "file", path);
        assert_return_code(truncate(path, 7), errno);
        wait_until(f, in_step(f));
        assert_true(stat_says(f, "/file", 7));
        make_file(f, "new", "333");
        wait_until(f, in_step(f));
        assert_int_equal(counts(f).objects, 2);
        assert_true(stat_says(f, "/new", 3));
        move(f, "new", "file");
        wait_until(f, in_step(f));
        assert_int_equal(counts(f).objects, 1);
        assert_true(stat_says(f, "/file", 3));
        take_away(f, "file");
        wait_until(f, in_step(f));
        assert_int_equal(counts(f).objects, 0);
        assert_int_equal(counts(f).hits, 5);
        assert_int_equal(counts(f).misses, 0);
}

static void follows_directories(void **state)
{
        struct fixture *f = *state;

        start_in_step(f);
        assert_int_equal(counts(f).watches, 1);
        make_dir(f, "a");
        make_dir(f, "a/b");
        make_file(f, "a/b/one", "1");
        make_file(f, "a/two", "22");
        wait_until(f, counts(f).objects == 2 && counts(f).watches == 3);
        move(f, "a/b", "c");
        wait_until(f, counts(f).objects == 2 && stat_says(f, "/c/one", 1) && stat_says(f, "/a/b/one", -1));
        make_file(f, "c/three", "333");
        wait_until(f, counts(f).objects == 3);
        make_dir(f, "../away");
        move(f, "c", "../away/c");
        wait_until(f, in_step(f) && counts(f).objects == 1 && counts(f).watches == 2);
        make_file(f, "../away/c/four", "");
        move(f, "../away/c", "a/c");
        wait_until(f, counts(f).objects == 4 && stat_says(f, "/a/c/three", 3));
        take_away(f, "a/c/one");
        take_away(f, "a/c/three");
        take_away(f, "a/c/four");
        take_away(f, "a/c");
        wait_until(f, counts(f).objects == 1 && counts(f).watches == 2);
}

/* A change made under another name of the same inode is not reported for this one. */
static void files_with_several_names_are_asked_of_the_tree(void **state)
{
        struct fixture *f = *state;
        char a[4300], b[4300];

        make_file(f, "file", "1");
        at(f, "file", a);
        at(f, "../other-name", b);
        assert_return_code(link(a, b), errno);
        start_in_step(f);
        make_file(f, "../other-name", "4444");
        assert_true(stat_says(f, "/file", 4));
        assert_int_equal(counts(f).misses, 1);
}

/* One directory, two URIs: both follow. */
static void overlapping_exports_both_follow(void **state)
{
        struct fixture *f = *state;
        char sub[4300];
        struct objm_export_config e[2] = {{.prefix = "/", .path = f->tree}, {.prefix = "sub:/", .path = sub}};

        make_dir(f, "sub");
        at(f, "sub", sub);
        start_exports(f, e, 2, true, true);
        wait_until(f, counts(f).in_step);
        make_file(f, "sub/file", "1");
        wait_until(f, counts(f).objects == 2);
        assert_true(stat_says(f, "/sub/file", 1));
        assert_true(stat_says(f, "sub:/file", 1));
        take_away(f, "sub/file");
        wait_until(f, counts(f).objects == 0);
}

/*
 * A directory is removed and made again, and its file with it, while events of the first wait. Those lead to the second
 * file, but nobody watches its directory yet: what the index then holds must not be trusted once the file has gone.
 */
static void a_late_event_of_a_removed_directory_is_not_trusted(void **state)
{
        struct fixture *f = *state;
        char path[4300];
        int fd;

        make_dir(f, "a");
        make_file(f, "a/x", "1");
        make_file(f, "b", "");
        start_in_step(f);
        at(f, "a/x", path);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        take_away(f, "a/x");
        assert_return_code(ftruncate(fd, 7), errno);
        make_file(f, "marker", "");
        for (int i = 0; i < 5000; i++)
                make_file(f, i % 2 ? "b" : "marker", "xx"); /* keeps the one who handles events from the end */
        take_away(f, "a");
        make_dir(f, "a");
        make_file(f, "a/x", "22");
        wait_until(f, stat_hits(f, "/marker"));
        take_away(f, "a/x");
        make_dir(f, "a/x");
        close(fd);
        wait_until(f, in_step(f));
        assert_int_equal(ask_stat(f, "/a/x", NULL), OBJM_STORE_NOT_REGULAR);
        assert_int_equal(counts(f).watches, 3);
}

/* It moves away under the scan, and another takes its name. */
static void a_directory_that_moves_is_not_scanned_under_its_old_name(void **state)
{
        struct fixture *f = *state;
        char name[64];

        make_dir(f, "../big");
        for (int i = 0; i < BIG; i++) {
                sprintf(name, "../big/%d", i);
                make_file(f, name, "x");
        }
        start_in_step(f);
        move(f, "../big", "big");
        wait_until(f, counts(f).objects > 10);
        move(f, "big", "../big");
        make_dir(f, "big");
        wait_until(f, in_step(f));
        assert_int_equal(counts(f).objects, 0);
        assert_int_equal(counts(f).watches, 2);
        for (int i = 0; i < BIG; i++) {
                sprintf(name, "/big/%d", i);
                assert_true(stat_says(f, name, -1));
        }
}

/* The events of an exchange: each leaves, the other comes, and the first to come is there before its name was left. */
static void follows_directories_that_change_places(void **state)
{
        struct fixture *f = *state;
        char a[4300], b[4300];

        make_dir(f, "a");
        make_dir(f, "b");
        make_file(f, "a/file", "1");
        make_file(f, "b/file", "22");
        at(f, "a", a);
        at(f, "b", b);
        start_in_step(f);
        for (int i = 0; i < 50; i++) {
                if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 1u << 1 /* RENAME_EXCHANGE */) < 0)
                        skip();
                wait_until(f, in_step(f));
                assert_int_equal(counts(f).watches, 3);
                assert_true(stat_says(f, "/a/file", i % 2 ? 1 : 2));
                assert_true(stat_says(f, "/b/file", i % 2 ? 2 : 1));
        }
}

static long queue_limit(void)
{
        FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
        long n = 0;

        if (!file || fscanf(file, "%ld", &n) != 1)
                n = 0;
        if (file)
                fclose(file);
        return n;
}

/* Nobody reads the events until there were too many: then everything is scanned again. */
static void lost_events_lead_to_another_scan(void **state)
{
        struct fixture *f = *state;
        long n = queue_limit() / 2 + 100;
        char name[64];

        if (n > 50000)
                skip();
        make_file(f, "gone", "");
        make_dir(f, "d");
        make_file(f, "d/gone", "");
        start_in_step(f);
        for (long i = 0; i < n; i++) {
                sprintf(name, "file%ld", i);
                make_file(f, name, "x");
        }
        take_away(f, "gone");
        take_away(f, "d/gone");
        take_away(f, "d");
        make_dir(f, "e");
        make_file(f, "e/late", "");
        wait_until(f, atomic_load(&f->logged) > 0);
        wait_until(f, in_step(f));
        assert_int_equal(counts(f).objects, n + 1);
        assert_int_equal(atomic_load(&f->logged), 1);
        assert_true(stat_says(f, "/gone", -1));
        assert_true(stat_says(f, "/d/gone", -1));
}

#define CANNOT 77

/* From here on this process may have three watches. False where that is not to be had. */
static bool limit_watches(void)
{
        FILE *file;

        if (unshare(CLONE_NEWUSER) < 0)
                return false;
        file = fopen("/proc/sys/user/max_inotify_watches", "w");
        if (!file)
                return false;
        fprintf(file, "3");
        return fclose(file) == 0;
}

/* As when the process dies, and somebody else has its watch open as well. Undo with forget_old_watch(). */
static void die(struct fixture *f)
{
        if (f->old_watch_fd < 0)
                f->old_watch_fd = fcntl(objm_store_watch_fd(f->s), F_DUPFD_CLOEXEC, 0);
        assert_return_code(f->old_watch_fd, errno);
        objm_store_free(f->s);
        f->s = NULL;
        atomic_store(&f->armed, 0);
}

static void forget_old_watch(struct fixture *f)
{
        close(f->old_watch_fd);
        f->old_watch_fd = -1;
}

/* What the kernel watches, see proc_pid_fdinfo(5). */
static unsigned watched_by_kernel(int fd)
{
        char path[64], line[512];
        unsigned n = 0;
        FILE *info;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        info = fopen(path, "re");
        assert_non_null(info);
        while (fgets(line, sizeof(line), info))
                n += strncmp(line, "inotify wd:", 11) == 0;
        fclose(info);
        return n;
}

static void the_watch_of_a_process_before_is_used_on(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info info;

        make_dir(f, "stays");
        make_dir(f, "leaves");
        make_dir(f, "ends");
        make_file(f, "stays/a", "1");
        start_in_step(f);
        die(f);
        make_file(f, "stays/a", "22");
        make_file(f, "ends/b", "");
        take_away(f, "ends/b");
        take_away(f, "ends");
        move(f, "leaves", "../elsewhere");
        make_dir(f, "comes");
        start_in_step(f);
        assert_int_equal(counts(f).watches, 3);
        assert_int_equal(watched_by_kernel(f->old_watch_fd), 4);
        assert_int_equal(ask_stat(f, "/stays/a", &info), 0);
        assert_int_equal(info.size, 2);
        make_file(f, "../elsewhere/c", "");
        wait_until(f, watched_by_kernel(f->old_watch_fd) == 3);
        make_file(f, "stays/a", "333");
        make_file(f, "comes/d", "");
        wait_until(f, in_step(f) && stat_hits(f, "/comes/d"));
        assert_int_equal(ask_stat(f, "/stays/a", &info), 0);
        assert_int_equal(info.size, 3);
        assert_int_equal(ask_stat(f, "/ends/b", NULL), OBJM_STORE_NOT_FOUND);
        forget_old_watch(f);
}

static void use_more_directories_than_watches(void)
{
        struct fixture *f;
        char name[64];

        fixture_setup((void **)&f);
        for (int i = 0; i < 10; i++) {
                sprintf(name, "d%d", i);
                make_dir(f, name);
                sprintf(name, "d%d/file", i);
                make_file(f, name, "x");
        }
        start(f, true, true);
        wait_until(f, settled(f));
        assert_int_equal(counts(f).objects, 10);
        assert_int_equal(counts(f).watches, 3);
        assert_false(counts(f).in_step);
        assert_int_equal(atomic_load(&f->logged), 1);
        for (int i = 0; i < 10; i++) {
                sprintf(name, "/d%d/file", i);
                make_file(f, name + 1, "longer");
                assert_true(stat_says(f, name, 6));
                assert_int_equal(ask(f, name, NULL), 0);
        }
        fixture_teardown((void **)&f);
}

/* In a child with a user namespace of its own; forked while there is one thread only. */
static void too_many_directories_only_cost_the_step(void **state)
{
        int status;
        pid_t pid = fork();

        assert_return_code(pid, errno);
        if (pid == 0) {
                if (!limit_watches())
                        _exit(CANNOT);
                use_more_directories_than_watches(); /* what fails in there ends this process by a signal or status */
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == CANNOT)
                skip();
        assert_int_equal(WEXITSTATUS(status), 0);
}

/* Without descriptors the scan waits for some and then finds all. */
static void a_scan_survives_a_lack_of_descriptors(void **state)
{
        struct fixture *f = *state;
        struct rlimit old, few;
        char name[64];
        int top, held;

        for (int i = 0; i < 50; i++) {
                sprintf(name, "d%d", i);
                make_dir(f, name);
                sprintf(name, "d%d/file", i);
                make_file(f, name, "x");
        }
        start(f, true, true);
        wait_until(f, settled(f));
        objm_store_free(f->s);
        f->s = NULL;
        getrlimit(RLIMIT_NOFILE, &old);
        few = old;
        top = dup(0);
        close(top);
        few.rlim_cur = (rlim_t)top + 3; /* the root, inotify, and what makes the scan start; none for another thread */
        assert_return_code(setrlimit(RLIMIT_NOFILE, &few), errno);
        held = open("/dev/null", O_RDONLY | O_CLOEXEC);
        start(f, true, true);
        wait_until(f, atomic_load(&f->logged) == 1);
        assert_true(counts(f).scanning);
        assert_int_equal(ask(f, "/d1/file", NULL), -EMFILE);
        close(held);
        wait_until(f, in_step(f));
        setrlimit(RLIMIT_NOFILE, &old);
        assert_int_equal(counts(f).objects, 50);
        assert_int_equal(counts(f).watches, 51);
}

static void ends_promptly_wherever_it_stands(void **state)
{
        struct fixture *f = *state;
        struct objm_export_config e = {.prefix = "/", .path = "/usr"};

        for (int i = 0; i < 30; i++) {
                start_exports(f, &e, 1, true, true);
                while (counts(f).scanning && counts(f).scanned < (uint64_t)i * 100)
                        sched_yield();
                objm_store_on_watch_ready(f->s, on_rearm, f);
                objm_store_free(f->s);
                f->s = NULL;
        }
        start_exports(f, &e, 1, true, true);
        objm_pool_stop(f->p);
}

/*
 * Two threads create, write, rename and remove files and directories of a small universe of names while the store
 * scans and watches, and a third asks. When it is quiet again, what the index says must be what the tree holds.
 */
#define STORM_STEPS 3000

struct storm {
        pthread_t thread;
        struct fixture *f;
        unsigned seed;
        _Atomic bool done;
};

static void random_name(struct storm *s, char name[16])
{
        int depth = rand_r(&s->seed) % 3 + 1;

        for (int i = 0; i < depth; i++) {
                name[2 * i] = "abc"[rand_r(&s->seed) % 3];
                name[2 * i + 1] = i + 1 < depth ? '/' : 0;
        }
}

static void write_some(const char *path, unsigned n)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        if (fd < 0)
                return;
        if (write(fd, "xxxxxxxxxxxxxxxx", n % 16) < 0 || ftruncate(fd, n % 16) < 0)
                assert_int_equal(errno, EISDIR);
        close(fd);
}

static void *rage(void *arg)
{
        struct storm *s = arg;
        char a[16], b[16], from[4300], to[4300];

        for (int i = 0; i < STORM_STEPS; i++) {
                random_name(s, a);
                random_name(s, b);
                at(s->f, a, from);
                at(s->f, b, to);
                switch (rand_r(&s->seed) % 6) {
                case 0:
                case 1:
                        write_some(from, (unsigned)rand_r(&s->seed));
                        break;
                case 2:
                        mkdir(from, 0755);
                        break;
                case 3:
                        remove(from);
                        break;
                case 4:
                        rename(from, to);
                        break;
                default:
                        if (truncate(from, rand_r(&s->seed) % 100) < 0)
                                continue;
                }
        }
        atomic_store(&s->done, true);
        return NULL;
}

static void check_name(struct fixture *f, const char *uri)
{
        struct objm_object_info info;
        char path[4300];
        struct stat st;
        int r = ask_stat(f, uri, &info);

        at(f, uri + 1, path);
        if (lstat(path, &st) < 0) {
                assert_int_equal(r, OBJM_STORE_NOT_FOUND);
                return;
        }
        assert_int_equal(r, S_ISREG(st.st_mode) ? 0 : OBJM_STORE_NOT_REGULAR);
        if (r == 0)
                assert_int_equal(info.size, st.st_size);
}

static void check_universe(struct fixture *f)
{
        char uri[] = "/x/x/x";

        for (int i = 0; i < 3 * 4 * 4; i++) {
                uri[1] = "abc"[i % 3];
                uri[2] = i / 3 % 4 ? '/' : 0;
                uri[3] = "xabc"[i / 3 % 4];
                uri[4] = i / 12 ? '/' : 0;
                uri[5] = "xabc"[i / 12];
                check_name(f, uri);
        }
}

static void converge_after_a_storm(struct fixture *f, bool deaths)
{
        struct storm s[2];
        char uri[20] = "/";
        unsigned asked = 0;

        start(f, true, true);
        for (unsigned round = 0; round < 8; round++) {
                for (unsigned i = 0; i < 2; i++) {
                        s[i] = (struct storm){.f = f, .seed = round * 2 + i};
                        assert_int_equal(pthread_create(&s[i].thread, NULL, rage, &s[i]), 0);
                }
                for (struct storm mine = {.seed = round}; !s[0].done || !s[1].done;) {
                        if (deaths && ++asked % 1000 == 0) {
                                die(f);
                                start(f, true, true);
                        }
                        pump(f, 0);
                        random_name(&mine, uri + 1);
                        ask(f, uri, NULL);
                }
                for (int i = 0; i < 2; i++)
                        pthread_join(s[i].thread, NULL);
                wait_until(f, in_step(f));
                check_universe(f);
        }
}

static void converges_after_a_storm(void **state)
{
        converge_after_a_storm(*state, false);
}

static void converges_after_a_storm_and_deaths(void **state)
{
        converge_after_a_storm(*state, true);
        forget_old_watch(*state);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_scan_finds_every_regular_file),
                TEST(names_too_long_for_a_uri_are_passed_over),
                TEST(finds_what_is_expected),
                TEST(follows_files),
                TEST(follows_directories),
                TEST(files_with_several_names_are_asked_of_the_tree),
                TEST(overlapping_exports_both_follow),
                TEST(a_late_event_of_a_removed_directory_is_not_trusted),
                TEST(a_directory_that_moves_is_not_scanned_under_its_old_name),
                TEST(follows_directories_that_change_places),
                TEST(lost_events_lead_to_another_scan),
                TEST(the_watch_of_a_process_before_is_used_on),
                cmocka_unit_test(too_many_directories_only_cost_the_step),
                TEST(a_scan_survives_a_lack_of_descriptors),
                TEST(ends_promptly_wherever_it_stands),
                TEST(converges_after_a_storm),
                TEST(converges_after_a_storm_and_deaths),
        };

        return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
