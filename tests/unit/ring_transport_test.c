/* SPDX-License-Identifier: MIT */
#include "transport/ring_client.h"
#include "transport/ring_server.h"

#include "base/fd.h"
#include "protocol/status.h"
#include "resources.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define ENTRIES 16
#define ARENA   8192

/* Both ends of one ring, in one process. */
struct pair {
        struct objm_ring_server s;
        struct objm_ring_client c;
        int bell;
};

static void pair_init(struct pair *p)
{
        const struct objm_ring_geometry g = {ENTRIES, ARENA};
        int fds[OBJM_RING_FDS];

        p->bell = fds[OBJM_RING_FD_DOORBELL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_int_equal(objm_ring_server_init(&p->s, &g, fds), 0);
        assert_int_equal(objm_ring_client_init(&p->c, &g, fds), 0);
        objm_fd_close(fds[0]);
        objm_fd_close(fds[1]);
}

static void pair_deinit(struct pair *p)
{
        objm_ring_client_deinit(&p->c);
        objm_ring_server_deinit(&p->s);
        objm_fd_close(p->bell);
}

static int ask(struct pair *p, uint32_t id, const char *uri, bool plain)
{
        struct objm_ring_request rq = {.op = 2, .id = id};

        return objm_ring_client_put(&p->c, &rq, uri, strlen(uri), plain);
}

static bool rung(const struct pair *p)
{
        uint64_t n;

        return read(p->bell, &n, sizeof(n)) == sizeof(n);
}

static void answer(struct pair *p, uint32_t id)
{
        const struct objm_ring_reply r = {.id = id};

        assert_true(objm_ring_server_room(&p->s, 1) > 0);
        objm_ring_server_put(&p->s, &r);
}

/* Takes the next request and checks its URI, which is copied out of memory unless it is short. */
static void expect_request(struct pair *p, uint32_t id, const char *uri)
{
        union objm_ring_copy copy;
        const struct objm_ring_request *rq = &copy.request;
        uint8_t buf[OBJM_URI_MAX];
        const uint8_t *at;

        assert_true(objm_ring_server_readable(&p->s) > 0);
        objm_ring_server_copy(&p->s, 0, &copy);
        objm_ring_server_pass(&p->s);
        assert_int_equal(rq->id, id);
        assert_true(objm_ring_server_uri(&p->s, rq, buf, &at));
        assert_int_equal(rq->uri_len, strlen(uri));
        assert_memory_equal(at, uri, rq->uri_len);
        assert_true(at == buf || at == rq->uri);
}

static void requests_and_replies_go_round(void **state)
{
        struct objm_ring_reply r;
        struct pair p;
        char uri[400];

        pair_init(&p);
        for (uint32_t i = 0; i < 1000; i++) {
                memset(uri, 'a' + (int)(i % 26), sizeof(uri));
                uri[i % 400] = '\0';
                assert_int_equal(ask(&p, i, uri, i % 3), 0);
                assert_int_equal(objm_ring_client_publish(&p.c), 0);
                expect_request(&p, i, uri);
                answer(&p, i);
                assert_int_equal(objm_ring_server_publish(&p.s), OBJM_RING_AWAKE);
                assert_int_equal(objm_ring_client_readable(&p.c), 1);
                objm_ring_client_take(&p.c, &r);
                assert_int_equal(r.id, i);
                objm_ring_client_release(&p.c);
        }
        pair_deinit(&p);
}

static void bodies_stay_until_they_are_given_back(void **state)
{
        uint32_t at[3], none = 7;
        struct objm_ring_reply r;
        uint8_t *body[3];
        struct pair p;

        pair_init(&p);
        for (int i = 0; i < 2; i++) {
                body[i] = objm_ring_server_body(&p.s, 4000, &at[i]);
                assert_non_null(body[i]);
                memset(body[i], 'A' + i, 4000);
                r = (struct objm_ring_reply){.body_at = at[i], .body_len = 4000};
                objm_ring_server_put(&p.s, &r);
        }
        assert_null(objm_ring_server_body(&p.s, 4000, &none));
        assert_int_equal(none, 7);
        assert_null(objm_ring_server_body(&p.s, ARENA + 1, &none));
        assert_int_equal(objm_ring_server_publish(&p.s), OBJM_RING_AWAKE);
        assert_int_equal(objm_ring_client_readable(&p.c), 2);
        objm_ring_client_take(&p.c, &r);
        assert_int_equal(objm_ring_client_body(&p.c, &r)[3999], 'A');
        objm_ring_client_release(&p.c);
        body[2] = objm_ring_server_body(&p.s, 4000, &at[2]);
        assert_ptr_equal(body[2], body[0]);
        objm_ring_client_take(&p.c, &r);
        assert_int_equal(objm_ring_client_body(&p.c, &r)[0], 'B');
        r.body_at = ARENA - 1;
        assert_null(objm_ring_client_body(&p.c, &r));
        r.body_at = UINT32_MAX;
        assert_null(objm_ring_client_body(&p.c, &r));
        pair_deinit(&p);
}

/* The whole arena is to be had by one body, wherever the last ones ended. */
static void the_whole_arena_is_one_body(void **state)
{
        struct objm_ring_reply r;
        struct pair p;
        uint32_t at;

        pair_init(&p);
        for (uint32_t len = 1; len <= ARENA; len = len * 2 + (len == 1)) {
                for (int i = 0; i < 2; i++) {
                        r = (struct objm_ring_reply){.body_len = i ? ARENA : len};
                        assert_non_null(objm_ring_server_body(&p.s, r.body_len, &r.body_at));
                        objm_ring_server_put(&p.s, &r);
                        (void)!objm_ring_server_publish(&p.s);
                        assert_null(objm_ring_server_body(&p.s, ARENA, &at));
                        assert_int_equal(objm_ring_client_readable(&p.c), 1);
                        objm_ring_client_take(&p.c, &r);
                        objm_ring_client_release(&p.c);
                }
        }
        pair_deinit(&p);
}

static void full_is_full_and_loses_nothing(void **state)
{
        struct objm_ring_reply r;
        struct pair p;

        pair_init(&p);
        for (uint32_t i = 0; i < ENTRIES; i++)
                assert_int_equal(ask(&p, i, "/x", true), 0);
        assert_int_equal(ask(&p, 99, "/x", true), OBJM_RING_CLIENT_FULL);
        assert_int_equal(objm_ring_client_publish(&p.c), 0);
        for (uint32_t i = 0; i < ENTRIES; i++) {
                expect_request(&p, i, "/x");
                answer(&p, i);
        }
        assert_int_equal(objm_ring_server_room(&p.s, 1), 0);
        (void)!objm_ring_server_publish(&p.s);
        assert_int_equal(ask(&p, 99, "/x", true), 0);
        for (uint32_t i = 0; i < ENTRIES; i++) {
                assert_true(objm_ring_client_readable(&p.c) > 0);
                objm_ring_client_take(&p.c, &r);
                assert_int_equal(r.id, i);
        }
        assert_int_equal(objm_ring_server_room(&p.s, 1), 0);
        objm_ring_client_release(&p.c);
        assert_int_equal(objm_ring_server_room(&p.s, 1), ENTRIES);
        pair_deinit(&p);
}

/* URIs that do not fit in the arena wait too. */
static void long_uris_fill_the_arena(void **state)
{
        char uri[OBJM_URI_MAX + 1];
        struct pair p;

        memset(uri, 'u', OBJM_URI_MAX);
        uri[OBJM_URI_MAX] = '\0';
        pair_init(&p);
        for (int round = 0; round < 5; round++) {
                assert_int_equal(ask(&p, 1, uri, true), 0);
                assert_int_equal(ask(&p, 2, uri, true), 0);
                assert_int_equal(ask(&p, 3, uri, true), OBJM_RING_CLIENT_FULL);
                assert_int_equal(objm_ring_client_publish(&p.c), 0);
                expect_request(&p, 1, uri);
                expect_request(&p, 2, uri);
                (void)!objm_ring_server_publish(&p.s);
        }
        pair_deinit(&p);
}

static void rewinding_takes_everything_back(void **state)
{
        struct objm_ring_mark m;
        struct pair p;
        uint32_t at;

        pair_init(&p);
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(ask(&p, i, "/x", true), 0);
        assert_int_equal(objm_ring_client_publish(&p.c), 0);
        for (int round = 0; round < 3; round++) {
                expect_request(&p, 0, "/x");
                answer(&p, 0);
                m = objm_ring_server_mark(&p.s);
                expect_request(&p, 1, "/x");
                assert_non_null(objm_ring_server_body(&p.s, ARENA, &at));
                answer(&p, 1);
                objm_ring_server_rewind(&p.s, &m);
                m.request--;
                m.reply--;
                if (round < 2)
                        objm_ring_server_rewind(&p.s, &m);
        }
        (void)!objm_ring_server_publish(&p.s);
        assert_int_equal(objm_ring_client_readable(&p.c), 1);
        for (uint32_t i = 1; i < 4; i++)
                expect_request(&p, i, "/x");
        pair_deinit(&p);
}

static void sleepers_are_woken_once(void **state)
{
        struct objm_ring_reply r;
        struct pair p;

        pair_init(&p);
        assert_int_equal(objm_ring_server_sleep(&p.s), 0);
        assert_int_equal(ask(&p, 1, "/x", true), 0);
        assert_int_equal(objm_ring_client_publish(&p.c), 0);
        assert_true(rung(&p));
        objm_ring_server_awake(&p.s);
        assert_int_equal(ask(&p, 2, "/x", true), 0);
        assert_int_equal(objm_ring_client_publish(&p.c), 0);
        assert_false(rung(&p));
        assert_int_equal(objm_ring_server_sleep(&p.s), 2);

        assert_int_equal(objm_ring_client_arm(&p.c, OBJM_RING_POLLING), 0);
        for (int i = 0; i < 3; i++) {
                answer(&p, 1);
                assert_int_equal(objm_ring_server_publish(&p.s), i ? OBJM_RING_AWAKE : OBJM_RING_POLLING);
        }
        objm_ring_client_disarm(&p.c);
        assert_int_equal(objm_ring_client_arm(&p.c, OBJM_RING_ASLEEP), 3);
        for (int i = 0; i < 3; i++)
                objm_ring_client_take(&p.c, &r);
        objm_ring_client_release(&p.c);
        assert_int_equal(objm_ring_client_arm(&p.c, OBJM_RING_ASLEEP), 0);
        answer(&p, 1);
        assert_int_equal(objm_ring_server_publish(&p.s), OBJM_RING_ASLEEP);
        pair_deinit(&p);
}

static void *put_later(void *arg)
{
        struct pair *p = arg;

        answer(p, 5);
        if (objm_ring_server_publish(&p->s) == OBJM_RING_ASLEEP)
                objm_ring_server_wake(&p->s);
        return NULL;
}

/* However the two meet: the wait is over when there is a reply, and would last a minute if it were not. */
static void waiting_ends_with_a_reply(void **state)
{
        struct objm_ring_reply r;
        pthread_t thread;
        struct pair p;

        pair_init(&p);
        for (int i = 0; i < 200; i++) {
                assert_int_equal(pthread_create(&thread, NULL, put_later, &p), 0);
                while (objm_ring_client_arm(&p.c, OBJM_RING_ASLEEP) == 0)
                        objm_ring_client_wait(&p.c, UINT64_C(60000000000));
                objm_ring_client_disarm(&p.c);
                objm_ring_client_take(&p.c, &r);
                objm_ring_client_release(&p.c);
                pthread_join(thread, NULL);
        }
        pair_deinit(&p);
}

/*
 * The server, when it looks late, sees the sleep after the one that its reply has ended; the client is about to wait,
 * but does not yet. The flag is stored before its time here.
 */
static void a_wake_up_that_reached_nobody_is_repeated(void **state)
{
        struct objm_ring_reply r;
        struct pair p;

        pair_init(&p);
        answer(&p, 1);
        atomic_store(&p.c.replies.at.asleep->value, (p.c.arms + OBJM_RING_ASLEEP_STEP) | OBJM_RING_ASLEEP);
        assert_int_equal(objm_ring_server_publish(&p.s), OBJM_RING_ASLEEP);
        objm_ring_server_wake(&p.s);
        assert_int_equal(objm_ring_client_readable(&p.c), 1);
        objm_ring_client_take(&p.c, &r);
        objm_ring_client_release(&p.c);
        assert_int_equal(objm_ring_client_arm(&p.c, OBJM_RING_ASLEEP), 0);
        answer(&p, 2);
        assert_int_equal(objm_ring_server_publish(&p.s), OBJM_RING_ASLEEP);
        pair_deinit(&p);
}

static void an_ended_ring_takes_no_more(void **state)
{
        struct pair p;

        pair_init(&p);
        assert_int_equal(ask(&p, 1, "/x", true), 0);
        assert_int_equal(objm_ring_client_publish(&p.c), 0);
        assert_false(objm_ring_server_end(&p.s));
        expect_request(&p, 1, "/x");
        (void)!objm_ring_server_publish(&p.s);
        assert_true(objm_ring_server_end(&p.s));
        assert_true(objm_ring_client_ended(&p.c));
        assert_int_equal(ask(&p, 2, "/x", true), 0);
        assert_int_equal(objm_ring_client_publish(&p.c), OBJM_RING_CLIENT_ENDED);
        assert_false(rung(&p));
        objm_shm_free_requests(&p.s.shm);
        assert_int_equal(p.c.shm.requests[0], 0);
        pair_deinit(&p);
}

/* ---- what a client may write ---- */

static void impossible_indices_are_errors(void **state)
{
        static const uint32_t heads[] = {ENTRIES + 1, 1u << 31, UINT32_MAX, UINT32_MAX - ENTRIES};

        for (size_t i = 0; i < objm_array_len(heads); i++) {
                struct pair p;

                pair_init(&p);
                atomic_store(&p.c.requests.at.head->value, heads[i]);
                assert_true(objm_ring_server_pending(&p.s));
                assert_int_equal(objm_ring_server_readable(&p.s), -EPROTO);
                assert_int_equal(objm_ring_server_sleep(&p.s), -EPROTO);
                pair_deinit(&p);

                pair_init(&p);
                answer(&p, 1);
                (void)!objm_ring_server_publish(&p.s);
                atomic_store(&p.c.replies.at.tail->value, heads[i]);
                assert_int_equal(objm_ring_server_room(&p.s, ENTRIES), -EPROTO);
                assert_null(objm_ring_server_body(&p.s, ARENA + 1, (uint32_t[1]){0}));
                pair_deinit(&p);
        }
}

static void uris_outside_the_arena_are_seen(void **state)
{
        static const struct objm_ring_request bad[] = {
                {.uri_len = 1, .uri_at = ARENA},
                {.uri_len = 2, .uri_at = ARENA - 1},
                {.uri_len = 1, .uri_at = UINT32_MAX},
                {.uri_len = OBJM_URI_MAX, .uri_at = ARENA - OBJM_URI_MAX + 1},
                {.uri_len = OBJM_URI_MAX + 1},
                {.uri_len = UINT16_MAX},
                {.uri_len = OBJM_RING_URI_SHORT + 1, .flags = OBJM_RING_RQ_URI_SHORT},
                {.uri_len = UINT16_MAX, .flags = OBJM_RING_RQ_URI_SHORT},
        };
        uint8_t buf[OBJM_URI_MAX];
        const uint8_t *uri;
        struct pair p;

        pair_init(&p);
        for (size_t i = 0; i < objm_array_len(bad); i++)
                assert_false(objm_ring_server_uri(&p.s, &bad[i], buf, &uri));
        assert_true(objm_ring_server_uri(&p.s, &(struct objm_ring_request){.uri_len = 1, .uri_at = ARENA - 1}, buf,
                                         &uri));
        pair_deinit(&p);
}

static void memory_of_another_size_is_not_mapped(void **state)
{
        const struct objm_ring_geometry g = {ENTRIES, ARENA}, larger = {256, 262144};
        int fds[2], unsealed = memfd_create("test", MFD_CLOEXEC);
        struct objm_shm m, other;

        assert_int_equal(objm_shm_create(&g, &m, fds), 0);
        assert_int_equal(objm_shm_map(&larger, fds[0], fds[1], &other), -EPROTO);
        assert_int_equal(ftruncate(unsealed, objm_ring_memory_size(&g)), 0);
        assert_int_equal(objm_shm_map(&g, unsealed, fds[1], &other), -EPROTO);
        assert_int_equal(objm_shm_map(&g, fds[0], unsealed, &other), -EPROTO);
        assert_int_equal(objm_shm_map(&g, fds[1], fds[0], &other), -EPERM);
        objm_fd_close_many(fds, 2);
        objm_fd_close(unsealed);
        objm_shm_unmap(&m);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(requests_and_replies_go_round),
                cmocka_unit_test(bodies_stay_until_they_are_given_back),
                cmocka_unit_test(the_whole_arena_is_one_body),
                cmocka_unit_test(full_is_full_and_loses_nothing),
                cmocka_unit_test(long_uris_fill_the_arena),
                cmocka_unit_test(rewinding_takes_everything_back),
                cmocka_unit_test(sleepers_are_woken_once),
                cmocka_unit_test(waiting_ends_with_a_reply),
                cmocka_unit_test(a_wake_up_that_reached_nobody_is_repeated),
                cmocka_unit_test(an_ended_ring_takes_no_more),
                cmocka_unit_test(impossible_indices_are_errors),
                cmocka_unit_test(uris_outside_the_arena_are_seen),
                cmocka_unit_test(memory_of_another_size_is_not_mapped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
