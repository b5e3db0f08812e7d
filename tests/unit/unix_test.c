/* SPDX-License-Identifier: MIT */
#include "transport/unix.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LONGEST (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

static char dir[32], path[200], lock[210];

static void set_path(const char *name)
{
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        snprintf(lock, sizeof(lock), "%s.lock", path);
}

static int open_dir(void **state)
{
        count_before(state);
        strcpy(dir, "/tmp/objm-unix-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        set_path("sock");
        return 0;
}

static int close_dir(void **state)
{
        unlink(path);
        unlink(lock);
        return rmdir(dir) < 0 || count_after(state);
}

#define unix_test(f) cmocka_unit_test_setup_teardown(f, open_dir, close_dir)

static int try_listen(struct objm_unix_listener *ret)
{
        struct objm_unix_listen how = {.path = path, .mode = 0600, .group = (gid_t)-1};

        return objm_unix_listen(&how, ret);
}

static struct objm_unix_listener must_listen(void)
{
        struct objm_unix_listener l;

        assert_int_equal(try_listen(&l), 0);
        return l;
}

static void assert_refused(int expected)
{
        struct objm_unix_listener l = {.fd = -7};
        unsigned before = count_fds();

        assert_int_equal(try_listen(&l), expected);
        assert_int_equal(l.fd, -7); /* untouched */
        assert_int_equal(count_fds(), before);
}

static bool exists(const char *name)
{
        struct stat st;

        return lstat(name, &st) == 0;
}

static bool has_flags(int fd)
{
        return (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* A socket file without a listener, as a process that died leaves it. */
static void make_stale(void)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        CHECK(fd >= 0);
        strcpy(addr.sun_path, path);
        CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
        close(fd);
}

/* One connection through @listener: the client's end, and the one that was accepted. */
static void connect_to(int listener, int sndbuf, int *ret_client, int *ret_accepted)
{
        assert_int_equal(objm_unix_connect(path, ret_client), 0);
        assert_int_equal(objm_unix_accept(listener, sndbuf, ret_accepted), 0);
}

static void connects_and_cleans_up(void **state)
{
        struct objm_unix_listener l = must_listen();
        int client, accepted;
        char buf[10];

        assert_true(has_flags(l.fd));
        assert_true(exists(path));
        assert_int_equal(objm_unix_accept(l.fd, 0, &accepted), -EAGAIN);
        connect_to(l.fd, 0, &client, &accepted);
        assert_true(has_flags(client) && has_flags(accepted));
        assert_int_equal(send(accepted, "hello", 5, 0), 5);
        assert_int_equal(recv(client, buf, sizeof(buf), 0), 5);
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
        assert_int_equal(l.fd, -1);
        assert_false(exists(path));
        assert_false(exists(lock));
        objm_unix_listener_deinit(&l);
        assert_int_equal(objm_unix_connect(path, &client), -ENOENT);
}

static void a_live_socket_is_not_replaced(void **state)
{
        struct objm_unix_listener l = must_listen();
        int client, accepted;

        assert_refused(-EADDRINUSE);
        connect_to(l.fd, 0, &client, &accepted); /* the loser has broken nothing */
        objm_fd_close(client);
        objm_fd_close(accepted);
        unlink(lock); /* not even when the lock is gone */
        assert_refused(-EADDRINUSE);
        connect_to(l.fd, 0, &client, &accepted); /* the attempt itself knocked: take that one first */
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
}

static void a_live_socket_with_a_full_backlog_is_not_replaced(void **state)
{
        struct objm_unix_listener l = must_listen();
        int first, second;

        assert_int_equal(listen(l.fd, 0), 0);
        assert_int_equal(objm_unix_connect(path, &first), 0);
        assert_int_equal(objm_unix_connect(path, &second), -EAGAIN);
        unlink(lock);
        assert_refused(-EADDRINUSE);
        objm_fd_close(first);
        objm_unix_listener_deinit(&l);
}

static void a_stale_socket_is_replaced(void **state)
{
        struct objm_unix_listener l;
        int client, accepted;

        make_stale();
        close(open(lock, O_CREAT | O_CLOEXEC, 0600)); /* left behind as well */
        l = must_listen();
        connect_to(l.fd, 0, &client, &accepted);
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
}

static void other_files_are_not_replaced(void **state)
{
        struct stat st;
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

        assert_int_equal(write(fd, "precious", 8), 8);
        close(fd);
        assert_refused(-EADDRINUSE);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, 8);
        unlink(path);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_refused(-EADDRINUSE);
        rmdir(path);
        assert_int_equal(symlink("nowhere", path), 0);
        assert_refused(-EADDRINUSE);
        assert_true(exists(path));
        assert_false(exists(lock));
}

static void the_lock_keeps_others_out(void **state)
{
        struct objm_unix_listener l;
        int fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

        assert_int_equal(flock(fd, LOCK_EX), 0);
        assert_refused(-EADDRINUSE);
        assert_true(exists(lock)); /* another's lock file is left alone */
        close(fd);
        l = must_listen();
        objm_unix_listener_deinit(&l);
        assert_int_equal(symlink("elsewhere", lock), 0);
        assert_refused(-ELOOP); /* nothing is created where a link points */
        assert_true(exists(lock));
        unlink(lock);
        assert_int_equal(mkdir(lock, 0700), 0);
        assert_refused(-EISDIR);
        rmdir(lock);
}

static void says_why_not(void **state)
{
        set_path("");
        path[0] = '\0';
        assert_refused(-EINVAL);
        set_path("none/sock");
        assert_refused(-ENOENT);
        set_path("sock");
}

static void listens_with_a_path_of(size_t len, int expected)
{
        struct objm_unix_listener l;
        char name[LONGEST + 1];
        int client;

        memset(name, 'x', sizeof(name));
        name[len - strlen(dir) - 1] = '\0';
        set_path(name);
        assert_int_equal(strlen(path), len);
        if (expected) {
                assert_refused(expected);
                assert_int_equal(objm_unix_connect(path, &client), expected);
        } else {
                l = must_listen();
                assert_refused(-EADDRINUSE);
                assert_int_equal(objm_unix_connect(path, &client), 0);
                objm_fd_close(client);
                objm_unix_listener_deinit(&l);
        }
        assert_false(exists(path) || exists(lock));
}

static void paths_of_107_bytes_fit(void **state)
{
        assert_int_equal(LONGEST, 107);
        listens_with_a_path_of(106, 0);
        listens_with_a_path_of(107, 0);
        listens_with_a_path_of(108, -ENAMETOOLONG);
        set_path("sock");
}

/* ---- mode and group ---- */

#define ROUNDS 300

struct watcher {
        struct objm_unix_listen how;
        atomic_uint round, seen;
        unsigned wrong;
};

/* Connects as soon as anybody can; what it reaches must have its mode and group already. */
static void *watch(void *arg)
{
        struct watcher *w = arg;

        for (unsigned i = 1; i <= ROUNDS; i++) {
                struct stat st;
                int fd;

                while (atomic_load(&w->round) < i)
                        sched_yield();
                while (objm_unix_connect(path, &fd) < 0)
                        continue;
                CHECK(stat(path, &st) == 0);
                w->wrong += (st.st_mode & 07777) != w->how.mode || st.st_gid != w->how.group;
                objm_fd_close(fd);
                atomic_store(&w->seen, i);
        }
        return NULL;
}

static void has_mode_and_group_before_anybody_connects(void **state)
{
        struct watcher w = {.how = {.path = path, .mode = 0640, .group = geteuid() ? getegid() : 4321}};
        mode_t umask_before = umask(0);
        pthread_t t;

        assert_int_equal(pthread_create(&t, NULL, watch, &w), 0);
        for (unsigned i = 1; i <= ROUNDS; i++) {
                struct objm_unix_listener l;
                struct stat st;

                atomic_store(&w.round, i);
                assert_int_equal(objm_unix_listen(&w.how, &l), 0);
                while (atomic_load(&w.seen) < i)
                        sched_yield();
                assert_int_equal(stat(lock, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0600);
                objm_unix_listener_deinit(&l);
        }
        pthread_join(t, NULL);
        umask(umask_before);
        assert_int_equal(w.wrong, 0);
}

static void the_umask_does_not_count(void **state)
{
        struct objm_unix_listen how = {.path = path, .mode = 0666, .group = (gid_t)-1};
        mode_t before = umask(0777);
        struct objm_unix_listener l;
        struct stat st;
        int r;

        r = objm_unix_listen(&how, &l);
        umask(before);
        assert_int_equal(r, 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0666);
        objm_unix_listener_deinit(&l);
}

static void in_a_group_of_others(void)
{
        struct objm_unix_listen how = {.path = path, .mode = 0660, .group = 4321};
        struct objm_unix_listener l;

        CHECK(chown(dir, 1234, 1234) == 0);
        CHECK(setgroups(0, NULL) == 0 && setgid(1234) == 0 && setuid(1234) == 0);
        CHECK(objm_unix_listen(&how, &l) == -EPERM);
        CHECK(!exists(path) && !exists(lock));
}

static void a_group_that_cannot_be_set_leaves_nothing(void **state)
{
        if (geteuid() != 0)
                skip();
        in_child(in_a_group_of_others);
}

/* ---- races ---- */

#define RACERS 8

struct race {
        atomic_uint ready, tried, won, refused;
        atomic_bool go, end;
};

static struct race *new_race(void)
{
        struct race *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        CHECK(r != MAP_FAILED);
        return r;
}

/* In a child: waits for the start, tries once; a winner stays until told. Ends without cleaning up, as by SIGKILL. */
static void race_once(struct race *race)
{
        struct objm_unix_listener l;
        int r;

        atomic_fetch_add(&race->ready, 1);
        while (!atomic_load(&race->go))
                sched_yield();
        r = try_listen(&l);
        CHECK(r == 0 || r == -EADDRINUSE);
        atomic_fetch_add(r == 0 ? &race->won : &race->refused, 1);
        atomic_fetch_add(&race->tried, 1);
        while (!atomic_load(&race->end))
                sched_yield();
        _exit(0);
}

static void run_race(struct race *race)
{
        memset(race, 0, sizeof(*race));
        for (int i = 0; i < RACERS; i++) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0)
                        race_once(race);
        }
        while (atomic_load(&race->ready) < RACERS)
                sched_yield();
        atomic_store(&race->go, true);
        while (atomic_load(&race->tried) < RACERS)
                sched_yield();
}

