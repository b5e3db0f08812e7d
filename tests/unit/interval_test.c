/* SPDX-License-Identifier: MIT */
#include "objmap/interval.h"
#include "objmap/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OTHER "objmapper_t_bucket{m=\"b\",le=\"0.5\"} 7\nobjmapper_t_bucket{m=\"b\",le=\"+Inf\"} 9\n" \
              "objmapper_t_count{m=\"b\"} 9\n"

static struct samples parse(const char *text)
{
        struct samples s;

        assert_int_equal(samples_parse(strdup(text), &s), 0);
        return s;
}

static void check(const char *before, const char *now, double q, double wanted)
{
        struct samples b = parse(before ? before : ""), n = parse(now);
        double got = interval_quantile(&n, before ? &b : NULL, "t", "m=\"a\"", q);

        if (isnan(wanted))
                assert_true(isnan(got));
        else
                assert_true(got == wanted);
        samples_free(&b);
        samples_free(&n);
}

/* A bucket of the histogram that is looked at. */
#define B(edge, count) "objmapper_t_bucket{m=\"a\",le=\"" edge "\"} " count "\n"

static const char first[] = OTHER B("2", "90") B("8", "100") B("+Inf", "100");
/* Ten more at 1, which had no bucket before; one at 4; one beyond all edges. */
static const char second[] = OTHER B("1", "10") B("2", "100") B("4", "101") B("8", "111") B("+Inf", "112");

static void what_there_is_without_a_before(void **state)
{
        check(NULL, first, 0.5, 2);
        check(NULL, first, 0.89, 2);
        check(NULL, first, 0.9, 8);
        check(NULL, first, 1, 8);
}

static void only_what_is_new_counts(void **state)
{
        check(first, second, 0, 1);
        check(first, second, 0.5, 1);
        check(first, second, 0.85, 4);
        check(first, second, 0.99, INFINITY);
}

static void nothing_new_has_no_quantile(void **state)
{
        check(first, first, 0.5, NAN);
        check(NULL, OTHER, 0.5, NAN);
        check(NULL, "", 0.5, NAN);
}

static void what_was_not_there_before_is_all_new(void **state)
{
        check(OTHER, first, 0.5, 2);
}

/* Of a daemon that has started anew there is less than before: no quantile, and no endless walk. */
static void less_than_before_has_no_quantile(void **state)
{
        check(second, first, 0.5, NAN);
}

/* ---- the table of all the others ---- */

/* The name ends where the text does: what is behind it is none of ours. */
static void a_name_without_our_prefix_is_printed_as_it_is(void **state)
{
        struct samples s = parse("x 1");
        FILE *was = stdout;
        size_t len = 0;
        char *out = NULL;

        stdout = open_memstream(&out, &len);
        table_rest(&s);
        fclose(stdout);
        stdout = was;
        assert_int_equal(strncmp(out, "x ", 2), 0);
        free(out);
        samples_free(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_there_is_without_a_before),
                cmocka_unit_test(only_what_is_new_counts),
                cmocka_unit_test(nothing_new_has_no_quantile),
                cmocka_unit_test(what_was_not_there_before_is_all_new),
                cmocka_unit_test(less_than_before_has_no_quantile),
                cmocka_unit_test(a_name_without_our_prefix_is_printed_as_it_is),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
