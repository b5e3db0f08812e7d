/* SPDX-License-Identifier: MIT */
#include "concurrency/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void every_model_is_found_by_its_name(void **state)
{
        for (int i = 0; i < OBJM_MODEL_MAX; i++) {
                assert_non_null(objm_models[i].name);
                assert_int_equal(objm_model_find(objm_models[i].name), i);
        }
        assert_int_equal(objm_model_find("thread-pool"), OBJM_MODEL_THREAD_POOL);
        assert_int_equal(objm_model_find("thread-per-connection"), OBJM_MODEL_THREAD_PER_CONNECTION);
        assert_int_equal(objm_model_find("thread-per-request"), OBJM_MODEL_THREAD_PER_REQUEST);
}

static void nothing_else_is(void **state)
{
        static const char *const names[] = {"", "thread", "thread-pool ", "Thread-Pool", "thread-per-", "0"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_int_equal(objm_model_find(names[i]), -1);
}

static void models_are_what_they_are_called(void **state)
{
        const struct objm_model *m = objm_models;

        assert_int_equal(m[OBJM_MODEL_THREAD_POOL].placement, OBJM_PLACE_SHARED);
        assert_int_equal(m[OBJM_MODEL_THREAD_POOL].execution, OBJM_EXECUTE_INLINE);
        assert_int_equal(m[OBJM_MODEL_THREAD_PER_CONNECTION].placement, OBJM_PLACE_OWN);
        assert_int_equal(m[OBJM_MODEL_THREAD_PER_CONNECTION].execution, OBJM_EXECUTE_INLINE);
        assert_int_equal(m[OBJM_MODEL_THREAD_PER_REQUEST].placement, OBJM_PLACE_SHARED);
        assert_int_equal(m[OBJM_MODEL_THREAD_PER_REQUEST].execution, OBJM_EXECUTE_SPAWN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_model_is_found_by_its_name),
                cmocka_unit_test(nothing_else_is),
                cmocka_unit_test(models_are_what_they_are_called),
        };

        return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
