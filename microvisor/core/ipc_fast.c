/*
 * The fast path of ipc: `call` and `reply_wait` with a message of registers alone, between two threads
 * of this CPU that are both where they should be. Everything is checked before anything is changed; what
 * does not fit goes to the general path with the caller's registers as they were.
 *
 * No run queue, no lock, no allocation, no copy: the message stays in the registers it came in, and the
 * scheduling context goes along with it, so there is nothing to account for and nothing to choose.
 * docs/performance.md goes through it instruction by instruction. What only its message keeps from it, longer
 * or with items, or because it answers a fault, is as direct, but goes through the threads' memory.
 */
#include "core/syscall.h"
#include "core/trace.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

#define SIMPLE_MESSAGE_WORDS  4u /* and no items: what travels in registers */

#define AT(register)          [register] "i"(offsetof(struct thread, registers.register))
#define LOAD(place, register) "mov %c[" #place "](%%rax), %%" #register "\n\t"

/* Leaves to `thread`, which is in an ipc, with a message in registers (entry.S does the same from
 * memory). */
static _Noreturn inline __attribute__((always_inline)) void
leave_with_message(struct thread *thread, uint64_t badge, uint64_t tag, uint64_t w0, uint64_t w1,
                   uint64_t w2, uint64_t w3)
{
    register uint64_t r10 __asm__("r10") = w1;
    register uint64_t r8 __asm__("r8") = w2;
    register uint64_t r9 __asm__("r9") = w3;
    __asm__ volatile(
        LOAD(rbx, rbx) LOAD(rbp, rbp) LOAD(r12, r12) LOAD(r13, r13) LOAD(r14, r14) LOAD(r15, r15)
            LOAD(rip, rcx) LOAD(rflags, r11) LOAD(rsp, rsp) "xor %%eax, %%eax\n\t" USER_SYSRET
        :
        : "a"(thread), "D"(badge), "S"(tag), "d"(w0), "r"(r10), "r"(r8), "r"(r9), AT(rbx), AT(rbp),
          AT(r12), AT(r13), AT(r14), AT(r15), AT(rip), AT(rflags), AT(rsp)
        : "memory");
    __builtin_unreachable();
}

static inline __attribute__((always_inline)) void switch_to(struct cpu *cpu, struct thread *next)
{
    uint64_t cr3 = next->task->host_cr3;
    if (cpu->loaded_cr3 != cr3)
        processor_load_cr3(cpu, cr3);
    cpu->current = next;
}

/* Number of words, of items, and the origin, which is not a sender's to set. */
#define TAG_SIMPLE_MASK \
    (TAG_WORDS_MASK | TAG_ITEMS_MASK << TAG_ITEMS_SHIFT | TAG_ORIGIN_MASK << TAG_ORIGIN_SHIFT)

/* Who receives at an endpoint and can go on at once in the caller's place; NULL: look at it in general. */
static inline __attribute__((always_inline)) struct thread *
call_partner(struct cpu *cpu, struct thread *caller, const struct capability *cap, uint64_t allowed)
{
    struct endpoint *endpoint = (struct endpoint *)cap->object;
    if (unlikely(!(cap->fast & FAST_SEND) || endpoint->cpu != cpu))
        return NULL;
    struct list *first = endpoint->receivers.next;
    if (unlikely(first == &endpoint->receivers))
        return NULL;
    struct thread *receiver = list_entry(first, struct thread, queue_link);
    uint64_t why = (cpu->switch_slow | caller->attention | receiver->attention) & ~allowed;
    if (unlikely((why && !processor_switch_quick(cpu, why, receiver)) ||
                 caller->registers.rbx < cpu->armed_deadline))
        return NULL;
    return receiver;
}

static inline __attribute__((always_inline)) void begin_call(struct cpu *cpu, struct thread *caller,
                                                             struct endpoint *endpoint,
                                                             struct thread *receiver)
{
    struct list *second = receiver->queue_link.next;
    endpoint->receivers.next = second;
    second->prev = &endpoint->receivers;
    caller->deadline = caller->registers.rbx;
    caller->state = THREAD_CALLING;
    caller->resume = RESUME_SYSRET;
    caller->reply_at = receiver;
    receiver->reply_to = caller;
    receiver->state = THREAD_READY;
    receiver->sched = caller->sched;
    switch_to(cpu, receiver);
}

