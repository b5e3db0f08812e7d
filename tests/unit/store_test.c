/* SPDX-License-Identifier: MIT */
/*
 * Requests to a store whose tree may be hostile. Each test that does not say otherwise starts with an empty index, so
 * the first request of a name takes the way of a miss and the second that of a hit.
 */
#include "store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

/* Twice: as a miss and, if it was found, as a hit. */
static void expect(struct fixture *f, const char *uri, int condition)
{
        assert_int_equal(ask(f, uri, NULL), condition);
        assert_int_equal(ask(f, uri, NULL), condition);
        assert_int_equal(ask_stat(f, uri, NULL), condition);
}

static void serves_regular_files(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info a, b;
        char odd[] = "/odd \xff\n\x01%2e\\name";

        make_dir(f, "d");
        make_file(f, "d/file", "12345");
        make_file(f, odd + 1, "");
        start(f, false, false);
        assert_int_equal(ask(f, "/d/file", &a), 0);
        assert_int_equal(a.size, 5);
        assert_true(a.version != 0);
        assert_int_equal(ask_stat(f, "/d/file", &b), 0);
        assert_memory_equal(&a, &b, sizeof(a));
        expect(f, odd, 0);
        expect(f, "/d/%66ile", OBJM_STORE_NOT_FOUND);
        assert_int_equal(counts(f).objects, 2);
}

static void a_grant_is_a_description_of_its_own(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info info;
        int fd[2];

        make_file(f, "file", "0123456789");
        start(f, false, false);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(objm_store_open(f->s, NULL, "/file", 5, 0, &fd[i], &info), 0);
                assert_int_equal(fcntl(fd[i], F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
                assert_int_equal(fcntl(fd[i], F_GETFD), FD_CLOEXEC);
                assert_int_equal(lseek(fd[i], 0, SEEK_CUR), 0);
        }
        assert_int_equal(lseek(fd[0], 7, SEEK_SET), 7);
        assert_int_equal(lseek(fd[1], 0, SEEK_CUR), 0);
        assert_true(syscall(SYS_kcmp, getpid(), getpid(), 0, fd[0], fd[1]) > 0);
        close(fd[0]);
        close(fd[1]);
}

static void refuses_what_is_no_regular_file(void **state)
{
        struct fixture *f = *state;
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char path[4300];

        make_dir(f, "dir");
        at(f, "fifo", path);
        assert_return_code(mkfifo(path, 0666), errno);
        snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/socket", f->tree);
        assert_return_code(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), errno);
        close(sock);
        start(f, false, false);
        expect(f, "/dir", OBJM_STORE_NOT_REGULAR);
        expect(f, "/fifo", OBJM_STORE_NOT_REGULAR);
        expect(f, "/socket", OBJM_STORE_NOT_REGULAR);
        at(f, "null", path);
        if (mknod(path, S_IFCHR | 0666, makedev(1, 3)) == 0)
                expect(f, "/null", OBJM_STORE_NOT_REGULAR);
        assert_int_equal(counts(f).objects, 0);
}

static void refuses_symlinks(void **state)
{
        struct fixture *f = *state;

        make_dir(f, "d");
        make_file(f, "d/file", "");
        make_link(f, "d/file", "in");
        make_link(f, "../outside", "out");
        make_link(f, "/etc/passwd", "absolute");
        make_link(f, "d", "dirlink");
        make_link(f, "..", "up");
        make_link(f, "/proc/self/root", "magic");
        make_link(f, "nothing", "dangling");
        start(f, false, false);
        expect(f, "/in", OBJM_STORE_LINK);
        expect(f, "/out", OBJM_STORE_LINK);
        expect(f, "/absolute", OBJM_STORE_LINK);
        expect(f, "/dirlink/file", OBJM_STORE_LINK);
        expect(f, "/up/outside", OBJM_STORE_LINK);
        expect(f, "/magic/etc/passwd", OBJM_STORE_LINK);
        expect(f, "/dangling", OBJM_STORE_LINK);
}

