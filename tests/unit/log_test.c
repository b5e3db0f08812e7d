/* SPDX-License-Identifier: MIT */
/*
 * Standard error is a pipe while a test runs, so what was written can be read back.
 */
#include "base/clock.h"
#include "objmapperd/log.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static void the_journal_gets_lines_when_stderr_is_its(void **state)
{
        char stream[64];
        struct stat st;

        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
        log_init(LOG_DEBUG, false);
        log_line(LOG_DEBUG, "objmapperd unit test");
        assert_string_equal(written(), "");
        log_init(LOG_DEBUG, true);
        log_line(LOG_DEBUG, "here");
        assert_string_equal(written(), "objmapperd: here\n");
}

static void the_limit_counts_what_it_refuses(void **state)
{
        struct log_limit l = LOG_LIMIT_INIT;
        uint64_t now = 5 * OBJM_NS_PER_S;
        unsigned left_out = 99;

        for (int i = 0; i < LOG_LIMIT_BURST; i++) {
                assert_true(log_limit_take(&l, now + (uint64_t)i, &left_out));
                assert_int_equal(left_out, 0);
        }
        for (int i = 0; i < 1000; i++)
                assert_false(log_limit_take(&l, now + LOG_LIMIT_WINDOW_S * OBJM_NS_PER_S - 1, &left_out));
        assert_true(log_limit_take(&l, now + LOG_LIMIT_WINDOW_S * OBJM_NS_PER_S, &left_out));
        assert_int_equal(left_out, 1000);
        assert_true(log_limit_take(&l, now + LOG_LIMIT_WINDOW_S * OBJM_NS_PER_S, &left_out));
        assert_int_equal(left_out, 0);
}

static void limited_lines_stop_at_the_burst(void **state)
{
        struct log_limit l = LOG_LIMIT_INIT;
        unsigned n = 0;

        log_init(LOG_INFO, true);
        for (int i = 0; i < 100; i++)
                log_limited(&l, LOG_INFO, "client %d", i);
        for (const char *p = written(); (p = strchr(p, '\n')); p++)
                n++;
        assert_in_range(n, LOG_LIMIT_BURST, 2 * LOG_LIMIT_BURST);
        l.window_ns = 1; /* as if the window had begun at boot */
        if (objm_clock_ns() < (LOG_LIMIT_WINDOW_S + 1) * OBJM_NS_PER_S)
                skip();
        log_limited(&l, LOG_INFO, "client");
        assert_non_null(strstr(written(), "objmapperd: client ("));
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
                cmocka_unit_test_setup_teardown(the_limit_counts_what_it_refuses, capture, release),
                cmocka_unit_test_setup_teardown(limited_lines_stop_at_the_burst, capture, release),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