static void end_race(struct race *race)
{
        atomic_store(&race->end, true);
        for (int i = 0; i < RACERS; i++) {
                int status;

                assert_true(wait(&status) > 0);
                assert_int_equal(status, 0);
        }
}

/* Each round finds the socket and lock files that the last one's winner left when it died. */
static void of_many_on_one_stale_path_one_wins(void **state)
{
        struct race *race = new_race();
        int fd;

        make_stale();
        for (int i = 0; i < 25; i++) {
                run_race(race);
                assert_int_equal(atomic_load(&race->won), 1);
                assert_int_equal(atomic_load(&race->refused), RACERS - 1);
                assert_int_equal(objm_unix_connect(path, &fd), 0);
                objm_fd_close(fd);
                end_race(race);
                assert_int_equal(objm_unix_connect(path, &fd), -ECONNREFUSED);
        }
        munmap(race, sizeof(*race));
}

/* What one has while it listens, nobody else has; and a client that connects meanwhile reaches it. */
static void take_turns(struct race *race)
{
        unsigned turns = 0;

        while (turns < 100) {
                struct objm_unix_listener l;
                int r = try_listen(&l), client, accepted;

                CHECK(r == 0 || r == -EADDRINUSE);
                if (r)
                        continue;
                turns++;
                CHECK(atomic_fetch_add(&race->won, 1) == 0);
                CHECK(objm_unix_connect(path, &client) == 0);
                CHECK(objm_unix_accept(l.fd, 0, &accepted) == 0);
                objm_fd_close(client);
                objm_fd_close(accepted);
                CHECK(atomic_fetch_sub(&race->won, 1) == 1);
                objm_unix_listener_deinit(&l);
        }
        _exit(0);
}

