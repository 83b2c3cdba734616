/* Doubly linked lists with the links inside the elements; an unlinked element points to itself. */
#pragma once

#include "core/types.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }

/* Puts e before `place`; before the head means last. */
static inline void list_insert_before(struct list *place, struct list *e)
{
    e->next = place;
    e->prev = place->prev;
    place->prev->next = e;
    place->prev = e;
}

static inline void list_append(struct list *head, struct list *e) { list_insert_before(head, e); }
static inline void list_prepend(struct list *head, struct list *e)
{
    list_insert_before(head->next, e);
}

static inline void list_remove(struct list *e)
{
    e->prev->next = e->next;
    e->next->prev = e->prev;
    list_init(e);
}

#define list_entry(pointer, type, member) container_of(pointer, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
