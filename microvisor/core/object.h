/* What all kernel objects begin with. */
#pragma once

#include "core/list.h"

struct task;
struct capability;
struct sched;

struct object {
    uint8_t type;  /* enum object_type */
    bool ended;    /* what its kind's end said */
    uint16_t home;     /* the CPU on which it is changed; tasks: unused */
    uint32_t emptied;  /* check/tlb_ledger.c: when a capability to it last went */
    struct task *owner;        /* charged for it */
    struct capability *root;   /* the first capability, from which all others derive */
    struct list link;          /* owner->objects; when dying the list of revoke.c */
};

/* What `create` asks for, decoded. */
struct create_request {
    enum object_type type;
    struct task *owner;
    unsigned owner_rights;
    unsigned home;
    uint64_t a0, a1, a2; /* as in the ABI */
    struct sched *sched; /* thread: its context; sched: the parent, NULL: the root's, without limit */
    uint64_t sched_limits;
};

/* Makes an object that no capability names yet. Any CPU, without locks. Errors as in the ABI. */
enum septum_status object_create(const struct create_request *request, struct object **result);

/*
 * Takes an object apart after its last capability went and every CPU has passed a quiescent point.
 * Called by revocation only, without locks, on any CPU. Returns false when there is more to do
 * (a preemption point), true when the object's memory has been given back to its owner's quota.
 */
bool object_destroy(struct object *object);

/*
 * For these two: `create` fills zeroed memory, but for the head; an error leaves what it did to
 * `release`. `end`, on the home CPU (a task's: on any), sees to it that nobody there refers to the
 * object any more; false: it has to be called again. `release`, on any CPU, gives back what belongs to
 * the object, as far as create came.
 */
struct object_kind {
    uint16_t size_bytes;
    uint16_t offset; /* of the head in it */
    enum septum_status (*create)(struct object *object, const struct create_request *request);
    bool (*end)(struct object *object);
    void (*release)(struct object *object); /* NULL: nothing but its memory */
};

#define OBJECT_KIND(name, create, end, release)                                                    \
    {sizeof(struct name), offsetof(struct name, object), create, end, release}

extern const struct object_kind task_kind, thread_kind, vcpu_kind, endpoint_kind, notification_kind,
    interrupt_kind, sched_kind, device_kind;

