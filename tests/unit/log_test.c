/* SPDX-License-Identifier: MIT */
#define SD_JOURNAL_SUPPRESS_LOCATION
/*
 * Standard error is a pipe while a test runs, so what was written can be read back.
 */
#include "base/clock.h"
#include "objmapperd/log.h"
#include "objmapperd/log_limit.h"
#include "objmapperd/log_refused.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>
#include <cmocka.h>

#define THREADS 4
#define LINES   100

static int saved = -1, out = -1;

static int capture(void **state)
{
        int p[2];

        if (pipe2(p, O_CLOEXEC) < 0)
                return -1;
        saved = dup(STDERR_FILENO);
        if (saved < 0 || dup2(p[1], STDERR_FILENO) < 0)
                return -1;
        close(p[1]);
        out = p[0];
        return fcntl(out, F_SETFL, O_NONBLOCK);
}

static int release(void **state)
{
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(out);
        return unsetenv("JOURNAL_STREAM");
}

static const char *written(void)
{
        static char text[65536];
        ssize_t n = read(out, text, sizeof(text) - 1);

        text[n > 0 ? n : 0] = '\0';
        return text;
}

static void lines_have_a_prefix(void **state)
{
        log_init(LOG_INFO, true);
        errno = 42;
        log_line(LOG_INFO, "listening on %s", "/x");
        assert_int_equal(errno, 42);
        assert_string_equal(written(), "objmapperd: listening on /x\n");
}

static void the_level_decides(void **state)
{
        log_init(LOG_WARNING, true);
        log_line(LOG_INFO, "not this");
        log_line(LOG_WARNING, "this");
        assert_string_equal(written(), "objmapperd: this\n");
        log_set_level(LOG_DEBUG);
        assert_true(log_shows(LOG_DEBUG));
        log_line(LOG_DEBUG, "and this");
        assert_string_equal(written(), "objmapperd: and this\n");
        log_set_level(LOG_ERR);
        assert_false(log_shows(LOG_WARNING));
}

static void text_cannot_forge_a_line(void **state)
{
        log_init(LOG_INFO, true);
        log_line(LOG_INFO, "uri %s", "a\nobjmapperd: b\t\x1b[0m\x7f\xc3\xa9");
        assert_string_equal(written(), "objmapperd: uri a\\x0aobjmapperd: b\\x09\\x1b[0m\\x7f\xc3\xa9\n");
}