/* The same for an answer, from `server` to `caller`. */
static inline __attribute__((always_inline)) bool can_reply(struct cpu *cpu, struct thread *server,
                                                            struct thread *caller,
                                                            const struct capability *cap,
                                                            uint64_t allowed)
{
    struct endpoint *endpoint = (struct endpoint *)cap->object;
    if (unlikely(!caller || !(cap->fast & FAST_RECEIVE) || endpoint->cpu != cpu))
        return false;
    uint64_t why = (cpu->switch_slow | server->attention | caller->attention) & ~allowed;
    /* Who runs on his caller's context has that caller on this CPU: a context has one. */
    return likely((!why || processor_switch_quick(cpu, why, caller)) &&
                  endpoint->server == server && server->sched == caller->sched &&
                  endpoint->senders.next == &endpoint->senders &&
                  server->registers.rbx >= cpu->armed_deadline);
}

static inline __attribute__((always_inline)) void
end_call(struct cpu *cpu, struct thread *server, struct endpoint *endpoint, struct thread *caller)
{
    server->deadline = server->registers.rbx;
    server->state = THREAD_RECEIVING;
    server->resume = RESUME_SYSRET;
    server->sched = server->own_sched;
    server->reply_to = NULL;
    list_prepend(&endpoint->receivers, &server->queue_link);
    caller->state = THREAD_READY;
    switch_to(cpu, caller);
}

/* ---- more than a switch ---------------------------------------------------------------------- */

_Noreturn ipc_path ipc_fast_call, ipc_fast_reply_wait, ipc_fast_send, ipc_fast_wait;

/* Live FPU registers that nobody needs now, as a guest's behind its VMM, are put away. */
static _Noreturn __attribute__((noinline)) void
call_without_fpu(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current;
    const struct capability *cap = capability_lookup(&caller->task->capabilities, target);
    struct thread *receiver = call_partner(cpu, caller, cap, SWITCH_SLOW_FPU);

    if (!receiver || !processor_put_fpu_away(cpu, receiver))
        ipc_general(target, tag, w0, w1, w2, w3);
    if ((tag & TAG_SIMPLE_MASK) > SIMPLE_MESSAGE_WORDS)
        ipc_fast_call(target, tag, w0, w1, w2, w3);
    begin_call(cpu, caller, (struct endpoint *)cap->object, receiver);
    leave_with_message(receiver, cap->badge, tag, w0, w1, w2, w3);
}

static _Noreturn __attribute__((noinline)) void
long_call(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current;
    const struct capability *cap = capability_lookup(&caller->task->capabilities, target);
    struct thread *receiver = call_partner(cpu, caller, cap, 0);

    if (!receiver)
        call_without_fpu(target, tag, w0, w1, w2, w3);
    enum septum_status status = message_body(caller, receiver, tag);
    if (status != STATUS_OK) {
        ipc_save(caller, target, tag, w0, w1, w2, w3);
        ipc_return(caller, status);
    }
    begin_call(cpu, caller, (struct endpoint *)cap->object, receiver);
    leave_with_message(receiver, cap->badge, tag & ~(TAG_ORIGIN_MASK << TAG_ORIGIN_SHIFT), w0, w1,
                       w2, w3);
}

static _Noreturn __attribute__((noinline)) void
long_reply_wait(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *server = cpu->current, *caller = server->reply_to;
    const struct capability *cap = capability_lookup(&server->task->capabilities, target);

    if (!can_reply(cpu, server, caller, cap, ATTENTION_FAULT))
        ipc_general(target, tag, w0, w1, w2, w3);
    ipc_save(server, target, tag, w0, w1, w2, w3);
    enum septum_status status = message_transfer(server, caller, 0);
    if (status != STATUS_OK)
        ipc_return(server, status);
    caller->fault = 0;
    caller->attention &= ~(uint64_t)ATTENTION_FAULT;
    end_call(cpu, server, (struct endpoint *)cap->object, caller);
    processor_return(caller);
}

/* ---- from entry.S ---------------------------------------------------------------------------- */