static void follows_symlinks_only_inside_when_allowed(void **state)
{
        struct fixture *f = *state;
        struct objm_export_config e = {.prefix = "/", .path = f->tree, .follow_symlinks = true};

        make_dir(f, "d");
        make_file(f, "d/file", "");
        make_link(f, "d/file", "in");
        make_link(f, "d", "dirlink");
        make_link(f, "../outside", "out");
        make_link(f, "/etc/passwd", "absolute");
        make_link(f, "..", "up");
        make_link(f, "/proc/self/root", "magic");
        make_link(f, "loop", "loop");
        start_exports(f, &e, 1, false, false);
        expect(f, "/in", 0);
        expect(f, "/dirlink/file", 0);
        expect(f, "/out", OBJM_STORE_LINK);
        expect(f, "/absolute", OBJM_STORE_LINK);
        expect(f, "/up/outside", OBJM_STORE_LINK);
        expect(f, "/magic/etc/passwd", OBJM_STORE_LINK);
        expect(f, "/loop", OBJM_STORE_LINK);
}

static void refuses_names_that_no_object_has(void **state)
{
        static const char *const invalid[] = {
                "/",
                "//",
                "//file",
                "/file/",
                "/d//file",
                "/.",
                "/..",
                "/./file",
                "/d/../file",
                "/d/.",
                "/d/..",
                "/d/./",
                "/../outside",
                "/d/../../outside",
                "/../tree/file",
                "/d/",
                "/..//",
                "/.//.",
                "/../",
        };
        struct fixture *f = *state;
        struct objm_object_info info;
        int fd;

        make_dir(f, "d");
        make_file(f, "file", "");
        make_file(f, "d/file", "");
        make_file(f, "d/...", "");
        start(f, false, false);
        for (size_t i = 0; i < objm_array_len(invalid); i++)
                expect(f, invalid[i], OBJM_STORE_INVALID);
        expect(f, "/d/...", 0);
        expect(f, "/file", 0);
        expect(f, "/file/x", OBJM_STORE_NOT_FOUND);
        expect(f, "file", OBJM_STORE_NO_EXPORT);
        expect(f, "/%2e%2e/outside", OBJM_STORE_NOT_FOUND);
        assert_int_equal(objm_store_open(f->s, NULL, "/file\0x", 7, 0, &fd, &info), OBJM_STORE_INVALID);
        assert_int_equal(objm_store_open(f->s, NULL, "/file\0", 6, 0, &fd, &info), OBJM_STORE_INVALID);
        assert_int_equal(objm_store_open(f->s, NULL, "", 0, 0, &fd, &info), OBJM_STORE_INVALID);
}

/* Sixteen segments of 255 bytes and a '/' each are 4096 bytes. */
static void length_limits(void **state)
{
        struct fixture *f = *state;
        char uri[4200], name[300], cwd[4096];
        struct objm_object_info info;
        int fd;

        memset(name, 'n', sizeof(name));
        name[255] = 0;
        assert_non_null(getcwd(cwd, sizeof(cwd)));
        assert_return_code(chdir(f->tree), errno);
        for (int i = 0; i < 15; i++) {
                assert_return_code(mkdir(name, 0755), errno);
                assert_return_code(chdir(name), errno);
        }
        fd = open(name, O_WRONLY | O_CREAT, 0644);
        assert_return_code(fd, errno);
        close(fd);
        assert_return_code(chdir(cwd), errno);
        start(f, false, false);
        memset(uri, 'n', sizeof(uri));
        for (int i = 0; i < 4200; i += 256)
                uri[i] = '/';
        for (int i = 0; i < 2; i++) {
                assert_int_equal(objm_store_open(f->s, NULL, uri, 4096, 0, &fd, &info), 0);
                close(fd);
        }
        assert_int_equal(objm_store_open(f->s, NULL, uri, 4097, 0, &fd, &info), OBJM_STORE_INVALID);
        assert_int_equal(objm_store_open(f->s, NULL, uri, 256, 0, &fd, &info), OBJM_STORE_NOT_REGULAR);
        memset(uri + 1, 'n', 300);
        assert_int_equal(objm_store_open(f->s, NULL, uri, 257, 0, &fd, &info), OBJM_STORE_NOT_FOUND);
}

