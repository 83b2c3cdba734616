/* The general path of ipc: every shape, every target, every CPU. */
#include "core/ipc.h"

#include "core/syscall.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

/* ---- waking and ending ----------------------------------------------------------------------- */

static void wake_at_home(struct cross_post *post)
{
    struct thread *thread = container_of(post, struct thread, post);
    thread->state = THREAD_READY;
    thread->ipc_cpu = thread->object.home;
    sched_ready(thread, false);
}

/* The thread's ipc is over. */
static void end_ipc(struct thread *thread)
{
    thread->reply_at = NULL;
    thread->reply_slot = NULL;
    thread->fault = 0;
    thread->attention &= ~(uint64_t)ATTENTION_FAULT;
}

/* Its registers say how it ended: it goes on, on its own CPU. */
static void go_on(struct thread *thread, bool front)
{
    if (!object_is_here(&thread->object)) {
        thread->state = THREAD_WAKING;
        thread->post.run = wake_at_home;
        cross_post(thread->object.home, &thread->post);
        return;
    }
    thread->state = THREAD_READY;
    sched_ready(thread, front);
}

/* Takes a blocked thread out of whatever it waits in. On its ipc_cpu. */
static void unlink_blocked(struct thread *thread)
{
    switch (thread->state) {
    case THREAD_SENDING:
        list_remove(&thread->queue_link);
        ipc_settle_priority(thread->endpoint->server);
        break;
    case THREAD_RECEIVING:
        list_remove(&thread->queue_link);
        break;
    case THREAD_CALLING:
        if (thread->reply_at) {
            thread->reply_at->reply_to = NULL;
            if (object_is_here(&thread->object))
                sched_end_loan(thread->reply_at, thread->sched);
        }
        if (thread->reply_slot)
            thread->reply_slot->object = NULL; /* who uses it is told, once */
        break;
    default:
        break;
    }
}

void ipc_abort(struct thread *thread, enum septum_status status)
{
    unlink_blocked(thread);
    if (!thread->fault) /* else the faulting instruction is tried again, or the thread is stopped */
        ipc_set_reply(thread, status, 0, 0, 0, 0, 0);
    end_ipc(thread);
    go_on(thread, false);
}

struct cancel {
    struct thread *thread;
    enum septum_status status;
};

static void cancel_here(void *argument)
{
    const struct cancel *cancel = argument;
    if (thread_waits(cancel->thread))
        ipc_abort(cancel->thread, cancel->status);
}

void ipc_cancel(struct thread *thread, enum septum_status status)
{
    struct cancel cancel = {thread, status};
    cross_call(thread->ipc_cpu, cancel_here, &cancel);
    while (thread->state == THREAD_WAKING)
        cross_wait();
}

void ipc_drop_callers(struct thread *thread)
{
    if (thread->reply_to)
        ipc_abort(thread->reply_to, STATUS_PEER_GONE);
    thread->reply_to = NULL;
}

/* ---- replies --------------------------------------------------------------------------------- */

void ipc_save_reply(struct thread *server, struct capability *slot)
{
    struct thread *caller = server->reply_to;
    server->reply_to = NULL;
    if (server->sched == caller->sched)
        sched_end_loan(server, caller->sched);
    caller->reply_at = NULL;
    caller->reply_slot = slot;
    slot->object = &caller->object;
    slot->badge = this_cpu()->number;
    slot->rights = RIGHT_SEND;
    __atomic_store_n(&slot->type, OBJECT_REPLY, __ATOMIC_RELEASE);
}

static void empty_reply_slot(struct capability *slot)
{
    slot->object = NULL;
    slot->rights = 0;
    __atomic_store_n(&slot->type, OBJECT_NONE, __ATOMIC_RELEASE);
}

static void drop_saved(void *argument)
{
    struct capability *slot = argument;
    if (slot->object)
        ipc_abort(container_of(slot->object, struct thread, object), STATUS_PEER_GONE);
    empty_reply_slot(slot);
}

void reply_capability_dropped(struct capability *slot)
{
    cross_call((unsigned)slot->badge, drop_saved, slot);
}

