/* SPDX-License-Identifier: MIT */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
        int value;
        struct objm_list link;
};

/* Walks both ways; each value must be what @expected says, and both directions must agree. */
static void assert_values(struct objm_list *head, const int *expected, int n)
{
        struct objm_list *it = head->next, *back = head->prev;

        for (int i = 0; i < n; i++, it = it->next, back = back->prev) {
                assert_int_equal(objm_container_of(it, struct item, link)->value, expected[i]);
                assert_int_equal(objm_container_of(back, struct item, link)->value, expected[n - 1 - i]);
        }
        assert_ptr_equal(it, head);
        assert_ptr_equal(back, head);
        assert_int_equal(objm_list_empty(head), n == 0);
}

static void fill(struct objm_list *head, struct item *items, int n)
{
        for (int i = 0; i < n; i++) {
                items[i].value = i;
                objm_list_add_tail(head, &items[i].link);
        }
}

static void keeps_the_order(void **state)
{
        struct objm_list head = OBJM_LIST_INIT(head);
        struct item items[4];

        assert_values(&head, NULL, 0);
        fill(&head, items, 4);
        assert_values(&head, (int[]){0, 1, 2, 3}, 4);
        assert_ptr_equal(objm_list_first(&head, struct item, link), &items[0]);
}

static void unlinking_twice_is_harmless(void **state)
{
        struct objm_list head = OBJM_LIST_INIT(head);
        struct item items[3];

        fill(&head, items, 3);
        objm_list_unlink(&items[1].link);
        objm_list_unlink(&items[1].link);
        assert_values(&head, (int[]){0, 2}, 2);
        assert_true(objm_list_empty(&items[1].link));
        objm_list_unlink(&items[0].link);
        objm_list_unlink(&items[2].link);
        assert_values(&head, NULL, 0);
}

static void moves_between_lists(void **state)
{
        struct objm_list a = OBJM_LIST_INIT(a), b;
        struct item items[3];

        objm_list_init(&b);
        fill(&a, items, 3);
        objm_list_move_tail(&a, &items[0].link);
        assert_values(&a, (int[]){1, 2, 0}, 3);
        objm_list_move_tail(&b, &items[2].link);
        objm_list_move_tail(&b, &items[1].link);
        assert_values(&a, (int[]){0}, 1);
        assert_values(&b, (int[]){2, 1}, 2);
        objm_list_unlink(&items[2].link);
        objm_list_move_tail(&a, &items[2].link);
        assert_values(&a, (int[]){0, 2}, 2);
}

static void may_be_emptied_while_walked(void **state)
{
        struct objm_list head = OBJM_LIST_INIT(head), *it, *next;
        struct item items[5];
        int seen = 0;

        objm_list_for_each_safe(it, next, &head)
                seen++;
        assert_int_equal(seen, 0);
        fill(&head, items, 5);
        objm_list_for_each_safe(it, next, &head) {
                assert_int_equal(objm_container_of(it, struct item, link)->value, seen++);
                objm_list_unlink(it);
        }
        assert_int_equal(seen, 5);
        assert_values(&head, NULL, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keeps_the_order),
                cmocka_unit_test(unlinking_twice_is_harmless),
                cmocka_unit_test(moves_between_lists),
                cmocka_unit_test(may_be_emptied_while_walked),
        };

        return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
