/* create: makes kernel objects. */
#include "core/interrupt.h"
#include "core/syscall.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

static const struct object_kind *const kinds[OBJECT_TYPE_COUNT] = {
    [OBJECT_TASK] = &task_kind,
    [OBJECT_THREAD] = &thread_kind,
    [OBJECT_VCPU] = &vcpu_kind,
    [OBJECT_ENDPOINT] = &endpoint_kind,
    [OBJECT_NOTIFICATION] = &notification_kind,
    [OBJECT_INTERRUPT] = &interrupt_kind,
    [OBJECT_SCHED] = &sched_kind,
    [OBJECT_DEVICE] = &device_kind,
};

static void release(struct object *object)
{
    const struct object_kind *kind = kinds[object->type];
    if (kind->release)
        kind->release(object);
    if (object->owner) /* the first task was not made here */
        quota_free(&object->owner->quota, (char *)object - kind->offset, kind->size_bytes);
}

enum septum_status object_create(const struct create_request *request, struct object **result)
{
    const struct object_kind *kind = kinds[request->type];
    char *memory = quota_alloc(&request->owner->quota, kind->size_bytes);
    if (!memory)
        return STATUS_NO_QUOTA;
    struct object *object = (struct object *)(memory + kind->offset);
    *object = (struct object){
        .type = (uint8_t)request->type, .home = (uint16_t)request->home, .owner = request->owner};
    enum septum_status status = kind->create(object, request);
    if (status != STATUS_OK)
        release(object);
    *result = object;
    return status;
}

static void end_here(void *argument)
{
    struct object *object = argument;
    object->ended = kinds[object->type]->end(object);
}

bool object_destroy(struct object *object)
{
    /* A task's end is long: whoever reaps pays for it. */
    cross_call(object->type == OBJECT_TASK ? this_cpu()->number : object->home, end_here, object);
    bool ended = object->ended;
    if (ended)
        release(object);
    return ended;
}

static enum septum_status decode_sched(struct thread *caller, struct create_request *request)
{
    enum septum_status status = STATUS_OK;
    unsigned right = request->type == OBJECT_SCHED ? RIGHT_CREATE : RIGHT_CONTROL;
    request->sched_limits = capability_lookup(&caller->task->capabilities, request->a0)->badge;
    request->sched =
        (struct sched *)capability_object(caller->task, request->a0, OBJECT_SCHED, right, &status);
    if (request->sched)
        request->home = request->sched->object.home;
    return status;
}

static enum septum_status create_decode(struct thread *caller, struct create_request *request)
{
    const struct registers *in = &caller->registers;
    enum septum_status status = STATUS_OK;

    *request = (struct create_request){.owner_rights = RIGHTS_ALL & ~RIGHT_MACHINE,
                                       .type = (enum object_type)in->rsi,
                                       .a0 = in->r10,
                                       .a1 = in->r8,
                                       .a2 = in->r9};
    if (in->rsi <= OBJECT_NONE || in->rsi > OBJECT_DEVICE)
        return STATUS_BAD_ARGUMENT;
    if (in->rdx)
        request->owner_rights = capability_lookup(&caller->task->capabilities, in->rdx)->rights;
    request->owner = capability_task(caller->task, in->rdx, RIGHT_CREATE, &status);
    if (!request->owner)
        return status;
    if (request->owner->stopping)
        return STATUS_BUSY;
    uint64_t cpu = request->a0;
    switch (request->type) {
    case OBJECT_TASK: return STATUS_OK;
    case OBJECT_THREAD:
        if (request->a2 >= CAP_SLOTS_MAX)
            return STATUS_BAD_ARGUMENT;
        return decode_sched(caller, request);
    case OBJECT_SCHED: return decode_sched(caller, request);
    case OBJECT_VCPU:
        if (!vcpu_ops)
            return STATUS_NOT_SUPPORTED;
        break;
    case OBJECT_INTERRUPT:
    case OBJECT_DEVICE:
        if (!(request->owner_rights & RIGHT_MACHINE))
            return STATUS_BAD_RIGHTS;
        cpu = request->type == OBJECT_DEVICE ? 0 : request->a1;
        break;
    default: break;
    }
    request->home = (unsigned)cpu;
    return cpu < cpu_count ? STATUS_OK : STATUS_BAD_ARGUMENT;
}

/*
 * The slot is tried before the object is made and filled after it: making may wait for other CPUs, which
 * must not happen under the lock. Who fills the slot in between finds this call undone.
 */
enum septum_status sys_create(struct thread *caller)
{
    uint64_t place = caller->registers.rdi;
    struct create_request request;
    struct object *object;
    enum septum_status status = create_decode(caller, &request);

    if (status != STATUS_OK)
        return status;
    spinlock_acquire(&mapping_lock);
    struct capability *slot = capability_reserve(caller->task, place, &status);
    spinlock_release(&mapping_lock);
    if (!slot)
        return status;
    status = object_create(&request, &object);
    if (status != STATUS_OK)
        return status;

    uint8_t rights = RIGHTS_ALL & ~RIGHT_MACHINE;
    uint64_t badge = request.type == OBJECT_SCHED ? request.sched_limits : 0;
    if (request.type == OBJECT_TASK)
        rights |= request.owner_rights & RIGHT_MACHINE;
    spinlock_acquire(&mapping_lock);
    slot = capability_reserve(caller->task, place, &status);
    if (slot)
        capability_install(slot, object, rights, badge);
    spinlock_release(&mapping_lock);
    while (!slot && !object_destroy(object))
        continue;
    return slot ? STATUS_OK : status;
}