static void never_two_at_a_time(void **state)
{
        struct race *race = new_race();

        for (int i = 0; i < 4; i++) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0)
                        take_turns(race);
        }
        for (int i = 0; i < 4; i++) {
                int status;

                assert_true(wait(&status) > 0);
                assert_int_equal(status, 0);
        }
        assert_false(exists(path) || exists(lock));
        munmap(race, sizeof(*race));
}

/* ---- adopted listeners ---- */

static int plain_socket(int family, int type)
{
        int fd = socket(family, type, 0);

        assert_true(fd >= 0);
        return fd;
}

static int plain_listener(void)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = plain_socket(AF_UNIX, SOCK_STREAM);

        strcpy(addr.sun_path, path);
        assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        assert_int_equal(listen(fd, 8), 0);
        return fd;
}

static void an_adopted_listener_never_waits(void **state)
{
        struct objm_unix_listener l;
        int fd = plain_listener(), client, accepted;

        assert_false(has_flags(fd));
        assert_int_equal(objm_unix_adopt_listener(fd, &l), 0);
        assert_int_equal(l.fd, fd);
        assert_true(has_flags(fd));
        assert_int_equal(objm_unix_accept(l.fd, 0, &accepted), -EAGAIN);
        connect_to(l.fd, 0, &client, &accepted);
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
        assert_true(exists(path)); /* whose it is */
        assert_false(exists(lock));
}

