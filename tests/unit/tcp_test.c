/* SPDX-License-Identifier: MIT */
#include "transport/tcp.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

static struct objm_inet address_of(const char *text, uint16_t port)
{
        struct objm_inet a;

        assert_int_equal(objm_inet_parse(text, port, &a), 0);
        return a;
}

/* Listens on a port of the kernel's choice. */
static int must_listen(const char *text, struct objm_inet *ret)
{
        struct objm_inet any = address_of(text, 0);
        int fd;

        assert_int_equal(objm_tcp_listen(&any, &fd), 0);
        assert_int_equal(objm_tcp_name(fd, ret), 0);
        return fd;
}

static void await(int fd, short events)
{
        struct pollfd p = {.fd = fd, .events = events};

        assert_int_equal(poll(&p, 1, 20000), 1);
}

static void make_pair(int *ret_client, int *ret_served)
{
        struct objm_inet name;
        int listener = must_listen("127.0.0.1", &name);

        assert_int_equal(objm_tcp_connect(&name, ret_client), 0);
        await(*ret_client, POLLOUT);
        assert_int_equal(objm_tcp_connected(*ret_client), 0);
        await(listener, POLLIN);
        assert_int_equal(objm_tcp_accept(listener, ret_served), 0);
        close(listener);
}

static int option(int fd, int level, int name)
{
        int value = -1;
        socklen_t len = sizeof(value);

        assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
        return value;
}

static void both_ends_have_the_options(void **state)
{
        int fd[2];

        make_pair(&fd[0], &fd[1]);
        for (int i = 0; i < 2; i++) {
                assert_int_not_equal(option(fd[i], IPPROTO_TCP, TCP_NODELAY), 0);
                assert_int_not_equal(option(fd[i], SOL_SOCKET, SO_KEEPALIVE), 0);
                assert_int_equal(option(fd[i], IPPROTO_TCP, TCP_KEEPIDLE), OBJM_TCP_KEEP_IDLE_S);
                assert_int_equal(option(fd[i], IPPROTO_TCP, TCP_KEEPINTVL), OBJM_TCP_KEEP_EACH_S);
                assert_int_equal(option(fd[i], IPPROTO_TCP, TCP_KEEPCNT), OBJM_TCP_KEEP_PROBES);
                assert_int_equal(option(fd[i], IPPROTO_TCP, TCP_USER_TIMEOUT), OBJM_TCP_GIVE_UP_MS);
                assert_int_equal(option(fd[i], IPPROTO_TCP, TCP_NOTSENT_LOWAT), OBJM_TCP_UNSENT);
                assert_true(fcntl(fd[i], F_GETFL) & O_NONBLOCK);
                assert_true(fcntl(fd[i], F_GETFD) & FD_CLOEXEC);
                close(fd[i]);
        }
}