static void the_longest_prefix_wins(void **state)
{
        struct fixture *f = *state;
        char other[4300];
        struct objm_export_config e[3];
        struct objm_object_info info;

        make_dir(f, "sub");
        make_dir(f, "../other");
        at(f, "../other", other);
        make_file(f, "a", "1");
        make_file(f, "sub/hidden", "1");
        make_file(f, "../other/b", "22");
        e[0] = (struct objm_export_config){.prefix = "/", .path = f->tree};
        e[1] = (struct objm_export_config){.prefix = "/sub/", .path = other};
        e[2] = (struct objm_export_config){.prefix = "name:/", .path = other};
        start_exports(f, e, 3, true, false);
        wait_until(f, !counts(f).scanning);
        assert_int_equal(counts(f).objects, 3); /* "/a", "/sub/b", "name:/b" */
        expect(f, "/a", 0);
        expect(f, "/sub/hidden", OBJM_STORE_NOT_FOUND);
        assert_int_equal(ask(f, "/sub/b", &info), 0);
        assert_int_equal(info.size, 2);
        expect(f, "name:/b", 0);
        expect(f, "/sub", OBJM_STORE_NOT_REGULAR);
        expect(f, "/sub/", OBJM_STORE_INVALID);
        expect(f, "name:", OBJM_STORE_NO_EXPORT);
}

static int ask_as(struct fixture *f, const char *uri, uid_t uid, gid_t gid, const gid_t *groups, uint32_t n)
{
        struct objm_peer peer = {.uid = uid, .gid = gid, .groups = groups, .n_groups = n};
        struct objm_object_info info;
        int fd = -1, r = objm_store_open(f->s, &peer, uri, strlen(uri), 0, &fd, &info);

        assert_int_equal(objm_store_stat(f->s, &peer, uri, strlen(uri), 0, &info), r);
        if (r == 0)
                close(fd);
        return r;
}

static void allow_lists_hide_everything(void **state)
{
        static const uid_t uids[] = {10, 11};
        static const gid_t gids[] = {20};
        struct fixture *f = *state;
        struct objm_export_config e = {.prefix = "/",
                                       .path = f->tree,
                                       .allow_uids = uids,
                                       .n_allow_uids = 2,
                                       .allow_gids = gids,
                                       .n_allow_gids = 1};
        gid_t groups[] = {7, 20};

        make_file(f, "file", "");
        start_exports(f, &e, 1, false, false);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(ask_as(f, "/file", 10, 1, NULL, 0), 0);
                assert_int_equal(ask_as(f, "/file", 11, 1, NULL, 0), 0);
                assert_int_equal(ask_as(f, "/file", 12, 20, NULL, 0), 0);
                assert_int_equal(ask_as(f, "/file", 12, 1, groups, 2), 0);
                assert_int_equal(ask_as(f, "/file", 12, 1, groups, 1), OBJM_STORE_DENIED);
                assert_int_equal(ask_as(f, "/file", 0, 0, NULL, 0), OBJM_STORE_DENIED);
                assert_int_equal(ask_as(f, "/file", OBJM_UID_UNMAPPED, 20, groups, 2), OBJM_STORE_DENIED);
                assert_int_equal(ask_as(f, "/none", 12, 1, NULL, 0), OBJM_STORE_DENIED);
                assert_int_equal(ask_as(f, "/..", 12, 1, NULL, 0), OBJM_STORE_DENIED);
                assert_int_equal(ask(f, "/file", NULL), 0);
        }
}

static void remote_peers_are_on_no_list(void **state)
{
        static const uid_t uids[] = {0, (uid_t)-1};
        struct fixture *f = *state;
        struct objm_export_config e[] = {{.prefix = "/", .path = f->tree},
                                         {.prefix = "/u/", .path = f->tree, .allow_uids = uids, .n_allow_uids = 2},
                                         {.prefix = "/g/", .path = f->tree, .allow_gids = uids, .n_allow_gids = 2}};
        struct objm_peer peer = {.remote = true};
        struct objm_object_info info;

        make_file(f, "file", "");
        start_exports(f, e, 3, false, false);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(objm_store_stat(f->s, &peer, "/file", 5, 0, &info), 0);
                assert_int_equal(objm_store_stat(f->s, &peer, "/u/file", 7, 0, &info), OBJM_STORE_DENIED);
                assert_int_equal(objm_store_stat(f->s, &peer, "/g/none", 7, 0, &info), OBJM_STORE_DENIED);
                peer.uid = (uid_t)-1;
                peer.gid = (gid_t)-1;
        }
}