static void assert_not_adopted(int fd, int expected)
{
        struct objm_unix_listener l;

        assert_int_equal(objm_unix_adopt_listener(fd, &l), expected);
        assert_true(fcntl(fd, F_GETFD) >= 0); /* not taken */
        close(fd);
}

static void what_is_no_such_listener_is_not_adopted(void **state)
{
        struct objm_unix_listener l;
        int inet = plain_socket(AF_INET, SOCK_STREAM), packets = plain_socket(AF_UNIX, SOCK_SEQPACKET);
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        assert_not_adopted(plain_socket(AF_UNIX, SOCK_STREAM), -EINVAL);
        assert_not_adopted(plain_socket(AF_UNIX, SOCK_DGRAM), -EINVAL);
        assert_int_equal(bind(inet, (struct sockaddr *)&any, sizeof(any)), 0);
        assert_int_equal(listen(inet, 1), 0);
        assert_not_adopted(inet, -EINVAL);
        assert_int_equal(bind(packets, (struct sockaddr *)&addr, sizeof(addr.sun_family)), 0);
        assert_int_equal(listen(packets, 1), 0);
        assert_not_adopted(packets, -EINVAL);
        assert_not_adopted(new_file(), -EINVAL);
        assert_int_equal(objm_unix_adopt_listener(-1, &l), -EBADF);
}

/* ---- accepted connections ---- */

static void the_send_buffer_is_bounded(void **state)
{
        struct objm_unix_listener l = must_listen();
        int client, accepted, size;
        socklen_t len = sizeof(size);

        connect_to(l.fd, 16384, &client, &accepted);
        assert_int_equal(getsockopt(accepted, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
        assert_int_equal(size, 32768);
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
}

/* Sends the write end of a new pipe and closes it here; returns the read end. *ret_sent: 1, or -errno. */
static int send_pipe(int sock, int *ret_sent)
{
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = "x", .iov_len = 1};
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        int p[2];

        assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
        control.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
                                         .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.align), &p[1], sizeof(int));
        *ret_sent = sendmsg(sock, &msg, MSG_NOSIGNAL) == 1 ? 1 : -errno;
        close(p[1]);
        return p[0];
}

/* Refused by the kernel, or dropped by a receiver without a control buffer: either way nobody has it afterwards. */
static void assert_descriptor_is_gone(int accepted, int pipe_read, int sent)
{
        unsigned before = count_fds();
        char buf[4];

        if (sent == 1)
                assert_int_equal(recv(accepted, buf, sizeof(buf), 0), 1);
        else
                assert_int_equal(sent, -EPERM);
        assert_int_equal(count_fds(), before);
        assert_int_equal(read(pipe_read, buf, 1), 0); /* the end: no writer is left */
        close(pipe_read);
}

static void descriptors_sent_to_us_are_refused_or_dropped(void **state)
{
        struct objm_unix_listener l = must_listen();
        int client, accepted, early, late, sent_early, sent_late;

        assert_int_equal(objm_unix_connect(path, &client), 0);
        early = send_pipe(client, &sent_early);
        assert_int_equal(objm_unix_accept(l.fd, 0, &accepted), 0);
        assert_descriptor_is_gone(accepted, early, sent_early);
        late = send_pipe(client, &sent_late);
        assert_descriptor_is_gone(accepted, late, sent_late);
        assert_int_equal(send(client, "x", 1, 0), 1); /* bytes pass */
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
}

