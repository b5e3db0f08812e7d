/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "client/backoff.h"
#include "client/epoch.h"
#include "client/reason.h"
#include "client/slots.h"
#include "client_server.h"
#include "client/fdqueue.h"
#include "client/bytequeue.h"

#include <fcntl.h>
#include <sys/wait.h>

static void test_bytequeue_keeps_order(void **state)
{
        struct objm_bytequeue q;
        uint8_t in = 0, out = 0;
        unsigned seed = 7;

        assert_int_equal(objm_bytequeue_init(&q, 16), 0);
        for (int i = 0; i < 10000; i++) {
                size_t n = (size_t)rand_r(&seed) % 20;

                if (objm_bytequeue_reserve(&q, n, 100) == 0)
                        for (size_t k = 0; k < n; k++, objm_bytequeue_push(&q, 1))
                                *objm_bytequeue_end(&q) = in++;
                n = (size_t)rand_r(&seed) % 20;
                for (; n && objm_bytequeue_len(&q); n--, objm_bytequeue_pop(&q, 1))
                        assert_int_equal(*objm_bytequeue_front(&q), out++);
        }
        assert_true(q.cap <= 100);
        objm_bytequeue_deinit(&q);
}

static void test_bytequeue_bound(void **state)
{
        struct objm_bytequeue q;

        assert_int_equal(objm_bytequeue_init(&q, 16), 0);
        assert_int_equal(objm_bytequeue_reserve(&q, 100, 100), 0);
        objm_bytequeue_push(&q, 90);
        assert_int_equal(objm_bytequeue_reserve(&q, 11, 100), -ENOBUFS);
        objm_bytequeue_pop(&q, 1);
        assert_int_equal(objm_bytequeue_reserve(&q, 11, 100), 0);
        objm_bytequeue_deinit(&q);
}

static void test_fdqueue_order_limit_and_close(void **state)
{
        struct objm_fdqueue q;

        assert_int_equal(objm_fdqueue_init(&q, 3), 0);
        for (int round = 0; round < 50; round++) {
                for (int i = 0; i < 3; i++)
                        objm_fdqueue_end(&q)[i] = 1000 + i; /* numbers only: popped before anything closes them */
                assert_true(objm_fdqueue_push(&q, 3));
                for (int i = 0; i < 3; i++)
                        assert_int_equal(objm_fdqueue_pop(&q), 1000 + i);
                assert_int_equal(objm_fdqueue_pop(&q), -1);
        }
        for (int i = 0; i < 4; i++)
                objm_fdqueue_end(&q)[i] = open("/dev/null", O_RDONLY);
        assert_false(objm_fdqueue_push(&q, 4));
        objm_fdqueue_deinit(&q);
}

static void test_backoff_grows_to_its_bound(void **state)
{
        static const uint64_t most[] = {0, 1, 2, 4, 8, 16, 20, 20, 20};
        struct objm_backoff b;

        objm_backoff_init(&b, 0);
        for (int round = 0; round < 100; round++) {
                for (size_t i = 0; i < objm_array_len(most); i++) {
                        uint64_t ns = objm_backoff_next(&b);

                        assert_in_range(ns, most[i] * OBJM_NS_PER_MS / 2, most[i] * OBJM_NS_PER_MS);
                }
                objm_backoff_reset(&b);
        }
}

static void test_epoch_changes_in_a_child(void **state)
{
        uint64_t epoch = objm_epoch();
        int status;
        pid_t pid;

        assert_int_equal(objm_epoch(), epoch);
        pid = fork();
        if (pid == 0)
                _exit(objm_epoch() == epoch || objm_epoch() != objm_epoch());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(objm_epoch(), epoch);
}

/* ---- the request table ---- */

static struct objm_slot *add_sent(struct objm_slots *t, uint64_t user_data)
{
        struct objm_slot *s;

        assert_int_equal(objm_slots_add(t, OBJM_V3_OP_GET, "/u", 2, user_data, 0), 0);
        s = objm_slots_first(&t->queued);
        objm_slots_mark_sent(t, s);
        return s;
}