static void long_text_is_cut(void **state)
{
        char text[8192];
        const char *line;

        memset(text, '\n', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        log_init(LOG_INFO, true);
        log_text(NULL, LOG_INFO, text);
        line = written();
        assert_in_range(strlen(line), 2000, 2048);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void *log_many(void *arg)
{
        for (int i = 0; i < LINES; i++)
                log_line(LOG_INFO, "%s", (const char *)arg);
        return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
        static char text[THREADS][64];
        pthread_t threads[THREADS];
        size_t count = 0;
        char *copy, *save, *line;

        log_init(LOG_INFO, true);
        for (int i = 0; i < THREADS; i++) {
                memset(text[i], 'a' + i, sizeof(text[i]) - 1);
                assert_int_equal(pthread_create(&threads[i], NULL, log_many, text[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        copy = strdup(written());
        assert_non_null(copy);
        for (line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save), count++) {
                const char *letters = line + strlen("objmapperd: ");

                assert_int_equal(strlen(letters), sizeof(text[0]) - 1);
                assert_int_equal(strspn(letters, (char[]){letters[0], '\0'}), sizeof(text[0]) - 1);
        }
        assert_int_equal(count, THREADS * LINES);
        free(copy);
}

/* JOURNAL_STREAM of another file (a service whose standard error was redirected) must not send the log elsewhere. */
static void a_foreign_journal_stream_is_ignored(void **state)
{
        assert_int_equal(setenv("JOURNAL_STREAM", "1:2", 1), 0);
        log_init(LOG_INFO, false);
        log_line(LOG_INFO, "here");
        assert_string_equal(written(), "objmapperd: here\n");
}

/* In place of libsystemd's: keeps the fields of the last entry. */
static char entry[8][4096];
static int n_fields;

int sd_journal_sendv(const struct iovec *iov, int n)
{
        assert_in_range(n, 1, 8);
        n_fields = n;
        for (int i = 0; i < n; i++) {
                assert_in_range(iov[i].iov_len, 1, sizeof(entry[i]) - 1);
                memcpy(entry[i], iov[i].iov_base, iov[i].iov_len);
                entry[i][iov[i].iov_len] = '\0';
                assert_null(strchr(entry[i], '\n')); /* else it is binary, with a length in front */
        }
        return 0;
}

static const char *field(const char *name)
{
        for (int i = 0; i < n_fields; i++)
                if (strncmp(entry[i], name, strlen(name)) == 0 && entry[i][strlen(name)] == '=')
                        return entry[i] + strlen(name) + 1;
        return NULL;
}

static void to_the_journal(void)
{
        char stream[64];
        struct stat st;

        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
        log_init(LOG_DEBUG, false);
        n_fields = 0;
}

static void the_journal_gets_lines_when_stderr_is_its(void **state)
{
        to_the_journal();
        log_line(LOG_DEBUG, "objmapperd unit test");
        assert_string_equal(written(), "");
        assert_string_equal(field("MESSAGE"), "objmapperd unit test");
        assert_string_equal(field("PRIORITY"), "7");
        log_init(LOG_DEBUG, true);
        log_line(LOG_DEBUG, "here");
        assert_string_equal(written(), "objmapperd: here\n");
}

static void a_line_in_the_journal_has_fields(void **state)
{
        const struct log_about about = {.message = LOG_MESSAGE_REFUSED, .has_uid = true, .uid = 1234,
                                        .export = "/a\nMESSAGE=b/", .refused = "x", .suppressed = 7};

        to_the_journal();
        log_about(LOG_NOTICE, &about, "text %d\nPRIORITY=0", 1);
        assert_string_equal(field("PRIORITY"), "5");
        assert_string_equal(field("MESSAGE"), "text 1\\x0aPRIORITY=0");
        assert_string_equal(field("OBJMAPPER_UID"), "1234");
        assert_string_equal(field("OBJMAPPER_EXPORT"), "/a\\x0aMESSAGE=b/");
        assert_string_equal(field("OBJMAPPER_REFUSED"), "x");
        assert_string_equal(field("OBJMAPPER_SUPPRESSED"), "7");
        assert_int_equal(strlen(field("MESSAGE_ID")), 32);
        assert_int_equal(strspn(field("MESSAGE_ID"), "0123456789abcdef"), 32);
        log_line(LOG_WARNING, "plain");
        assert_string_equal(field("MESSAGE"), "plain");
        assert_null(field("MESSAGE_ID"));
        assert_null(field("OBJMAPPER_UID"));
}

static void long_fields_are_cut(void **state)
{
        struct log_about about = {.message = LOG_MESSAGE_REFUSED, .has_uid = true, .refused = "x", .suppressed = 7};
        char text[8192];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        about.export = text;
        to_the_journal();
        log_about_text(LOG_INFO, &about, text);
        assert_non_null(field("MESSAGE"));
        assert_in_range(strlen(field("MESSAGE")), 512, 2048);
        assert_in_range(strlen(field("OBJMAPPER_EXPORT")), 512, 2048);
}

/* One an id, none twice. */
static void message_ids_differ(void **state)
{
        char seen[LOG_MESSAGE_EXPORT + 1][40];

        to_the_journal();
        for (unsigned i = 1; i <= LOG_MESSAGE_EXPORT; i++) {
                log_about(LOG_INFO, &(struct log_about){.message = i}, "x");
                snprintf(seen[i], sizeof(seen[i]), "%s", field("MESSAGE_ID"));
                for (unsigned k = 1; k < i; k++)
                        assert_string_not_equal(seen[k], seen[i]);
        }
}

static void the_limit_counts_what_it_refuses(void **state)
{
        struct log_limit l = LOG_LIMIT_INIT;
        uint64_t now = 5000 * OBJM_NS_PER_S, period = LOG_LIMIT_PERIOD_S * OBJM_NS_PER_S;
        unsigned left_out = 99;

        for (int i = 0; i < LOG_LIMIT_BURST; i++) {
                assert_true(log_limit_take(&l, now, &left_out));
                assert_int_equal(left_out, 0);
        }
        for (int i = 0; i < 1000; i++)
                assert_false(log_limit_take(&l, now + period - 1, &left_out));
        assert_true(log_limit_take(&l, now + period, &left_out));
        assert_int_equal(left_out, 1000);
        assert_false(log_limit_take(&l, now + period, &left_out));
        assert_true(log_limit_take(&l, now + 3 * period, &left_out));
        assert_int_equal(left_out, 1);
        assert_true(log_limit_take(&l, now + 3 * period, &left_out));
        assert_int_equal(left_out, 0);
        assert_false(log_limit_take(&l, now + 3 * period, &left_out));
}

/* Another thread looked at the time, waited for the lock, and found the bucket emptied meanwhile. */
static void an_earlier_look_at_the_time_filled_the_bucket(void **state)
{
        struct log_limit l = LOG_LIMIT_INIT;
        uint64_t now = 5000 * OBJM_NS_PER_S;
        unsigned left_out;

        for (int i = 0; i < LOG_LIMIT_BURST; i++)
                assert_true(log_limit_take(&l, now, &left_out));
        assert_false(log_limit_take(&l, now - 1, &left_out));
        assert_false(log_limit_take(&l, now, &left_out));
}

/* The clock counts from the machine's start: less than the bucket takes to fill. */
static void the_limit_holds_right_after_the_start(void **state)
{
        struct log_limit l = LOG_LIMIT_INIT;
        uint64_t now = OBJM_NS_PER_S, period = LOG_LIMIT_PERIOD_S * OBJM_NS_PER_S;
        unsigned left_out;

        for (int i = 0; i < LOG_LIMIT_BURST; i++)
                assert_true(log_limit_take(&l, now, &left_out));
        assert_false(log_limit_take(&l, now + period - 1, &left_out));
        assert_true(log_limit_take(&l, now + period, &left_out));
}

static unsigned lines_in(const char *text)
{
        unsigned n = 0;

        for (const char *p = text; (p = strchr(p, '\n')); p++)
                n++;
        return n;
}

static void limited_lines_stop_at_the_burst(void **state)
{
        struct log_limit l = LOG_LIMIT_INIT;

        log_init(LOG_INFO, true);
        for (int i = 0; i < 100; i++)
                log_limited(&l, LOG_INFO, "client %d", i);
        assert_in_range(lines_in(written()), LOG_LIMIT_BURST, 2 * LOG_LIMIT_BURST);
        l.since_ns = 1; /* as if nothing had been logged for long */
        if (objm_clock_ns() > 2 * LOG_LIMIT_PERIOD_S * OBJM_NS_PER_S) {
                log_limited(&l, LOG_INFO, "client");
                assert_non_null(strstr(written(), " more suppressed)\n"));
        }
}

/* A flood of one kind leaves room for lines of the others. */
static void refusals_are_limited_by_kind(void **state)
{
        const char *text;

        log_init(LOG_INFO, true);
        for (int i = 0; i < 1000; i++)
                log_refused(LOG_REFUSED_UID_REQUESTS, 77, "too many requests a second");
        text = written();
        assert_int_equal(log_refused_count(LOG_REFUSED_UID_REQUESTS), 1000);
        assert_in_range(lines_in(text), LOG_LIMIT_BURST, 2 * LOG_LIMIT_BURST);
        assert_memory_equal(text, "objmapperd: uid 77: too many requests a second\n", 46);
        for (unsigned kind = 0; kind < LOG_N_REFUSALS; kind++)
                if (kind != LOG_REFUSED_UID_REQUESTS)
                        log_refused(kind, LOG_NO_UID, "client of kind %u", kind);
        text = written();
        assert_int_equal(lines_in(text), LOG_N_REFUSALS - 1);
        assert_memory_equal(text, "objmapperd: client of kind 0\n", 29);
        for (unsigned kind = 0; kind < LOG_N_REFUSALS; kind++)
                assert_non_null(log_refusal_name(kind));
}

static void a_refusal_in_the_journal_says_which(void **state)
{
        to_the_journal();
        log_refused(LOG_REFUSED_SLOW, 4321, "cut off");
        assert_string_equal(field("MESSAGE"), "uid 4321: cut off");
        assert_string_equal(field("OBJMAPPER_REFUSED"), "slow");
        assert_string_equal(field("OBJMAPPER_UID"), "4321");
        assert_null(field("OBJMAPPER_SUPPRESSED"));
        assert_non_null(field("MESSAGE_ID"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(lines_have_a_prefix, capture, release),
                cmocka_unit_test_setup_teardown(the_level_decides, capture, release),
                cmocka_unit_test_setup_teardown(text_cannot_forge_a_line, capture, release),
                cmocka_unit_test_setup_teardown(long_text_is_cut, capture, release),
                cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix, capture, release),
                cmocka_unit_test_setup_teardown(a_foreign_journal_stream_is_ignored, capture, release),
                cmocka_unit_test_setup_teardown(the_journal_gets_lines_when_stderr_is_its, capture, release),
                cmocka_unit_test_setup_teardown(a_line_in_the_journal_has_fields, capture, release),
                cmocka_unit_test_setup_teardown(long_fields_are_cut, capture, release),
                cmocka_unit_test_setup_teardown(message_ids_differ, capture, release),
                cmocka_unit_test_setup_teardown(the_limit_counts_what_it_refuses, capture, release),
                cmocka_unit_test_setup_teardown(an_earlier_look_at_the_time_filled_the_bucket, capture, release),
                cmocka_unit_test_setup_teardown(the_limit_holds_right_after_the_start, capture, release),
                cmocka_unit_test_setup_teardown(limited_lines_stop_at_the_burst, capture, release),
                cmocka_unit_test_setup_teardown(refusals_are_limited_by_kind, capture, release),
                cmocka_unit_test_setup_teardown(a_refusal_in_the_journal_says_which, capture, release),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
