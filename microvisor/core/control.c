/* control: threads, vCPUs and interrupts from outside. */
#include "core/interrupt.h"
#include "core/syscall.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

/* An operation on its way to the object's home CPU, which checks all that does not need the caller. */
struct control_request {
    struct object *object;
    struct notification *notification;
    struct thread *caller;
    uint64_t operation, a0, a1, a2;
    enum septum_status status;
};

/* ---- threads --------------------------------------------------------------------------------- */

static bool stopped(const struct thread *thread)
{
    return (thread->attention & ATTENTION_STOP || thread->state == THREAD_INACTIVE) &&
           thread != this_cpu()->current;
}

static void stop(struct thread *thread)
{
    thread->attention |= ATTENTION_STOP;
    ipc_cancel(thread, STATUS_INTERRUPTED);
    sched_unready(thread);
    if (thread == this_cpu()->current)
        this_cpu()->reschedule = 1;
    else if (thread->vcpu)
        vcpu_abort(thread, STATUS_INTERRUPTED);
}

static enum septum_status thread_bind(struct thread *thread, struct notification *notification)
{
    if (thread->bound)
        notification_unbind(thread->bound);
    if (!notification)
        return STATUS_OK;
    if (notification->bound)
        return STATUS_BUSY;
    notification->bound = thread;
    thread->bound = notification;
    if (notification->bits)
        notification_raise(notification, 0);
    return STATUS_OK;
}

static enum septum_status start(struct thread *thread, const struct control_request *request)
{
    if (request->a0 >= SEPTUM_USER_END)
        return STATUS_BAD_ARGUMENT;
    if (thread->task->stopping ||
        (thread->state != THREAD_INACTIVE && !(stopped(thread) && thread->state == THREAD_READY)))
        return STATUS_BUSY;
    thread_start(thread, request->a0, request->a1, request->a2);
    return STATUS_OK;
}

static enum septum_status thread_operation(const struct control_request *request)
{
    struct thread *thread = container_of(request->object, struct thread, object);
    switch (request->operation) {
    case CONTROL_THREAD_START: return start(thread, request);
    case CONTROL_THREAD_STOP: stop(thread); return STATUS_OK;
    case CONTROL_THREAD_RESUME:
        thread->attention &= ~(uint64_t)ATTENTION_STOP;
        thread->stopped_by_fault = 0;
        sched_ready(thread, false);
        return STATUS_OK;
    case CONTROL_THREAD_READ_REGISTERS:
        if (!stopped(thread))
            return STATUS_BUSY;
        thread_read_registers(thread, &request->caller->buffer->registers);
        return STATUS_OK;
    case CONTROL_THREAD_WRITE_REGISTERS:
        if (!stopped(thread) || thread->vcpu)
            return STATUS_BUSY;
        return thread_write_registers(thread, &request->caller->buffer->registers);
    case CONTROL_THREAD_SET_FAULT_ENDPOINT:
        if (request->a0 >= CAP_SLOTS_MAX)
            return STATUS_BAD_ARGUMENT;
        thread->fault_endpoint = (uint32_t)request->a0;
        return STATUS_OK;
    case CONTROL_THREAD_BIND_NOTIFICATION: return thread_bind(thread, request->notification);
    default: return STATUS_BAD_ARGUMENT;
    }
}

/* What a thread may do with its own right to reply. */
static enum septum_status control_self(struct thread *caller, uint64_t operation, uint64_t slot)
{
    enum septum_status status = STATUS_OK;

    if (operation != CONTROL_THREAD_SAVE_REPLY && operation != CONTROL_THREAD_DROP_REPLY)
        return STATUS_BAD_ARGUMENT;
    if (!caller->reply_to)
        return STATUS_CALLER_GONE;
    if (operation == CONTROL_THREAD_DROP_REPLY) {
        ipc_drop_callers(caller);
        return STATUS_OK;
    }
    spinlock_acquire(&mapping_lock);
    struct capability *cap = capability_reserve(caller->task, slot, &status);
    if (cap)
        ipc_save_reply(caller, cap);
    spinlock_release(&mapping_lock);
    return cap ? STATUS_OK : status;
}

static enum septum_status interrupt_operation(const struct control_request *request)
{
    struct interrupt *interrupt = container_of(request->object, struct interrupt, object);
    switch (request->operation) {
    case CONTROL_INTERRUPT_BIND:
        if (!request->notification || !request->a1 ||
            request->a2 & ~(uint64_t)(INTERRUPT_LEVEL | INTERRUPT_ACTIVE_LOW))
            return STATUS_BAD_ARGUMENT;
        return interrupt_bind(interrupt, request->notification, request->a1, (uint32_t)request->a2);
    case CONTROL_INTERRUPT_ACK: interrupt_ack(interrupt); return STATUS_OK;
    case CONTROL_INTERRUPT_UNBIND: interrupt_unbind(interrupt); return STATUS_OK;
    case CONTROL_INTERRUPT_MSI_INFO:
        if (interrupt->gsi != UINT32_MAX)
            return STATUS_BAD_ARGUMENT;
        processor_msi_message(interrupt->object.home, interrupt->vector, interrupt->source,
                              &request->caller->registers.rdx, &request->caller->registers.r10);
        return STATUS_OK;
    default: return STATUS_BAD_ARGUMENT;
    }
}

static void operation_here(void *argument)
{
    struct control_request *request = argument;
    request->status = request->object->type == OBJECT_THREAD ? thread_operation(request)
                                                             : interrupt_operation(request);
}

/* a0 of an operation that binds: 0 is none. */
static enum septum_status decode_notification(struct thread *caller,
                                              struct control_request *request)
{
    enum septum_status status = STATUS_OK;
    if (!request->a0)
        return STATUS_OK;
    request->notification = (struct notification *)capability_object(
        caller->task, request->a0, OBJECT_NOTIFICATION, RIGHT_RECEIVE, &status);
    if (!request->notification)
        return status;
    return request->notification->object.home == request->object->home ? STATUS_OK
                                                                       : STATUS_WRONG_CPU;
}

enum septum_status sys_control(struct thread *caller)
{
    const struct registers *in = &caller->registers;
    struct control_request request = {
        .caller = caller, .operation = in->rsi, .a0 = in->rdx, .a1 = in->r10, .a2 = in->r8};
    if (!in->rdi)
        return control_self(caller, in->rsi, in->rdx);
    struct capability *cap = capability_lookup(&caller->task->capabilities, in->rdi);
    request.object = cap->object;
    uint8_t type = cap->type;
    if (type != OBJECT_THREAD && type != OBJECT_VCPU && type != OBJECT_INTERRUPT)
        return STATUS_BAD_CAPABILITY;
    if (!(cap->rights & RIGHT_CONTROL))
        return STATUS_BAD_RIGHTS;
    if (type == OBJECT_VCPU)
        return vcpu_control(caller, container_of(request.object, struct vcpu, object), in->rsi,
                            in->rdx);
    if (in->rsi == (type == OBJECT_THREAD ? (uint64_t)CONTROL_THREAD_BIND_NOTIFICATION
                                          : (uint64_t)CONTROL_INTERRUPT_BIND)) {
        enum septum_status status = decode_notification(caller, &request);
        if (status != STATUS_OK)
            return status;
    }
    cross_call(request.object->home, operation_here, &request);
    return request.status;
}