/* A client that connected and sent before the listener was handed over: its descriptor is queued already. */
static void descriptors_sent_before_adoption_are_dropped(void **state)
{
        struct objm_unix_listener l;
        int fd = plain_listener(), client, accepted, early, late, sent;

        assert_int_equal(objm_unix_connect(path, &client), 0);
        early = send_pipe(client, &sent);
        assert_int_equal(sent, 1);
        assert_int_equal(objm_unix_adopt_listener(fd, &l), 0);
        assert_int_equal(objm_unix_accept(l.fd, 0, &accepted), 0);
        assert_descriptor_is_gone(accepted, early, 1);
        late = send_pipe(client, &sent);
        assert_descriptor_is_gone(accepted, late, sent);
        objm_fd_close(client);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
}

static void accept_in_a_full_table(void)
{
        struct objm_unix_listener l;
        int client, accepted;

        CHECK(try_listen(&l) == 0);
        CHECK(objm_unix_connect(path, &client) == 0);
        limit_fds(0);
        CHECK(objm_unix_accept(l.fd, 0, &accepted) == -EMFILE);
        CHECK(objm_unix_accept(l.fd, 0, &accepted) == -EMFILE);
        limit_fds(10);
        CHECK(objm_unix_accept(l.fd, 0, &accepted) == 0); /* it has waited */
        CHECK(objm_unix_accept(l.fd, 0, &accepted) == -EAGAIN);
        objm_unix_listener_deinit(&l);
}

static void listen_in_a_full_table(void)
{
        struct objm_unix_listener l;
        int fd;

        for (unsigned n = 0; n < 2; n++) {
                limit_fds(n);
                CHECK(try_listen(&l) == -EMFILE);
                CHECK(!exists(path) && !exists(lock));
        }
        limit_fds(0);
        CHECK(objm_unix_connect(path, &fd) == -EMFILE);
        limit_fds(2);
        CHECK(try_listen(&l) == 0);
        objm_unix_listener_deinit(&l);
}

static void no_descriptor_is_left(void **state)
{
        in_child(accept_in_a_full_table);
        in_child(listen_in_a_full_table);
}

/* ---- the peer ---- */

static void peer_is_who_connected(void **state)
{
        struct objm_unix_listener l = must_listen();
        struct objm_peer peer;
        int client, accepted;

        connect_to(l.fd, 0, &client, &accepted);
        assert_int_equal(objm_unix_peer(accepted, false, &peer), 0);
        assert_int_equal(peer.uid, geteuid());
        assert_int_equal(peer.gid, getegid());
        assert_int_equal(peer.n_groups, 0);
        objm_unix_peer_deinit(&peer);
        assert_int_equal(objm_unix_peer(accepted, true, &peer), 0);
        assert_int_equal(peer.n_groups, getgroups(0, NULL));
        objm_unix_peer_deinit(&peer);
        objm_unix_peer_deinit(&peer);
        objm_fd_close(client);
        assert_int_equal(objm_unix_peer(accepted, true, &peer), 0); /* as of connect(2), also when it has gone */
        objm_unix_peer_deinit(&peer);
        objm_fd_close(accepted);
        objm_unix_listener_deinit(&l);
        assert_int_equal(objm_unix_peer(-1, false, &peer), -EBADF);
}

static void connect_in_groups(void)
{
        gid_t groups[] = {4321, 5432, 6543};
        struct objm_unix_listener l;
        struct objm_peer peer;
        int client, accepted;

        CHECK(try_listen(&l) == 0);
        CHECK(setgroups(3, groups) == 0);
        CHECK(objm_unix_connect(path, &client) == 0);
        CHECK(setgroups(0, NULL) == 0);
        CHECK(objm_unix_accept(l.fd, 0, &accepted) == 0);
        CHECK(objm_unix_peer(accepted, true, &peer) == 0);
        CHECK(peer.n_groups == 3 && memcmp(peer.groups, groups, sizeof(groups)) == 0);
        objm_unix_peer_deinit(&peer);
        objm_unix_listener_deinit(&l);
}