/* Answers `caller` with the message in `server`'s registers. */
static enum septum_status answer(struct thread *server, struct thread *caller)
{
    enum septum_status status = message_transfer(server, caller, 0);
    if (status != STATUS_OK)
        return status;
    if (caller->reply_at)
        caller->reply_at->reply_to = NULL;
    if (caller->reply_slot)
        empty_reply_slot(caller->reply_slot);
    end_ipc(caller);
    return STATUS_OK;
}

/* ---- send and call --------------------------------------------------------------------------- */

static bool passed(uint64_t deadline)
{
    return deadline != DEADLINE_NEVER && deadline <= processor_ticks();
}

/* `sender`'s message goes to `receiver`; neither is on a queue of the endpoint afterwards. The sender of
 * a call waits for the reply, any other goes on. */
static enum septum_status hand_over(struct thread *sender, struct thread *receiver)
{
    enum septum_status status = message_transfer(sender, receiver, sender->badge);
    if (status != STATUS_OK)
        return status;
    list_remove(&sender->queue_link);
    if (receiver->state == THREAD_RECEIVING) {
        list_remove(&receiver->queue_link);
        receiver->state = THREAD_READY;
        receiver->resume = RESUME_SYSRET;
    }
    if (sender->call_shape != IPC_CALL) {
        ipc_set_reply(sender, STATUS_OK, 0, 0, 0, 0, 0);
        go_on(sender, false);
        return STATUS_OK;
    }
    sender->state = THREAD_CALLING;
    sender->reply_at = receiver;
    receiver->reply_to = sender;
    if (object_is_here(&sender->object))
        receiver->sched = sender->sched;
    return STATUS_OK;
}

/* On the endpoint's CPU: the message finds its receiver, or waits (SYSCALL_SWITCHED). */
static inline enum septum_status arrive(struct thread *sender, struct thread **receiver)
{
    struct endpoint *endpoint = sender->endpoint;

    if (!list_empty(&endpoint->receivers)) {
        *receiver = list_first(&endpoint->receivers, struct thread, queue_link);
        return hand_over(sender, *receiver);
    }
    if (passed(sender->deadline))
        return STATUS_TIMEOUT;
    return endpoint_queue_sender(endpoint, sender) ? SYSCALL_SWITCHED : STATUS_DEADLOCK;
}

static void arrive_from_afar(struct cross_post *post)
{
    struct thread *sender = container_of(post, struct thread, post), *receiver;
    enum septum_status status = arrive(sender, &receiver);
    if (status == STATUS_OK)
        sched_ready(receiver, false);
    else if (status != SYSCALL_SWITCHED)
        ipc_abort(sender, status);
}

/*
 * The current thread blocks. `next`, if there is one, which runs on the same scheduling context, goes on
 * in its place, past the run queue, unless the scheduler has something else to do. Then it returns.
 */
static enum septum_status block(struct thread *thread, enum thread_state state, uint64_t deadline,
                                struct thread *next)
{
    struct cpu *cpu = this_cpu();
    bool direct = next && !cpu->reschedule && next->sched == cpu->charged && thread == cpu->current;

    thread->state = state;
    sched_set_deadline(thread, deadline);
    if (direct && !cpu->reschedule && !(next->attention & ATTENTION_STOP)) {
        cpu->running = sched_priority(next) + 1;
        processor_switch(cpu, next);
        processor_return(next);
    }
    cpu->reschedule = 1;
    if (next)
        sched_ready(next, true);
    return SYSCALL_SWITCHED;
}

