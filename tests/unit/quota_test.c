/* SPDX-License-Identifier: MIT */
#include "objmapperd/quota.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define START (1000 * OBJM_NS_PER_S)

static struct objm_inet at(const char *host)
{
        struct objm_inet a;

        assert_int_equal(objm_inet_parse(host, 5000, &a), 0);
        return a;
}

static unsigned take_all(struct quota *q, const struct objm_inet *from, uint64_t now)
{
        unsigned n = 0;

        while (n < 100000 && quota_take(q, from, now))
                n++;
        return n;
}

static struct quota q; /* too large for a stack */

static void a_bucket_holds_its_burst_and_refills_at_its_rate(void **state)
{
        struct objm_inet a = at("192.0.2.1");

        assert_int_equal(quota_init(&q, (struct quota_rate){100, 10}, (struct quota_rate){1000, 1000}), 0);
        assert_int_equal(take_all(&q, &a, START), 10);
        assert_int_equal(take_all(&q, &a, START), 0);
        assert_int_equal(take_all(&q, &a, START + OBJM_NS_PER_S / 100 - 1), 0);
        assert_int_equal(take_all(&q, &a, START + OBJM_NS_PER_S / 100), 1);
        assert_int_equal(take_all(&q, &a, START + OBJM_NS_PER_S / 20), 4);
        assert_int_equal(take_all(&q, &a, START + 3600 * OBJM_NS_PER_S), 10);
}

static void over_a_long_time_the_rate_holds(void **state)
{
        struct objm_inet a = at("192.0.2.1");
        unsigned n = 0;

        assert_int_equal(quota_init(&q, (struct quota_rate){100, 10}, (struct quota_rate){100000, 100000}), 0);
        for (uint64_t ms = 0; ms < 10000; ms++)
                n += take_all(&q, &a, START + ms * OBJM_NS_PER_MS);
        assert_in_range(n, 10 * 100, 10 * 100 + 10);
}

static void all_networks_together_have_a_bucket(void **state)
{
        char host[32];
        unsigned n = 0;

        assert_int_equal(quota_init(&q, (struct quota_rate){100, 10}, (struct quota_rate){1000, 50}), 0);
        for (unsigned i = 0; i < 200; i++) {
                struct objm_inet a;

                snprintf(host, sizeof(host), "10.0.%u.1", i);
                a = at(host);
                n += take_all(&q, &a, START);
        }
#ifndef OBJM_HASH_CONSTANT
        assert_int_equal(n, 50);
#else
        assert_int_equal(n, 10);
#endif
}

static void a_network_is_24_bits_or_56(void **state)
{
        static const struct {
                const char *first, *second;
                bool same;
        } pairs[] = {
                {"192.0.2.1", "192.0.2.255", true},
                {"192.0.2.1", "192.0.3.1", false},
                {"2001:db8:1:100::1", "2001:db8:1:1ff:ffff::2", true},
                {"2001:db8:1:100::1", "2001:db8:1:200::1", false},
        };

        for (size_t i = 0; i < objm_array_len(pairs); i++) {
                struct objm_inet a = at(pairs[i].first), b = at(pairs[i].second);
                uint8_t x[OBJM_UDP_ADDRESS_NETWORK], y[OBJM_UDP_ADDRESS_NETWORK];

                objm_udp_address_network(&a, x);
                objm_udp_address_network(&b, y);
                assert_int_equal(memcmp(x, y, sizeof(x)) == 0, pairs[i].same);
        }
}

/* More networks than places: memory stays what it is, and nobody gets more than a burst. */
static void forged_networks_gain_nothing(void **state)
{
        struct objm_inet a = at("10.0.0.1"), honest = at("192.0.2.1");
        unsigned taken = 0;

        assert_int_equal(quota_init(&q, (struct quota_rate){100, 10}, (struct quota_rate){1000000, 1000000}), 0);
        for (uint32_t i = 0; i < 10 * QUOTA_NETWORKS; i++) {
                a.v4.sin_addr.s_addr = htonl(UINT32_C(0x0a000001) + (i << 8));
                taken += take_all(&q, &a, START);
        }
        assert_in_range(taken, 1, 10 * QUOTA_NETWORKS);
        assert_int_equal(take_all(&q, &honest, START + OBJM_NS_PER_S), 10);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_bucket_holds_its_burst_and_refills_at_its_rate),
                cmocka_unit_test(over_a_long_time_the_rate_holds),
                cmocka_unit_test(all_networks_together_have_a_bucket),
                cmocka_unit_test(a_network_is_24_bits_or_56),
                cmocka_unit_test(forged_networks_gain_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
