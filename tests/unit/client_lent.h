/* SPDX-License-Identifier: MIT */
#ifndef OBJM_TESTS_CLIENT_LENT_H
#define OBJM_TESTS_CLIENT_LENT_H
/*
 * Buffers that submitted reads fill: each between guards of its own, with the request that it is for.
 */
#include "client_bodies.h"

#define GUARD 64

struct lent {
        uint8_t *mem;
        size_t size, n; /* of the object, and of the buffer */
        struct objmapper_read_options options;
        struct objmapper_completion done;
        bool answered;
};

static inline size_t lent_expected(const struct lent *l)
{
        uint64_t left = l->options.offset < l->size ? l->size - l->options.offset : 0;
        uint64_t n = l->options.length && l->options.length < l->n ? l->options.length : l->n;

        return (size_t)(n < left ? n : left);
}

/* Submits; user_data is the place in the array. The URI and the options are gone right after that. */
static inline int lent_submit(struct objmapper *om, struct lent *array, size_t i, size_t size, size_t n,
                              struct objmapper_read_options o)
{
        struct lent *l = &array[i];
        struct objmapper_read_options *options = malloc(sizeof(*options));
        char *uri = malloc(32);
        int len, r;

        assert_true(options && uri);
        *l = (struct lent){.mem = malloc(n + 2 * GUARD), .size = size, .n = n, .options = o};
        assert_non_null(l->mem);
        memset(l->mem, 0xee, n + 2 * GUARD);
        *options = o;
        len = snprintf(uri, 32, "/%zu", size);
        r = objmapper_submit_read(om, uri, (size_t)len, l->mem + GUARD, n, options, i);
        memset(uri, 'x', 32);
        free(uri);
        free(options);
        return r;
}

static inline void lent_note(struct lent *array, size_t n, const struct objmapper_completion *c, int got)
{
        assert_true(got >= 0);
        for (int i = 0; i < got; i++) {
                assert_true(c[i].user_data < n && !array[c[i].user_data].answered);
                assert_int_equal(c[i].object.fd, -1);
                array[c[i].user_data].answered = true;
                array[c[i].user_data].done = c[i];
        }
}

/* Takes what is done, without waiting. */
static inline void lent_reap(struct objmapper *om, struct lent *array, size_t n)
{
        struct objmapper_completion c[5];
        int got;

        while ((got = objmapper_reap(om, c, 5)) > 0)
                lent_note(array, n, c, got);
        assert_int_equal(got, 0);
}

static inline void lent_await(struct objmapper *om, struct lent *array, size_t n)
{
        struct objmapper_completion c[7];

        while (objmapper_in_flight(om)) {
                int got = objmapper_wait(om, c, 7, 20000);

                assert_true(got > 0);
                lent_note(array, n, c, got);
        }
}

static inline bool lent_untouched(const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (p[i] != 0xee)
                        return false;
        return true;
}

static inline void lent_check_guards(const struct lent *l)
{
        assert_true(lent_untouched(l->mem, GUARD) && lent_untouched(l->mem + GUARD + l->n, GUARD));
}

/* Ends with @result, or (@result 0) as it should: the right bytes and not one more. */
static inline void lent_check(struct lent *l, int result)
{
        size_t n = lent_expected(l);

        assert_true(l->answered);
        lent_check_guards(l);
        if (result < 0) {
                assert_int_equal(l->done.result, result);
                return;
        }
        assert_int_equal(l->done.result, n);
        assert_int_equal(l->done.object.size, l->size);
        assert_memory_equal(l->mem + GUARD, content + (n ? l->options.offset : 0), n);
        assert_true(lent_untouched(l->mem + GUARD + n, l->n - n));
}

static inline void lent_end(struct lent *array, size_t n, int result)
{
        for (size_t i = 0; i < n; i++) {
                lent_check(&array[i], result);
                free(array[i].mem);
        }
}

/* Of three, nonsense was the answer to the first: nothing of it is in the buffer, and only the second ends well. */
static inline void lent_end_nonsense(struct lent *three)
{
        lent_end(three + 1, 1, 0);
        lent_check(&three[2], -EPROTO);
        lent_check(&three[0], -EPROTO);
        assert_true(lent_untouched(three[0].mem, three[0].n + 2 * GUARD));
        free(three[0].mem);
        free(three[2].mem);
}

#define lent_read(om, array, i, size_, n, ...) lent_submit(om, array, i, size_, n, *read_options(__VA_ARGS__))

/* Every size, buffer, range and mode at once. Returns how many. */
#define LENT_EACH 384
static inline size_t lent_submit_each(struct objmapper *om, struct lent *array)
{
        static const size_t sizes[] = {0, 1, 1024, OBJM_V3_INLINE_DEFAULT, OBJM_V3_INLINE_DEFAULT + 1, SIZE};
        size_t i = 0;

        for (size_t s = 0; s < objm_array_len(sizes); s++) {
                size_t size = sizes[s], buffers[] = {1, 100, size ? size : 2, size + 7};
                uint64_t ranges[][2] = {{0, 0}, {1, 0}, {size ? size - 1 : 0, 5}, {size + 7, 3}};

                for (size_t b = 0; b < objm_array_len(buffers); b++)
                        for (size_t r = 0; r < objm_array_len(ranges); r++)
                                for (int mode = OBJMAPPER_MODE_AUTO; mode <= OBJMAPPER_MODE_SPLICE; mode++, i++)
                                        assert_int_equal(lent_read(om, array, i, size, buffers[b], .mode = mode,
                                                                   .offset = ranges[r][0], .length = ranges[r][1]), 0);
        }
        assert_int_equal(i, LENT_EACH);
        return i;
}

#endif