_Noreturn void ipc_fast_call(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2,
                             uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current, *receiver;
    struct capability *cap = capability_lookup(&caller->task->capabilities, target);

    if (likely((tag & TAG_SIMPLE_MASK) <= SIMPLE_MESSAGE_WORDS)) {
        if (likely((receiver = call_partner(cpu, caller, cap, 0)) != NULL)) {
            begin_call(cpu, caller, (struct endpoint *)cap->object, receiver);
            leave_with_message(receiver, cap->badge, tag, w0, w1, w2, w3);
        }
        if (cap->type == OBJECT_VCPU && cap->rights & RIGHT_SEND)
            vcpu_call_fast(cap, tag, w0, w1, w2, w3);
    }
    caller->registers.rax = IPC_RAX(IPC_CALL);
    long_call(target, tag, w0, w1, w2, w3);
}

_Noreturn void ipc_fast_reply_wait(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1,
                                   uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *server = cpu->current, *caller = server->reply_to;
    struct capability *cap = capability_lookup(&server->task->capabilities, target);

    if (likely((tag & TAG_SIMPLE_MASK) <= SIMPLE_MESSAGE_WORDS) &&
        likely(can_reply(cpu, server, caller, cap, 0))) {
        end_call(cpu, server, (struct endpoint *)cap->object, caller);
        leave_with_message(caller, 0, tag, w0, w1, w2, w3);
    }
    server->registers.rax = IPC_RAX(IPC_REPLY_WAIT);
    long_reply_wait(target, tag, w0, w1, w2, w3);
}

/* Raising a notification of this CPU that nobody waits for. Who is bound to it finds the bits in his next wait. */
_Noreturn void ipc_fast_send(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2,
                             uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current;
    struct capability *cap = capability_lookup(&caller->task->capabilities, target);
    struct notification *notification = (struct notification *)cap->object;
    struct thread *bound;

    if (unlikely(!(cap->fast & FAST_RAISE) || notification->object.home != cpu->number ||
                 ((bound = notification->bound) &&
                  (bound->state == THREAD_RECEIVING || bound->sched != bound->own_sched)) ||
                 !list_empty(&notification->waiters) || trace_mask))
        goto general;
    __atomic_fetch_or(&notification->bits, cap->badge ? w0 & cap->badge : w0, __ATOMIC_RELAXED);
    if (bound && notification->bits)
        bound->attention |= ATTENTION_NOTIFIED;
    leave_with_message(caller, 0, 0, 0, 0, 0, 0);

general:
    caller->registers.rax = IPC_RAX(IPC_SEND);
    ipc_general(target, tag, w0, w1, w2, w3);
}

/* A wait of one who answers nobody and runs on his own context: for bits that are there already, or
 * until somebody comes. */
_Noreturn void ipc_fast_wait(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2,
                             uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current;
    struct capability *cap = capability_lookup(&caller->task->capabilities, target);
    struct endpoint *endpoint = (struct endpoint *)cap->object;
    struct notification *bound = caller->bound;

    if (unlikely((caller->attention & ~(uint64_t)ATTENTION_NOTIFIED) |
                 (cpu->switch_slow & SWITCH_SLOW_TRACE)) ||
        unlikely(caller->reply_to || !bound || caller->sched != caller->own_sched) ||
        unlikely(target && (!(cap->fast & FAST_RECEIVE) || endpoint->cpu != cpu ||
                            endpoint->server != caller)))
        goto general;
    if (bound->bits) {
        caller->attention = 0;
        leave_with_message(caller, 0, (uint64_t)ORIGIN_NOTIFICATION << TAG_ORIGIN_SHIFT | 1,
                           notification_take(bound), 0, 0, 0);
    }
    if (unlikely(caller->registers.rbx < cpu->armed_deadline) ||
        unlikely(target && !list_empty(&endpoint->senders)))
        goto general;
    caller->deadline = caller->registers.rbx;
    caller->state = THREAD_RECEIVING;
    caller->resume = RESUME_SYSRET;
    list_init(&caller->queue_link);
    if (target)
        list_prepend(&endpoint->receivers, &caller->queue_link);
    sched_exit();

general:
    caller->registers.rax = IPC_RAX(IPC_WAIT);
    ipc_general(target, tag, w0, w1, w2, w3);
}