/* A send, a call, or a fault message, to an endpoint. Badge, shape and fault are set in the thread. */
static enum septum_status endpoint_send(struct thread *sender, struct endpoint *endpoint,
                                        uint64_t deadline)
{
    struct thread *receiver;

    sender->ready_priority = sched_priority(sender);
    sender->endpoint = endpoint;
    sender->deadline = deadline;
    list_init(&sender->queue_link);
    if (!object_is_here(&endpoint->object)) { /* that CPU now has the thread's ipc in hand */
        sender->ipc_cpu = endpoint->object.home;
        block(sender, THREAD_SENDING, deadline, NULL);
        sender->post.run = arrive_from_afar;
        cross_post(endpoint->object.home, &sender->post);
        return SYSCALL_SWITCHED;
    }
    enum septum_status status = arrive(sender, &receiver);
    if (status == SYSCALL_SWITCHED)
        return block(sender, THREAD_SENDING, deadline, NULL);
    if (status == STATUS_OK && sender->call_shape == IPC_CALL)
        return block(sender, THREAD_CALLING, deadline, receiver);
    if (status == STATUS_OK)
        sched_ready(receiver, false);
    return status;
}

static enum septum_status send_to_slot(struct thread *caller, struct capability *cap)
{
    if (cap->badge != this_cpu()->number)
        return STATUS_WRONG_CPU;
    if (!cap->object) {
        empty_reply_slot(cap);
        return STATUS_CALLER_GONE;
    }
    struct thread *answered = container_of(cap->object, struct thread, object);
    enum septum_status status = answer(caller, answered);
    if (status != STATUS_OK)
        return status;
    go_on(answered, true);
    ipc_set_reply(caller, STATUS_OK, 0, 0, 0, 0, 0);
    return STATUS_OK;
}

static enum septum_status ipc_send(struct thread *caller, enum ipc_shape shape)
{
    const struct registers *in = &caller->registers;
    struct capability *cap = capability_lookup(&caller->task->capabilities, in->rdi);
    struct object *object = cap->object;
    uint8_t type = cap->type;

    if (type != OBJECT_ENDPOINT && !(type == OBJECT_VCPU && shape == IPC_CALL) &&
        !((type == OBJECT_NOTIFICATION || type == OBJECT_REPLY) && shape == IPC_SEND))
        return STATUS_BAD_CAPABILITY;
    if (!(cap->rights & RIGHT_SEND))
        return STATUS_BAD_RIGHTS;
    switch (type) {
    case OBJECT_VCPU:
        return vcpu_call(caller, container_of(object, struct vcpu, object));
    case OBJECT_REPLY:
        return send_to_slot(caller, cap);
    case OBJECT_NOTIFICATION:
        notification_raise((struct notification *)object,
                           cap->badge ? in->rdx & cap->badge : in->rdx);
        ipc_set_reply(caller, STATUS_OK, 0, 0, 0, 0, 0);
        return STATUS_OK;
    default:
        caller->badge = cap->badge;
        caller->call_shape = shape;
        return endpoint_send(caller, (struct endpoint *)object, in->rbx);
    }
}

/* ---- wait ------------------------------------------------------------------------------------ */

/* What a wait is for: an endpoint, a notification, or NULL. */
static enum septum_status wait_decode(struct thread *caller, struct object **target)
{
    struct capability *cap = capability_lookup(&caller->task->capabilities, caller->registers.rdi);

    *target = caller->registers.rdi ? cap->object : NULL;
    if (!caller->registers.rdi)
        return STATUS_OK;
    if (cap->type != OBJECT_ENDPOINT && cap->type != OBJECT_NOTIFICATION)
        return STATUS_BAD_CAPABILITY;
    if (!(cap->rights & RIGHT_RECEIVE))
        return STATUS_BAD_RIGHTS;
    return object_is_here(*target) ? STATUS_OK : STATUS_WRONG_CPU;
}

/* The first queued sender whose message can be had, if any. */
static bool receive_queued(struct thread *caller, struct endpoint *endpoint)
{
    while (!list_empty(&endpoint->senders)) {
        struct thread *sender = list_first(&endpoint->senders, struct thread, queue_link);
        enum septum_status status = hand_over(sender, caller);
        if (status == STATUS_OK) {
            if (sender->state == THREAD_CALLING && caller->sched == sender->sched)
                sched_charge(caller->sched);
            ipc_settle_priority(caller);
            return true;
        }
        ipc_abort(sender, status);
    }
    return false;
}

