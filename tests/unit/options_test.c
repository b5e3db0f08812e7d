/* SPDX-License-Identifier: MIT */
#include "base/attr.h"
#include "objmapperd/config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define PARSE(o, err, ...) parse((char *[]){"objmapperd", ##__VA_ARGS__, NULL}, o, err)

static int parse(char **argv, struct options *o, struct config_error *err)
{
        int argc = 0;

        while (argv[argc])
                argc++;
        return options_parse(argc, argv, o, err);
}

static void no_options_say_nothing(void **state)
{
        struct config_error err;
        struct options o;

        assert_int_equal(PARSE(&o, &err), 0);
        assert_null(o.config_path);
        assert_null(o.socket_path);
        assert_int_equal(o.n_exports, 0);
        assert_int_equal(o.model, -1);
        assert_int_equal(o.pool_size, -1);
        assert_int_equal(o.copy_pool_size, -1);
        assert_false(o.check_config || o.foreground || o.version || o.help);
        options_deinit(&o);
}

static void every_option_is_taken(void **state)
{
        struct config_error err;
        struct options o;

        assert_int_equal(PARSE(&o, &err, "--config", "a", "--socket=b", "--export", "/=c", "--export", "/d/=e",
                               "--tcp", "f:1", "--tcp=g",
                               "--concurrency-model", "thread-per-request", "--pool-size", "0", "--copy-pool-size=1024",
                               "--check-config", "--foreground", "--version", "--help"),
                         0);
        assert_string_equal(o.config_path, "a");
        assert_string_equal(o.socket_path, "b");
        assert_int_equal(o.n_exports, 2);
        assert_string_equal(o.exports[0], "/=c");
        assert_string_equal(o.exports[1], "/d/=e");
        assert_int_equal(o.n_tcp, 2);
        assert_string_equal(o.tcp[1], "g");
        assert_int_equal(o.model, CONFIG_MODEL_THREAD_PER_REQUEST);
        assert_int_equal(o.pool_size, 0);
        assert_int_equal(o.copy_pool_size, 1024);
        assert_true(o.check_config && o.foreground && o.version && o.help);
        options_deinit(&o);
        assert_null(o.exports);
        assert_null(o.tcp);
}

static void models_by_name(void **state)
{
        static const struct {
                char *name;
                int model;
        } models[] = {
                {"thread-pool", CONFIG_MODEL_THREAD_POOL},
                {"thread-per-connection", CONFIG_MODEL_THREAD_PER_CONNECTION},
                {"thread-per-request", CONFIG_MODEL_THREAD_PER_REQUEST},
        };
        struct config_error err;
        struct options o;

        for (size_t i = 0; i < objm_array_len(models); i++) {
                assert_int_equal(PARSE(&o, &err, "--concurrency-model", models[i].name), 0);
                assert_int_equal(o.model, models[i].model);
        }
}

/* What is refused, and the words that the message must have. */
static void bad_options_are_named(void **state)
{
        static char *const bad[][4] = {
                {"--nonsense", NULL, "--nonsense"},
                {"-x", NULL, "-x"},
                {"--config", NULL, "--config"},
                {"--foreground=yes", NULL, "--foreground=yes"},
                {"--pool-size", "1025", "--pool-size 1025: must be 0 to 1024"},
                {"--pool-size", "-1", "--pool-size -1"},
                {"--pool-size", "two", "--pool-size two"},
                {"--pool-size", "99999999999999999999", "--pool-size"},
                {"--copy-pool-size", "", "--copy-pool-size"},
                {"--concurrency-model", "fork", "--concurrency-model fork"},
                {"--foreground", "extra", "extra"},
                {"--export=/=a", "--wrong", "--wrong"},
        };
        struct config_error err;
        struct options o = {.model = 42};

        for (size_t i = 0; i < objm_array_len(bad); i++) {
                err.text[0] = '\0';
                assert_int_equal(PARSE(&o, &err, bad[i][0], bad[i][1]), -EINVAL);
                if (!strstr(err.text, bad[i][2]))
                        fail_msg("\"%s\" does not say \"%s\"", err.text, bad[i][2]);
        }
        assert_int_equal(o.model, 42);
}

static void usage_names_every_option(void **state)
{
        static const char *const names[] = {"--config ", "--socket ", "--export ", "--concurrency-model ",
                                            "--pool-size ", "--copy-pool-size ", "--check-config ", "--foreground ",
                                            "--version ", "--help "};

        for (size_t i = 0; i < objm_array_len(names); i++)
                assert_non_null(strstr(options_usage(), names[i]));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_options_say_nothing), cmocka_unit_test(every_option_is_taken),
                cmocka_unit_test(models_by_name),         cmocka_unit_test(bad_options_are_named),
                cmocka_unit_test(usage_names_every_option),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
