/* SPDX-License-Identifier: MIT */
#ifndef OBJM_BASE_LIST_H
#define OBJM_BASE_LIST_H
/*
 * Intrusive circular doubly linked list. A head is a node of its own; an unlinked node points at itself, so that
 * unlinking twice is harmless. Not thread-safe.
 */
#include "base/attr.h"
#include <stdbool.h>

struct objm_list {
        struct objm_list *prev, *next;
};

#define OBJM_LIST_INIT(name) {&(name), &(name)}

static inline void objm_list_init(struct objm_list *l)
{
        l->prev = l->next = l;
}

static inline bool objm_list_empty(const struct objm_list *l)
{
        return l->next == l;
}

static inline void objm_list_add_tail(struct objm_list *head, struct objm_list *node)
{
        node->prev = head->prev;
        node->next = head;
        head->prev->next = node;
        head->prev = node;
}

static inline void objm_list_unlink(struct objm_list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        objm_list_init(node);
}

/* Moves @node, linked or not, to the end of @head. */
static inline void objm_list_move_tail(struct objm_list *head, struct objm_list *node)
{
        objm_list_unlink(node);
        objm_list_add_tail(head, node);
}

#define objm_list_first(head, type, member) objm_container_of((head)->next, type, member)

#define objm_list_for_each_safe(it, tmp, head) \
        for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head); (it) = (tmp), (tmp) = (it)->next)

#endif
