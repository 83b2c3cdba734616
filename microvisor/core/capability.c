/* Capability spaces: look-up by type and right, and slots for what comes. */
#include "core/capability.h"

#include "core/task.h"

struct capability empty_capabilities[CAPABILITIES_PER_PAGE];

struct object *capability_object(const struct task *task, uint64_t slot, enum object_type type,
                                 unsigned rights, enum septum_status *error)
{
    const struct capability *capability = capability_lookup(&task->capabilities, slot);
    if (__atomic_load_n(&capability->type, __ATOMIC_ACQUIRE) != type) {
        *error = STATUS_BAD_CAPABILITY;
        return NULL;
    }
    if (rights & ~(unsigned)capability->rights) {
        *error = STATUS_BAD_RIGHTS;
        return NULL;
    }
    return capability->object;
}

struct task *capability_task(struct task *task, uint64_t slot, unsigned rights,
                             enum septum_status *error)
{
    return slot ? (struct task *)capability_object(task, slot, OBJECT_TASK, rights, error) : task;
}

struct capability *capability_reserve(struct task *task, uint64_t slot, enum septum_status *error)
{
    struct capability_space *space = &task->capabilities;
    *error = STATUS_BAD_SLOT;
    if (!slot || slot >= space->slots || task->stopping)
        return NULL;
    struct capability **page = &space->directory[slot / CAPABILITIES_PER_PAGE];
    if (*page == empty_capabilities) {
        struct capability *fresh = quota_alloc_pages(&task->quota, 0);
        if (!fresh) {
            *error = STATUS_NO_QUOTA;
            return NULL;
        }
        __atomic_store_n(page, fresh, __ATOMIC_RELEASE);
    }
    struct capability *capability = &(*page)[slot % CAPABILITIES_PER_PAGE];
    if (capability->type != OBJECT_NONE)
        return NULL;
    capability->task = task;
    capability->slot = (uint32_t)slot;
    list_init(&capability->kin);
    return capability;
}

void capability_fill(struct capability *slot, struct object *object, uint8_t type, uint8_t rights,
                     uint64_t badge, struct capability *parent)
{
    slot->object = object;
    slot->badge = badge;
    slot->rights = rights;
    slot->fast = type == OBJECT_ENDPOINT       ? rights & (FAST_SEND | FAST_RECEIVE)
                 : type == OBJECT_NOTIFICATION && rights & RIGHT_SEND ? FAST_RAISE
                                                                      : 0;
    slot->parent = parent;
    if (parent)
        list_prepend(&parent->kin, &slot->kin);
    __atomic_store_n(&slot->type, type, __ATOMIC_RELEASE);
}

void capability_install(struct capability *slot, struct object *object, uint8_t rights,
                        uint64_t badge)
{
    object->root = slot;
    list_init(&object->link);
    if (object->owner) {
        list_append(&object->owner->objects, &object->link);
        object->owner->charged++;
    }
    capability_fill(slot, object, object->type, rights, badge, NULL);
}