/* What can be had at once; SYSCALL_SWITCHED: nothing, the caller has to wait. */
static enum septum_status receive(struct thread *caller, struct endpoint *endpoint,
                                  struct notification *notification)
{
    if (endpoint) {
        ipc_drop_callers(caller);
        endpoint_set_server(endpoint, caller);
    }
    ipc_settle_priority(caller);
    if ((caller->bound && notification_receive(caller->bound, caller)) ||
        (notification && notification_receive(notification, caller)) ||
        (endpoint && receive_queued(caller, endpoint)))
        return STATUS_OK;
    return passed(caller->registers.rbx) ? STATUS_TIMEOUT : SYSCALL_SWITCHED;
}

static __attribute__((noinline)) enum septum_status ipc_wait(struct thread *caller,
                                                           bool reply_first)
{
    struct object *target;
    struct thread *answered = NULL;
    enum septum_status status = wait_decode(caller, &target);

    if (status != STATUS_OK)
        return status;
    bool at_endpoint = target && target->type == OBJECT_ENDPOINT;
    struct endpoint *endpoint = at_endpoint ? (struct endpoint *)target : NULL;
    struct notification *notification = at_endpoint ? NULL : (struct notification *)target;
    if (reply_first) {
        answered = caller->reply_to;
        if (!answered)
            return STATUS_CALLER_GONE;
        status = answer(caller, answered);
        if (status != STATUS_OK)
            return status;
        if (!object_is_here(&answered->object)) {
            go_on(answered, false);
            answered = NULL;
        } else {
            answered->state = THREAD_READY;
        }
    }
    bool lent = caller->sched != caller->own_sched;
    caller->sched = caller->own_sched;
    status = receive(caller, endpoint, notification);
    if (status != SYSCALL_SWITCHED) {
        if (lent)
            this_cpu()->reschedule = 1;
        if (answered)
            sched_ready(answered, true);
        return status;
    }
    list_init(&caller->queue_link);
    if (endpoint)
        list_prepend(&endpoint->receivers, &caller->queue_link);
    else if (notification)
        list_append(&notification->waiters, &caller->queue_link);
    return block(caller, THREAD_RECEIVING, caller->registers.rbx, answered);
}

enum septum_status sys_ipc(struct thread *caller)
{
    uint64_t shape = caller->registers.rax >> 8;
    COUNT(ipc_slow);
    if (shape >= IPC_SHAPE_COUNT)
        return STATUS_BAD_ARGUMENT;
    if (shape == IPC_SEND || shape == IPC_CALL)
        return ipc_send(caller, (enum ipc_shape)shape);
    return ipc_wait(caller, shape == IPC_REPLY_WAIT);
}

/* ---- faults ---------------------------------------------------------------------------------- */

void fault_raise(struct thread *thread, enum tag_origin origin, uint64_t w0, uint64_t w1)
{
    struct capability *cap = capability_lookup(&thread->task->capabilities, thread->fault_endpoint);
    enum septum_status status = STATUS_BAD_CAPABILITY;

    thread->fault = origin;
    thread->fault_words[0] = w0;
    thread->fault_words[1] = w1;
    if (cap->type == OBJECT_ENDPOINT && cap->rights & RIGHT_SEND) {
        if (origin == ORIGIN_PAGE_FAULT)
            COUNT(page_faults);
        thread->attention |= ATTENTION_FAULT;
        thread->badge = cap->badge;
        thread->call_shape = IPC_CALL;
        status = endpoint_send(thread, (struct endpoint *)cap->object, DEADLINE_NEVER);
    }
    if (status == SYSCALL_SWITCHED)
        return;
    /* Nobody to tell: the thread stops where it is, and its task's owner can see why. */
    end_ipc(thread);
    thread->attention |= ATTENTION_STOP;
    thread->stopped_by_fault = origin;
    this_cpu()->reschedule = 1;
    if (!thread->task->object.owner) /* the first task: nobody else can tell */
        printk("first task stopped: unhandled %s %lx %lx at %lx\n",
               origin == ORIGIN_PAGE_FAULT ? "page fault" : "exception", w0, w1,
               thread->registers.rip);
}