static void test_slots_ids_are_not_reused_at_once(void **state)
{
        struct objmapper_completion c;
        struct objm_slots t;
        struct objm_slot *s;
        uint32_t id;

        assert_int_equal(objm_slots_init(&t, 2), 0);
        for (int i = 0; i < 100000; i++) {
                s = add_sent(&t, 0);
                id = objm_slots_id(&t, s);
                assert_ptr_equal(objm_slots_find_sent(&t, id), s);
                assert_null(objm_slots_find_sent(&t, id ^ 1));
                assert_null(objm_slots_find_sent(&t, id | 0xffff));
                objm_slots_fail(&t, s, -ENOENT);
                assert_null(objm_slots_find_sent(&t, id));
                assert_int_equal(objm_slots_take_done(&t, &c, 1), 1);
                add_sent(&t, 0);
                assert_null(objm_slots_find_sent(&t, id));
                objm_slots_fail_sent(&t, 0);
                assert_int_equal(objm_slots_take_done(&t, &c, 1), 1);
        }
        objm_slots_deinit(&t);
}

static void test_slots_requeue_keeps_order(void **state)
{
        struct objmapper_completion c[8];
        struct objm_slots t;

        assert_int_equal(objm_slots_init(&t, 8), 0);
        for (uint64_t i = 0; i < 4; i++)
                add_sent(&t, i);
        for (uint64_t i = 4; i < 8; i++)
                assert_int_equal(objm_slots_add(&t, OBJM_V3_OP_GET, "/u", 2, i, 0), 0);
        assert_int_equal(objm_slots_add(&t, OBJM_V3_OP_GET, "/u", 2, 8, 0), -EAGAIN);
        objm_slots_requeue_sent(&t, true);
        assert_int_equal(t.n_sent, 0);
        objm_slots_fail_queued(&t, -EIO);
        assert_int_equal(objm_slots_take_done(&t, c, 8), 8);
        for (uint64_t i = 0; i < 8; i++)
                assert_int_equal(c[i].user_data, i);
        assert_int_equal(t.n_used, 0);
        objm_slots_deinit(&t);
}

static void test_slots_abandoned_close_what_comes(void **state)
{
        struct objmapper_object o = {.fd = open("/dev/null", O_RDONLY)};
        struct objm_slots t;
        struct objm_slot *s;

        assert_int_equal(objm_slots_init(&t, 2), 0);
        s = add_sent(&t, 0);
        objm_slots_abandon_all(&t);
        objm_slots_abandon_all(&t);
        assert_int_equal(objm_slots_in_flight(&t), 0);
        assert_int_equal(t.n_abandoned, 1);
        objm_slots_complete(&t, s, 0, &o);
        assert_int_equal(t.n_used, 0);
        assert_int_equal(t.n_abandoned, 0);
        assert_int_equal(fcntl(o.fd, F_GETFD), -1);
        s = add_sent(&t, 0);
        o.fd = open("/dev/null", O_RDONLY);
        objm_slots_complete(&t, s, 0, &o); /* done, never taken */
        objm_slots_deinit(&t);
        assert_int_equal(fcntl(o.fd, F_GETFD), -1);
}

static void say(struct objmapper *om, uint8_t status, const char *text)
{
        const struct objm_reply r = {.status = status, .text = (const uint8_t *)text, .text_len = strlen(text)};

        objm_reason_clear(om);
        objm_reason_of(om, &r);
}

static void test_reason_fits_and_is_for_people(void **state)
{
        char buf[10] = {[9] = 'x'};
        struct objmapper om = {.reason = buf, .reason_size = 9}, none = {0};

        say(&om, OBJM_STATUS_DENIED, "by \033\x7f");
        assert_string_equal(buf, "by ??");
        say(&om, OBJM_STATUS_DENIED, "12345678");
        assert_string_equal(buf, "12345678");
        say(&om, OBJM_STATUS_DENIED, "123456789");
        assert_string_equal(buf, "12345678");
        assert_int_equal(buf[9], 'x');
        say(&om, OBJM_STATUS_DENIED, objm_status_text(OBJM_STATUS_DENIED));
        assert_string_equal(buf, "");
        say(&om, OBJM_STATUS_OK, "fine");
        assert_string_equal(buf, "");
        om.reason_size = 1;
        say(&om, OBJM_STATUS_DENIED, "no");
        assert_string_equal(buf, "");
        say(&none, OBJM_STATUS_DENIED, "no");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                counted_test(test_bytequeue_keeps_order),
                counted_test(test_bytequeue_bound),
                counted_test(test_fdqueue_order_limit_and_close),
                counted_test(test_backoff_grows_to_its_bound),
                counted_test(test_epoch_changes_in_a_child),
                counted_test(test_slots_ids_are_not_reused_at_once),
                counted_test(test_slots_requeue_keeps_order),
                counted_test(test_slots_abandoned_close_what_comes),
                counted_test(test_reason_fits_and_is_for_people),
        };

        return cmocka_run_group_tests_name("client_parts", tests, NULL, NULL);
}