static void bad_exports_are_refused(void **state)
{
        struct fixture *f = *state;
        struct objm_export_config e[2] = {{.prefix = "/", .path = f->tree}, {.prefix = "/x", .path = f->tree}};
        struct objm_store_config config = {.exports = e, .n_exports = 2, .old_watch_fd = -1};
        size_t bad = 99;

        assert_int_equal(objm_store_new(&config, f->q, f->p, &bad, &f->s), -EINVAL);
        assert_int_equal(bad, 1);
        e[1].prefix = "/";
        assert_int_equal(objm_store_new(&config, f->q, f->p, NULL, &f->s), -EINVAL);
        e[1].prefix = "";
        assert_int_equal(objm_store_new(&config, f->q, f->p, NULL, &f->s), -EINVAL);
        e[1] = (struct objm_export_config){.prefix = "/y/", .path = "/nonexistent/directory"};
        assert_int_equal(objm_store_new(&config, f->q, f->p, &bad, &f->s), -ENOENT);
        e[1].path = "/dev/null";
        assert_int_equal(objm_store_new(&config, f->q, f->p, &bad, &f->s), -ENOTDIR);
        assert_null(f->s);
}

static void notices_what_became_of_a_known_file(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info before, after;
        char path[4300];

        make_file(f, "file", "one");
        start(f, false, false);
        assert_int_equal(ask(f, "/file", &before), 0);
        make_file(f, "new", "three");
        move(f, "new", "file");
        assert_int_equal(ask(f, "/file", &after), 0);
        assert_int_equal(after.size, 5);
        assert_true(after.version != before.version);
        at(f, "file", path);
        assert_return_code(truncate(path, 1), errno);
        assert_int_equal(ask(f, "/file", &before), 0);
        assert_int_equal(before.size, 1);
        assert_true(after.version != before.version);
        take_away(f, "file");
        expect(f, "/file", OBJM_STORE_NOT_FOUND);
        assert_int_equal(counts(f).dropped, 1);
        make_file(f, "file", "");
        expect(f, "/file", 0);
        take_away(f, "file");
        assert_return_code(mkfifo(path, 0666), errno);
        expect(f, "/file", OBJM_STORE_NOT_REGULAR);
        take_away(f, "file");
        make_file(f, "file", "");
        expect(f, "/file", 0);
        take_away(f, "file");
        make_link(f, "../outside", "file");
        expect(f, "/file", OBJM_STORE_LINK);
        assert_int_equal(counts(f).objects, 0);
        assert_int_equal(counts(f).dropped, 3);
}

/* Somebody else holds a lease: he is told, and may take his time. */
static void a_leased_file_is_busy_and_holds_nobody_up(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info info;
        char path[4300];
        int fd, holder;

        make_file(f, "file", "");
        start(f, false, false);
        signal(SIGIO, SIG_IGN);
        at(f, "file", path);
        holder = open(path, O_RDWR | O_CLOEXEC);
        if (fcntl(holder, F_SETLEASE, F_WRLCK) < 0) {
                close(holder);
                skip();
        }
        assert_int_equal(ask(f, "/file", NULL), OBJM_STORE_BUSY);
        assert_int_equal(objm_store_open(f->s, NULL, "/file", 5, OBJM_STORE_NOWAIT, &fd, &info), OBJM_STORE_COLD);
        close(holder);
        assert_int_equal(ask(f, "/file", NULL), 0);
}

static void says_when_descriptors_run_out(void **state)
{
        struct fixture *f = *state;
        struct rlimit old, none = {0};
        int known, unknown;

        make_file(f, "known", "");
        make_file(f, "unknown", "");
        start(f, false, false);
        assert_int_equal(ask(f, "/known", NULL), 0);
        getrlimit(RLIMIT_NOFILE, &old);
        none.rlim_max = old.rlim_max;
        assert_return_code(setrlimit(RLIMIT_NOFILE, &none), errno);
        known = ask(f, "/known", NULL);
        unknown = ask(f, "/unknown", NULL);
        setrlimit(RLIMIT_NOFILE, &old);
        assert_int_equal(known, -EMFILE);
        assert_int_equal(unknown, -EMFILE);
        assert_int_equal(ask(f, "/known", NULL), 0);
        assert_int_equal(ask(f, "/unknown", NULL), 0);
}

/* The identity of this thread alone. */
static void become(uid_t uid)
{
        assert_return_code(syscall(SYS_setresuid, -1, uid, -1), errno);
}

