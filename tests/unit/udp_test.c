/* SPDX-License-Identifier: MIT */
#include "transport/udp.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

static struct objm_udp_batch batch;

static struct objm_inet at(const char *host, uint16_t port)
{
        struct objm_inet a;

        assert_int_equal(objm_inet_parse(host, port, &a), 0);
        return a;
}

/* Who may be answered. The addresses are the special ones of RFC 6890 and their neighbours. */
static void only_single_hosts_at_free_ports_are_answered(void **state)
{
        static const struct {
                const char *host;
                uint16_t port;
                bool yes;
        } cases[] = {
                {"127.0.0.1", 1024, true},   {"127.0.0.1", 65535, true},       {"127.0.0.1", 1023, false},
                {"127.0.0.1", 53, false},    {"127.0.0.1", 0, false},          {"192.0.2.7", 9998, true},
                {"0.0.0.0", 5000, false},    {"0.1.2.3", 5000, false},         {"1.0.0.0", 5000, true},
                {"223.255.255.255", 5000, true}, {"224.0.0.1", 5000, false},   {"239.255.255.255", 5000, false},
                {"240.0.0.1", 5000, false},  {"255.255.255.255", 5000, false}, {"::1", 5000, true},
                {"::1", 123, false},         {"::", 5000, false},              {"ff02::1", 5000, false},
                {"2001:db8::1", 5000, true}, {"::ffff:192.0.2.1", 5000, true}, {"::ffff:224.0.0.1", 5000, false},
                {"::ffff:255.255.255.255", 5000, false},
        };

        for (size_t i = 0; i < objm_array_len(cases); i++) {
                struct objm_inet a = at(cases[i].host, cases[i].port);

                if (objm_udp_address_answerable(&a) != cases[i].yes)
                        fail_msg("%s port %u", cases[i].host, cases[i].port);
        }
        assert_false(objm_udp_address_answerable(&(struct objm_inet){.any.sa_family = AF_UNIX}));
}

static int bound(struct objm_inet *ret)
{
        struct objm_inet a = at("127.0.0.1", 0);
        int fd;

        assert_int_equal(objm_udp_bind(&a, &fd), 0);
        assert_int_equal(objm_udp_name(fd, ret), 0);
        assert_true(objm_udp_address_port(ret) > 0);
        return fd;
}

static void await(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, 20000), 1);
}

static void batches_go_and_come(void **state)
{
        struct objm_inet here, there;
        int a = bound(&here), b = bound(&there);

        batch.n = OBJM_UDP_BATCH;
        for (size_t i = 0; i < batch.n; i++) {
                batch.item[i].peer = there;
                batch.item[i].len = i;
                memset(batch.item[i].data, (int)i, i);
        }
        assert_int_equal(objm_udp_send(a, &batch), OBJM_UDP_BATCH);
        await(b);
        assert_int_equal(objm_udp_recv(b, &batch), 0);
        assert_int_equal(batch.n, OBJM_UDP_BATCH);
        for (size_t i = 0; i < batch.n; i++) {
                assert_int_equal(batch.item[i].len, i);
                assert_int_equal(objm_udp_address_port(&batch.item[i].peer), objm_udp_address_port(&here));
                assert_true(i == 0 || batch.item[i].data[i - 1] == i);
        }
        assert_int_equal(objm_udp_recv(b, &batch), 0);
        assert_int_equal(batch.n, 0);
        objm_fd_close(a);
        objm_fd_close(b);
}

static void what_is_too_long_has_no_length(void **state)
{
        uint8_t data[OBJM_UDP_DATAGRAM_MAX + 1] = {0};
        struct objm_inet here;
        int a = bound(&here), b;

        assert_int_equal(objm_udp_connect(&here, &b), 0);
        assert_int_equal(send(b, data, sizeof(data), 0), sizeof(data));
        assert_int_equal(send(b, data, sizeof(data) - 1, 0), sizeof(data) - 1);
        await(a);
        assert_int_equal(objm_udp_recv(a, &batch), 0);
        assert_int_equal(batch.n, 2);
        assert_int_equal(batch.item[0].len, 0);
        assert_int_equal(batch.item[1].len, OBJM_UDP_DATAGRAM_MAX);
        objm_fd_close(a);
        objm_fd_close(b);
}

/* The kernel's own word on this machine's broadcast addresses, and one that fails does not hold up the others. */
static void one_that_cannot_be_sent_is_left_out(void **state)
{
        struct objm_inet here, there, nowhere = at("127.255.255.255", 5000), all = at("255.255.255.255", 5000);
        int a = bound(&here), b = bound(&there);

        batch.n = 5;
        for (size_t i = 0; i < batch.n; i++) {
                batch.item[i].peer = i == 0 || i == 2 ? nowhere : i == 4 ? all : there;
                batch.item[i].len = 1;
                batch.item[i].data[0] = (uint8_t)i;
        }
        assert_false(objm_udp_send_one(a, &batch.item[0]));
        assert_int_equal(objm_udp_send(a, &batch), 2);
        await(b);
        assert_int_equal(objm_udp_recv(b, &batch), 0);
        assert_int_equal(batch.n, 2);
        assert_int_equal(batch.item[0].data[0], 1);
        assert_int_equal(batch.item[1].data[0], 3);
        objm_fd_close(a);
        objm_fd_close(b);
}

static int option(int fd, int level, int name)
{
        int value = -1;
        socklen_t len = sizeof(value);

        assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
        return value;
}

static void nothing_is_ever_sent_in_fragments(void **state)
{
        struct objm_inet a, a6 = at("::1", 0);
        int fd = bound(&a), fd6;

        assert_int_equal(option(fd, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
        objm_fd_close(fd);
        if (objm_udp_bind(&a6, &fd6) < 0) {
                print_message("no IPv6 here\n");
                return;
        }
        assert_int_equal(option(fd6, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_DO);
        assert_int_equal(option(fd6, IPPROTO_IPV6, IPV6_DONTFRAG), 1);
        assert_int_equal(option(fd6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
        objm_fd_close(fd6);
}

static void only_sockets_of_one_address_are_adopted(void **state)
{
        struct objm_inet a, any = at("0.0.0.0", 0);
        int fd = bound(&a), sv[2];

        assert_int_equal(objm_udp_adopt(fd), 0);
        objm_fd_close(fd);
        assert_int_equal(objm_udp_bind(&any, &fd), 0);
        assert_int_equal(objm_udp_adopt(fd), -EINVAL);
        objm_fd_close(fd);
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        assert_int_equal(objm_udp_adopt(fd), -EINVAL);
        objm_fd_close(fd);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(objm_udp_adopt(fd), -EINVAL);
        objm_fd_close(fd);
        assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
        assert_int_equal(objm_udp_adopt(sv[0]), -EINVAL);
        objm_fd_close(sv[0]);
        objm_fd_close(sv[1]);
        assert_int_equal(objm_udp_adopt(-1), -EBADF);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, count_before, count_after)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(only_single_hosts_at_free_ports_are_answered),
                TEST(batches_go_and_come),
                TEST(what_is_too_long_has_no_length),
                TEST(one_that_cannot_be_sent_is_left_out),
                TEST(nothing_is_ever_sent_in_fragments),
                TEST(only_sockets_of_one_address_are_adopted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