static void groups_are_those_at_connect_time(void **state)
{
        if (geteuid() != 0)
                skip();
        in_child(connect_in_groups);
}

/* Their number is looked for only where it is larger than usual. */
static void connect_in_many_groups(void)
{
        static const size_t counts[] = {0, 1, 63, 64, 65, 1000};
        gid_t groups[1000];

        for (size_t i = 0; i < objm_array_len(groups); i++)
                groups[i] = (gid_t)(2000 + i);
        for (size_t i = 0; i < objm_array_len(counts); i++) {
                struct objm_unix_listener l;
                struct objm_peer peer;
                int client, accepted;

                CHECK(setgroups(counts[i], groups) == 0);
                CHECK(try_listen(&l) == 0);
                CHECK(objm_unix_connect(path, &client) == 0);
                CHECK(objm_unix_accept(l.fd, 0, &accepted) == 0);
                CHECK(objm_unix_peer(accepted, true, &peer) == 0);
                CHECK(peer.n_groups == counts[i]);
                CHECK(!counts[i] || memcmp(peer.groups, groups, counts[i] * sizeof(gid_t)) == 0);
                objm_unix_peer_deinit(&peer);
                objm_fd_close(accepted);
                objm_fd_close(client);
                objm_unix_listener_deinit(&l);
        }
}

static void any_number_of_groups_is_read(void **state)
{
        if (geteuid() != 0)
                skip();
        in_child(connect_in_many_groups);
}

/* ---- changes to a listener ---- */

static void mode_of_a_listener_changes(void **state)
{
        struct objm_unix_listener l = must_listen();
        struct stat before, now;

        assert_int_equal(stat(path, &before), 0);
        assert_int_equal(objm_unix_listener_allow(&l, 0606, (gid_t)-1), 0);
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_mode & 07777, 0606);
        assert_true(now.st_ino == before.st_ino && now.st_gid == before.st_gid);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(objm_unix_listener_allow(&l, 0600, (gid_t)-1), -ENOENT);
        objm_unix_listener_deinit(&l);
}

static void hidden_listener_still_accepts_who_has_connected(void **state)
{
        struct objm_unix_listener l = must_listen(), other;
        int early, late, accepted;

        assert_int_equal(objm_unix_connect(path, &early), 0);
        objm_unix_listener_hide(&l);
        assert_int_equal(objm_unix_connect(path, &late), -ENOENT);
        assert_int_equal(try_listen(&other), -EADDRINUSE); /* the lock is still held */
        assert_int_equal(objm_unix_accept(l.fd, 0, &accepted), 0);
        objm_fd_close(accepted);
        objm_fd_close(early);
        objm_unix_listener_deinit(&l);
        assert_int_equal(try_listen(&other), 0);
        objm_unix_listener_deinit(&other);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                unix_test(connects_and_cleans_up),
                unix_test(a_live_socket_is_not_replaced),
                unix_test(a_live_socket_with_a_full_backlog_is_not_replaced),
                unix_test(a_stale_socket_is_replaced),
                unix_test(other_files_are_not_replaced),
                unix_test(the_lock_keeps_others_out),
                unix_test(says_why_not),
                unix_test(paths_of_107_bytes_fit),
                unix_test(has_mode_and_group_before_anybody_connects),
                unix_test(the_umask_does_not_count),
                unix_test(a_group_that_cannot_be_set_leaves_nothing),
                unix_test(of_many_on_one_stale_path_one_wins),
                unix_test(never_two_at_a_time),
                unix_test(an_adopted_listener_never_waits),
                unix_test(what_is_no_such_listener_is_not_adopted),
                unix_test(the_send_buffer_is_bounded),
                unix_test(descriptors_sent_to_us_are_refused_or_dropped),
                unix_test(descriptors_sent_before_adoption_are_dropped),
                unix_test(no_descriptor_is_left),
                unix_test(peer_is_who_connected),
                unix_test(groups_are_those_at_connect_time),
                unix_test(any_number_of_groups_is_read),
                unix_test(mode_of_a_listener_changes),
                unix_test(hidden_listener_still_accepts_who_has_connected),
        };

        return cmocka_run_group_tests_name("unix", tests, NULL, NULL);
}
