/*
 * Capability spaces. A look-up takes no lock: a slot that is emptied is reused only after every CPU
 * has passed a quiescent point (revoke.c). Changes are made under mapping_lock.
 */
#pragma once

#include "core/object.h"

#define CAPABILITIES_PER_PAGE 64u

/* 64 bytes. type and rights are written last when a slot is filled and first when it is emptied. */
struct capability {
    struct object *object; /* OBJECT_REPLY: the struct thread that waits */
    uint64_t badge;
    uint8_t type; /* enum object_type; OBJECT_NONE: empty */
    uint8_t rights;
    uint8_t fast;   /* enum capability_fast */
    uint32_t slot;
    struct task *task; /* whose space this slot is in */
    struct capability *parent; /* that it was delegated from */
    struct list kin;           /* all of its object's: behind each come those that derive from it */
    uint64_t reserved;
};
_Static_assert(sizeof(struct capability) == 64, "64 capabilities a page");

/* Type and rights in one test, for the fast path. */
enum capability_fast {
    FAST_SEND = RIGHT_SEND,       /* an endpoint, with that right */
    FAST_RECEIVE = RIGHT_RECEIVE, /* the same */
    FAST_RAISE = 128,             /* a notification, with RIGHT_SEND */
};

struct capability_space {
    struct capability **directory; /* a page of pointers to pages of capabilities: CAP_SLOTS_MAX */
    uint32_t slots; /* that may be filled: a multiple of CAPABILITIES_PER_PAGE */
};

/* A page of empty capabilities that stands for every page not yet allocated. */
extern struct capability empty_capabilities[CAPABILITIES_PER_PAGE];

/* The capability in a slot, never NULL: one of type OBJECT_NONE if the slot is empty or out of
 * range. */
static inline struct capability *capability_lookup(const struct capability_space *space,
                                                   uint64_t slot)
{
    if (unlikely(slot >= CAP_SLOTS_MAX))
        return &empty_capabilities[0];
    return &space->directory[slot / CAPABILITIES_PER_PAGE][slot % CAPABILITIES_PER_PAGE];
}

/* The object behind a slot if it has that type and all those rights; else NULL and *error is set.
 * */
struct object *capability_object(const struct task *task, uint64_t slot, enum object_type type,
                                 unsigned rights, enum septum_status *error);

/* The task behind a slot of `task`, likewise; behind slot 0 is the task itself. */
struct task *capability_task(struct task *task, uint64_t slot, unsigned rights,
                             enum septum_status *error);

/*
 * A slot of `task` that can be filled (allocating its page from the task's quota), or NULL with
 * *error BAD_SLOT or NO_QUOTA. Takes no lock itself: mapping_lock must be held.
 */
struct capability *capability_reserve(struct task *task, uint64_t slot, enum septum_status *error);

/* Fills a reserved slot. mapping_lock held. */
void capability_fill(struct capability *slot, struct object *object, uint8_t type, uint8_t rights,
                     uint64_t badge, struct capability *parent);

/* Fills a reserved slot with a new object's first capability, from which all others derive: when it
 * goes, the object goes. mapping_lock held. */
void capability_install(struct capability *slot, struct object *object, uint8_t rights,
                        uint64_t badge);