static void a_listener_has_its_options(void **state)
{
        struct objm_inet name;
        int v4 = must_listen("127.0.0.1", &name), v6, fd, r;
        struct objm_inet any = address_of("::1", 0);

        assert_true(ntohs(name.v4.sin_port) > 0);
        assert_int_not_equal(option(v4, SOL_SOCKET, SO_REUSEADDR), 0);
        assert_true(fcntl(v4, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(v4, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(objm_tcp_accept(v4, &fd), -EAGAIN);
        close(v4);
        r = objm_tcp_listen(&any, &v6);
        if (r < 0) {
                print_message("no IPv6 here: %s\n", strerror(-r));
                skip();
        }
        assert_int_not_equal(option(v6, IPPROTO_IPV6, IPV6_V6ONLY), 0);
        close(v6);
}

static void a_port_is_taken_once_but_free_after_its_connections(void **state)
{
        struct objm_inet name;
        int listener = must_listen("127.0.0.1", &name), second, client, served;

        assert_int_equal(objm_tcp_listen(&name, &second), -EADDRINUSE);
        assert_int_equal(objm_tcp_connect(&name, &client), 0);
        await(listener, POLLIN);
        assert_int_equal(objm_tcp_accept(listener, &served), 0);
        close(listener);
        close(served); /* the first to close is the one that waits */
        close(client);
        assert_int_equal(objm_tcp_listen(&name, &second), 0);
        close(second);
}

static void says_why_not(void **state)
{
        struct objm_inet elsewhere = address_of("192.0.2.1", 0), name;
        int fd = -7;

        assert_int_equal(objm_tcp_listen(&elsewhere, &fd), -EADDRNOTAVAIL);
        close(must_listen("127.0.0.1", &name));
        if (objm_tcp_connect(&name, &fd) == 0) {
                await(fd, POLLOUT);
                assert_int_equal(objm_tcp_connected(fd), -ECONNREFUSED);
                close(fd);
        } else {
                assert_int_equal(fd, -7);
        }
}

static void a_socket_that_met_itself_is_refused(void **state)
{
        struct objm_inet name = address_of("127.0.0.1", 0);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, &name.any, name.len), 0);
        assert_int_equal(objm_tcp_name(fd, &name), 0);
        assert_int_equal(connect(fd, &name.any, name.len), 0);
        assert_int_equal(objm_tcp_connected(fd), -ECONNREFUSED);
        close(fd);
}

static void only_tcp_listeners_are_adopted(void **state)
{
        struct objm_inet name;
        int fd = must_listen("127.0.0.1", &name), client, served, other;

        assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
        assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
        assert_int_equal(objm_tcp_adopt_listener(fd), 0);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
        make_pair(&client, &served);
        assert_int_equal(objm_tcp_adopt_listener(client), -EINVAL);
        close(client);
        close(served);
        other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(objm_tcp_adopt_listener(other), -EINVAL);
        assert_int_equal(objm_tcp_name(other, &name), -EAFNOSUPPORT);
        close(other);
        other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(objm_tcp_adopt_listener(other), -EINVAL);
        close(other);
        other = new_file();
        assert_int_equal(objm_tcp_adopt_listener(other), -EINVAL);
        close(other);
        assert_int_equal(objm_tcp_adopt_listener(other), -EBADF);
}

/* The window shuts; what is acknowledged is in the other socket. Returns how many bytes were taken. */
static size_t fill(int served)
{
        static char bytes[65536];
        size_t sent = 0, last;

        do {
                struct pollfd p = {.fd = served, .events = POLLOUT};
                ssize_t n;

                last = sent;
                while ((n = send(served, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
                        sent += (size_t)n;
                poll(&p, 1, 300); /* the other end may still make room */
        } while (sent > last);
        return sent;
}

static void what_waits_unsent_is_bounded_and_counted(void **state)
{
        int client, served;
        size_t sent;

        make_pair(&client, &served);
        assert_int_equal(objm_tcp_unread(served), 0);
        assert_true(objm_tcp_has_room(served));
        sent = fill(served);
        assert_false(objm_tcp_has_room(served));
        assert_in_range(objm_tcp_unread(served), 1, OBJM_TCP_UNSENT + 65536);
        assert_true(objm_tcp_unread(served) < sent);
        close(served);
        close(client);
}

static void a_reset_is_an_error_and_an_end_is_not(void **state)
{
        char bytes[100] = "";
        int client, served;

        make_pair(&client, &served);
        objm_tcp_reset_on_close(served);
        close(served);
        await(client, POLLIN);
        assert_int_equal(recv(client, bytes, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, ECONNRESET);
        close(client);

        make_pair(&client, &served);
        assert_int_equal(send(client, bytes, 100, 0), 100); /* unread at the close */
        await(served, POLLIN);
        assert_int_equal(send(served, bytes, 100, 0), 100);
        objm_tcp_finish(served);
        close(served);
        await(client, POLLIN);
        assert_int_equal(recv(client, bytes, 100, MSG_WAITALL), 100);
        await(client, POLLIN);
        assert_int_equal(recv(client, bytes, 1, 0), 0);
        close(client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(both_ends_have_the_options),
                counted_test(a_listener_has_its_options),
                counted_test(a_port_is_taken_once_but_free_after_its_connections),
                counted_test(says_why_not),
                counted_test(a_socket_that_met_itself_is_refused),
                counted_test(only_tcp_listeners_are_adopted),
                counted_test(what_waits_unsent_is_bounded_and_counted),
                counted_test(a_reset_is_an_error_and_an_end_is_not),
        };

        return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