static void unreadable_files_are_denied(void **state)
{
        struct fixture *f = *state;
        char path[4300];
        int known, unknown;

        make_file(f, "secret", "");
        make_file(f, "known", "");
        start(f, false, false);
        if (getuid() != 0)
                skip();
        assert_int_equal(ask(f, "/known", NULL), 0);
        at(f, "secret", path);
        chmod(path, 0600);
        at(f, "known", path);
        chmod(path, 0600);
        become(65534);
        known = ask(f, "/known", NULL);
        unknown = ask(f, "/secret", NULL);
        become(0);
        assert_int_equal(known, OBJM_STORE_UNREADABLE);
        assert_int_equal(unknown, OBJM_STORE_UNREADABLE);
}

static void nowait_finds_what_is_cached(void **state)
{
        struct fixture *f = *state;
        struct objm_object_info info;
        int fd, r;

        make_file(f, "file", "");
        start(f, false, false);
        assert_int_equal(ask(f, "/file", NULL), 0);
        r = objm_store_open(f->s, NULL, "/file", 5, OBJM_STORE_NOWAIT, &fd, &info);
        if (r == 0)
                close(fd);
        else
                assert_int_equal(r, OBJM_STORE_COLD); /* a kernel that cannot tell, or memory is short */
        r = objm_store_open(f->s, NULL, "/none", 5, OBJM_STORE_NOWAIT, &fd, &info);
        assert_true(r == OBJM_STORE_COLD || r == OBJM_STORE_NOT_FOUND);
}

/* Exchanges a directory with a symlink that leads out, and a file with one, as fast as it can. */
struct attacker {
        struct fixture *f;
        _Atomic bool stop;
};

static void *exchange(void *arg)
{
        struct attacker *a = arg;
        char dir[4300], dirlink[4300], file[4300], filelink[4300];

        at(a->f, "d", dir);
        at(a->f, "dlink", dirlink);
        at(a->f, "file", file);
        at(a->f, "flink", filelink);
        while (!atomic_load(&a->stop)) {
                renameat2(AT_FDCWD, dir, AT_FDCWD, dirlink, RENAME_EXCHANGE);
                renameat2(AT_FDCWD, file, AT_FDCWD, filelink, RENAME_EXCHANGE);
        }
        return NULL;
}

static void rename_races_do_not_lead_out(void **state)
{
        struct fixture *f = *state;
        struct attacker a = {.f = f};
        static const char *const uris[] = {"/d/outside", "/dlink/outside", "/file", "/flink"};
        uint64_t end = objm_clock_ns() + OBJM_NS_PER_S;
        int opened = 0, refused = 0;
        pthread_t thread;

        make_dir(f, "d");
        make_file(f, "d/outside", "in");
        make_file(f, "file", "in");
        make_link(f, "..", "dlink");
        make_link(f, "../outside", "flink");
        start(f, false, false);
        assert_int_equal(pthread_create(&thread, NULL, exchange, &a), 0);
        while (objm_clock_ns() < end) {
                struct objm_object_info info;
                int r = ask(f, uris[(opened + refused) % 4], &info);

                assert_true(r == 0 || r == OBJM_STORE_LINK || r == OBJM_STORE_NOT_FOUND || r == OBJM_STORE_BUSY);
                if (r == 0)
                        assert_int_equal(info.size, 2); /* what is outside has 7 bytes */
                opened += r == 0;
                refused += r != 0;
        }
        atomic_store(&a.stop, true);
        pthread_join(thread, NULL);
        assert_true(opened > 0 && refused > 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(serves_regular_files),
                TEST(a_grant_is_a_description_of_its_own),
                TEST(refuses_what_is_no_regular_file),
                TEST(refuses_symlinks),
                TEST(follows_symlinks_only_inside_when_allowed),
                TEST(refuses_names_that_no_object_has),
                TEST(length_limits),
                TEST(the_longest_prefix_wins),
                TEST(allow_lists_hide_everything),
                TEST(remote_peers_are_on_no_list),
                TEST(bad_exports_are_refused),
                TEST(notices_what_became_of_a_known_file),
                TEST(a_leased_file_is_busy_and_holds_nobody_up),
                TEST(says_when_descriptors_run_out),
                TEST(unreadable_files_are_denied),
                TEST(nowait_finds_what_is_cached),
                TEST(rename_races_do_not_lead_out),
        };

        return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
