/* SPDX-License-Identifier: MIT */
#include "objmapperd/account.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct accounts accounts;

static int set_up(void **state)
{
        return accounts_init(&accounts);
}

static int tear_down(void **state)
{
        accounts_deinit(&accounts);
        return 0;
}

static int open_as(uid_t uid, const struct config *config, uint32_t bytes, struct account **ret)
{
        const struct objm_peer peer = {.uid = uid};

        return account_open(&accounts, &peer, config, bytes, ret);
}

static void close_with(struct account *a, uint32_t bytes)
{
        account_give_queued(a, bytes);
        account_close(&accounts, a);
}

static void a_user_has_one_account(void **state)
{
        const struct config config = {0};
        struct account *a, *b, *again, *remote[2];
        const struct objm_peer tcp = {.remote = true, .uid = (uid_t)-1}, odd = {.remote = true, .uid = 1};

        assert_int_equal(open_as(1, &config, 0, &a), 0);
        assert_int_equal(open_as(2, &config, 0, &b), 0);
        assert_int_equal(open_as(1, &config, 0, &again), 0);
        assert_ptr_equal(a, again);
        assert_ptr_not_equal(a, b);
        assert_int_equal(account_open(&accounts, &tcp, &config, 0, &remote[0]), 0);
        assert_int_equal(account_open(&accounts, &odd, &config, 0, &remote[1]), 0);
        assert_ptr_equal(remote[0], remote[1]);
        assert_ptr_not_equal(remote[0], a);
        for (int i = 0; i < 2; i++) {
                account_close(&accounts, remote[i]);
                account_close(&accounts, a);
        }
        account_close(&accounts, b);
        account_close(&accounts, NULL);
}

static void as_many_connections_as_the_limit(void **state)
{
        const struct config config = {.connections_per_uid = 3};
        struct account *a[3], *b;

        for (int i = 0; i < 3; i++)
                assert_int_equal(open_as(1, &config, 0, &a[i]), 0);
        assert_int_equal(open_as(1, &config, 0, &b), ACCOUNT_CONNECTIONS);
        assert_int_equal(open_as(2, &config, 0, &b), 0);
        account_close(&accounts, b);
        account_close(&accounts, a[0]);
        assert_int_equal(open_as(1, &config, 0, &a[0]), 0);
        for (int i = 0; i < 3; i++)
                account_close(&accounts, a[i]);
}

static void as_many_bytes_as_the_limit(void **state)
{
        const struct config config = {.queued_bytes_per_uid = 1000};
        struct account *a, *b;

        assert_int_equal(open_as(1, &config, 400, &a), 0);
        assert_int_equal(open_as(1, &config, 601, &b), ACCOUNT_QUEUED);
        assert_int_equal(open_as(1, &config, 600, &b), 0);
        assert_false(account_take_queued(a, 1, 1000));
        account_give_queued(a, 1);
        assert_true(account_take_queued(a, 1, 1000));
        close_with(b, 600);
        close_with(a, 400);
        assert_int_equal(open_as(1, &config, 5000, &a), 0); /* the first gets in, whatever it needs */
        close_with(a, 5000);
}

static void as_many_descriptors_as_the_limit(void **state)
{
        const struct config config = {0};
        struct account *a;

        assert_int_equal(open_as(1, &config, 0, &a), 0);
        assert_true(account_take_descriptors(a, 10, 10));
        assert_false(account_take_descriptors(a, 1, 10));
        assert_true(account_take_descriptors(a, 1, 0));
        account_give_descriptors(a, 2);
        assert_true(account_take_descriptors(a, 1, 10));
        account_give_descriptors(a, 10);
        account_close(&accounts, a);
}

static void connecting_anew_brings_no_tokens(void **state)
{
        const struct config config = {0};
        uint64_t now = objm_clock_coarse_ns();
        struct account *a;

        assert_int_equal(open_as(1, &config, 0, &a), 0);
        assert_int_equal(rate_shared_take(&a->requests, 10, 10, now), 10);
        account_close(&accounts, a);
        assert_int_equal(open_as(1, &config, 0, &a), 0);
        assert_int_equal(rate_shared_take(&a->requests, 10, 10, now), 0);
        account_close(&accounts, a);
}

static void accounts_that_nobody_has_go(void **state)
{
        const struct config config = {0};
        struct account *a;
        unsigned left = 0;

        for (uid_t uid = 0; uid < 20 * ACCOUNT_BUCKETS; uid++) {
                assert_int_equal(open_as(uid, &config, 0, &a), 0);
                account_close(&accounts, a);
        }
        for (size_t i = 0; i < ACCOUNT_BUCKETS; i++)
                for (a = accounts.buckets[i]; a; a = a->next)
                        left++;
        assert_in_range(left, 0, 2 * ACCOUNT_BUCKETS);
}

static void *come_and_go(void *arg)
{
        const struct config config = {.connections_per_uid = 2};
        struct account *a;

        for (int i = 0; i < 20000; i++) {
                if (open_as((uid_t)(i % 3), &config, 10, &a) != 0)
                        continue;
                (void)!account_take_descriptors(a, 1, 0);
                account_give_descriptors(a, 1);
                close_with(a, 10);
        }
        return NULL;
}

static void threads_come_and_go(void **state)
{
        const struct config config = {.connections_per_uid = 1};
        pthread_t threads[4];
        struct account *a;

        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        for (uid_t uid = 0; uid < 3; uid++) {
                assert_int_equal(open_as(uid, &config, 0, &a), 0);
                assert_int_equal(a->descriptors, 0);
                assert_int_equal(a->queued, 0);
                account_close(&accounts, a);
        }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_user_has_one_account),
                TEST(as_many_connections_as_the_limit),
                TEST(as_many_bytes_as_the_limit),
                TEST(as_many_descriptors_as_the_limit),
                TEST(connecting_anew_brings_no_tokens),
                TEST(accounts_that_nobody_has_go),
                TEST(threads_come_and_go),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
