/*
 * Running a guest: a call to a vCPU, from its arguments to its reply.
 *
 * The guest runs on its caller's scheduling context, inside the caller's call. While it runs or is
 * preempted, vcpu->runner and thread->vcpu point at each other; a call that was ended from outside
 * (vcpu_abort) has them cleared and its reply set.
 *
 * The short way is vcpu_call_fast, the backend's run, vcpu_answer (vcpu_exit.h); it is taken while
 * vcpu->special is 0, or says no more than that the call has an event or a window. Nothing on it returns:
 * the caller's registers are in its struct thread, and the kernel stack begins afresh.
 *
 * No kick is lost: with interrupts off, in_guest is published and *then* the bound notification and the
 * other reasons to stay out are tested. Whoever gives such a reason sets it first and tests in_guest
 * then, or sends an interrupt anyway; one that comes after our test ends the guest at once.
 */
#include "core/cpu.h"
#include "core/syscall.h"
#include "virt/vcpu_exit.h"
#include "x86/fpu.h"
#include "x86/instructions.h"
#include "x86/processor.h"

#define CALL_FLAGS                                                                                 \
    (VCPU_SET_RIP | VCPU_EXIT_INTERRUPTIBLE | VCPU_EXIT_NMI_WINDOW | VCPU_CLEAR_EVENT | VCPU_EVENT_WAITS)
#define WINDOW_FLAGS (VCPU_EXIT_INTERRUPTIBLE | VCPU_EXIT_NMI_WINDOW)

/* ---- registers that are loaded for the guest by hand ----------------------------------------- */

#define EACH_DEBUG_REGISTER(DO) DO(0, dr[0]) DO(1, dr[1]) DO(2, dr[2]) DO(3, dr[3]) DO(6, dr6)
#define READ_DR(n, to) __asm__ volatile("mov %%db" #n ", %0" : "=r"(vcpu->to));
#define WRITE_DR(n, from) __asm__ volatile("mov %0, %%db" #n : : "r"(vcpu->from));

void vcpu_debug_sync(struct vcpu *vcpu)
{
    if (this_cpu()->x86.debug_vcpu == vcpu) {
        EACH_DEBUG_REGISTER(READ_DR)
    }
}

/* DR7 has no breakpoint enabled in the kernel and in user mode, so a guest's DR0-3 can stay. */
static void debug_load(struct cpu *cpu, struct vcpu *vcpu)
{
    if (cpu->x86.debug_vcpu)
        vcpu_debug_sync(cpu->x86.debug_vcpu);
    cpu->x86.debug_vcpu = vcpu;
    EACH_DEBUG_REGISTER(WRITE_DR)
}

static void load_registers(struct cpu *cpu, struct vcpu *vcpu)
{
    if (cpu->x86.fpu_owner == vcpu)
        return; /* then no other vCPU was entered here since */
    vcpu_ops->load(vcpu);
    fpu_load_vcpu(vcpu);
    if (cpu->x86.debug_vcpu != vcpu)
        debug_load(cpu, vcpu);
}

static inline void load_xcr0(struct cpu *cpu, uint64_t xcr0)
{
    if (unlikely(cpu->x86.loaded_xcr0 != xcr0)) {
        write_xcr0(xcr0);
        cpu->x86.loaded_xcr0 = xcr0;
    }
}

/* ---- the reply ------------------------------------------------------------------------------- */

static void note_call(struct vcpu *vcpu)
{
    bool call = vcpu->flags || vcpu->pending_event || vcpu->event_outcome || vcpu->waiting;
    vcpu_special_set(vcpu, SPECIAL_CALL, call ? SPECIAL_CALL : 0);
}

void vcpu_note_special(struct vcpu *vcpu)
{
    bool xcr0 = vcpu->osxsave && vcpu->xcr0 != fpu_xcr0;
    vcpu_special_set(vcpu, SPECIAL_HALTED | SPECIAL_XCR0,
                     (vcpu->activity ? SPECIAL_HALTED : 0) | (xcr0 ? SPECIAL_XCR0 : 0));
    note_call(vcpu);
}

/* What became of the event, as in the reply's label; the next call begins without one. */
static ALWAYS_INLINE uint32_t end_call(struct vcpu *vcpu, uint32_t outcome)
{
    outcome |= vcpu->waiting ? VCPU_EVENT_WAITING : 0;
    vcpu->waiting = 0;
    vcpu->flags = 0;
    vcpu->event_outcome = VCPU_EVENT_NONE;
    note_call(vcpu);
    return outcome << 8;
}

/* Ends the call. What becomes of the event is in the reply; one that was never tried is the VMM's. */
static enum septum_status reply(struct thread *thread, struct vcpu *vcpu, enum septum_status status,
                                const struct vcpu_exit_info *exit)
{
    struct vcpu_state *state = vcpu->state;
    uint32_t outcome = vcpu->event_outcome;
    uint32_t groups = state->subscription[exit->reason] & VCPU_GROUP_ALL;

    vcpu->runner = NULL;
    thread->vcpu = NULL;
    thread->resume = RESUME_SYSRET;
    if (outcome == VCPU_EVENT_NOT_TRIED)
        vcpu->pending_event = 0;
    else if (vcpu->pending_event)
        outcome = VCPU_EVENT_PENDING;
    outcome = end_call(vcpu, outcome);
    if (groups)
        vcpu_show(vcpu, groups);
    if (groups & VCPU_GROUP_RIP) {
        state->exit_reason = exit->reason;
        state->instruction_length = exit->instruction_length;
    }
    ipc_set_reply(thread, status,
                  (uint64_t)(exit->reason | outcome) << TAG_LABEL_SHIFT |
                      ORIGIN_VCPU_EXIT << TAG_ORIGIN_SHIFT | 4,
                  exit->qualification, exit->address, exit->rip,
                  exit->instruction_length | (uint64_t)exit->interruptibility << 8);
    return status;
}

void vcpu_take_waiting(struct vcpu *vcpu, uint64_t event)
{
    vcpu->waiting = 0;
    vcpu->pending_event = event;
    vcpu->event_outcome = VCPU_EVENT_DELIVERED;
}

uint32_t vcpu_end_call(struct vcpu *vcpu)
{
    vcpu->pending_event = 0;
    return end_call(vcpu, vcpu->event_outcome ? VCPU_EVENT_DELIVERED : VCPU_EVENT_NONE);
}

/* A reply without an exit. */
static enum septum_status reply_early(struct thread *thread, struct vcpu *vcpu,
                                      enum septum_status status, enum vcpu_exit reason,
                                      uint64_t bits)
{
    struct vcpu_exit_info exit = {.reason = reason, .qualification = bits};
    vcpu_ops->where(vcpu, &exit);
    thread->attention &= ~(uint64_t)ATTENTION_TIMEOUT;
    return reply(thread, vcpu, status, &exit);
}

void vcpu_abort(struct thread *thread, enum septum_status status)
{
    reply_early(thread, thread->vcpu, status, EXIT_NONE, 0);
}

/* The processor refused the guest's state. Debug kernels know which rule it breaks. */
static void name_failed_rule(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->state;
    const char *rule = vcpu->failed_rule ? vcpu->failed_rule : "(named by debug kernels only)";

    state->failed_rule_number = vcpu->failed_rule_number;
    memset(state->failed_rule, 0, sizeof(state->failed_rule));
    for (unsigned i = 0; rule[i] && i < sizeof(state->failed_rule) - 1; i++)
        state->failed_rule[i] = rule[i];
}

/* ---- into the guest -------------------------------------------------------------------------- */

/* What keeps the guest from being entered now, as the call's status with the reply set; or, when its
 * registers are loaded, SYSCALL_RESTART. */
static enum septum_status prepare_entry(struct cpu *cpu, struct thread *thread, struct vcpu *vcpu)
{
    uint32_t special = __atomic_load_n(&vcpu->special, __ATOMIC_RELAXED);

    if (special & SPECIAL_FORCED) {
        vcpu_special_set(vcpu, SPECIAL_FORCED, 0);
        return reply_early(thread, vcpu, STATUS_OK, EXIT_FORCED, 0);
    }
    if (thread->attention & ATTENTION_TIMEOUT)
        return reply_early(thread, vcpu, STATUS_TIMEOUT, EXIT_NONE, 0);
    if (thread->attention & ATTENTION_STOP)
        return reply_early(thread, vcpu, STATUS_INTERRUPTED, EXIT_NONE, 0);
    if (thread->bound && thread->bound->bits) {
        thread->attention &= ~(uint64_t)ATTENTION_NOTIFIED;
        return reply_early(thread, vcpu, STATUS_INTERRUPTED, EXIT_NONE,
                           notification_take(thread->bound));
    }
    if (special & SPECIAL_HALTED)
        return reply_early(thread, vcpu, STATUS_OK, EXIT_HLT, 0);
    if (cpu->reschedule) {
        thread->resume = RESUME_VCPU;
        return SYSCALL_SWITCHED;
    }
    load_registers(cpu, vcpu);
    if (special & SPECIAL_XCR0)
        load_xcr0(cpu, vcpu->xcr0);
    return SYSCALL_RESTART;
}

static _Noreturn ALWAYS_INLINE void run(struct cpu *cpu, struct vcpu *vcpu, bool set_rip,
                                        uint64_t rip)
{
    vcpu->state->entries++;
    cpu->counters[COUNTER_vm_entries]++;
    vcpu_ops->run(vcpu, set_rip, rip);
    __builtin_unreachable();
}

/* Enters the guest, or gives back the status of a call that is over (or SYSCALL_SWITCHED). */
static enum septum_status enter(struct cpu *cpu, struct thread *thread, struct vcpu *vcpu)
{
    __atomic_store_n(&cpu->in_guest, vcpu, __ATOMIC_SEQ_CST);
    enum septum_status status = prepare_entry(cpu, thread, vcpu);
    if (status == SYSCALL_RESTART)
        run(cpu, vcpu, false, 0);
    cpu->in_guest = NULL;
    return status;
}

/* ---- and out of it --------------------------------------------------------------------------- */

/*
 * An exception that the VMM did not ask for is the guest's. If it came while something else was
 * delivered: that is done again by itself when it was an exception, as without a hypervisor; an
 * interrupt or NMI would be lost, and is delivered instead.
 */
void vcpu_exit_exception(struct vcpu *vcpu, uint64_t event, uint64_t error, struct vcpu_exit_info *exit)
{
    unsigned vector = event & 0xff;

    exit->reason = EXIT_NONE;
    if (vector == VECTOR_MC) {
        __asm__ volatile("int $18" : : : "memory"); /* the exit has consumed it: to our own handler */
    } else if (vcpu->exception_exits >> vector & 1) {
        exit->reason = EXIT_EXCEPTION;
        exit->qualification = vector | error << 32;
    } else if (!vcpu->pending_event || (vcpu->pending_event >> 8 & 7) >= VCPU_EVENT_EXCEPTION) {
        vcpu->pending_event = event | (event & VCPU_EVENT_HAS_ERROR ? error << 32 : 0);
    }
}

/* To user mode with a reply, or to whoever is to run now. */
static _Noreturn void leave(struct cpu *cpu, struct thread *thread, enum septum_status status)
{
    if (status == SYSCALL_SWITCHED || cpu->reschedule)
        sched_exit();
    processor_return_sysret(thread);
}

_Noreturn void vcpu_exited(struct vcpu *vcpu, const struct vcpu_exit_info *exit)
{
    struct cpu *cpu = this_cpu();
    struct thread *thread = vcpu->runner;
    enum septum_status status = STATUS_OK;

    cpu->in_guest = NULL;
    load_xcr0(cpu, fpu_xcr0);
    if (exit->reason == EXIT_ENTRY_FAILED) {
        name_failed_rule(vcpu);
        status = STATUS_ENTRY_FAILED;
    } else if (vcpu->event_outcome == VCPU_EVENT_NOT_TRIED) {
        vcpu->event_outcome = VCPU_EVENT_DELIVERED;
    }
    bool opened = exit->reason == EXIT_INTERRUPTIBLE && vcpu->waiting;
    if (opened)
        vcpu_take_waiting(vcpu, vcpu->waiting);
    else if (exit->reason != EXIT_NONE)
        leave(cpu, thread, reply(thread, vcpu, status, exit));
    /* The kernel's own affair: on, unless what comes in ends the call, the vCPU or the thread. */
    note_call(vcpu);
    vcpu->state->kernel_exits++;
    cpu->counters[COUNTER_vm_exits_kernel]++;
    processor_interrupt_window();
    if (cpu->current != thread || thread->vcpu != vcpu)
        sched_exit();
    leave(cpu, thread, enter(cpu, thread, vcpu));
}

enum septum_status vcpu_continue(struct thread *thread)
{
    return enter(this_cpu(), thread, thread->vcpu);
}

/* ---- the call -------------------------------------------------------------------------------- */

/* Could the guest, with what is staged, take this event now? */
static bool event_possible(struct vcpu *vcpu, uint64_t event, uint32_t groups, uint32_t flags)
{
    struct vcpu_exit_info now;
    vcpu_ops->where(vcpu, &now);
    uint32_t blocked = now.interruptibility;
    if (groups & VCPU_GROUP_RIP)
        blocked = (vcpu->staged->interruptibility & ~VCPU_IF) |
                  (vcpu->staged->rflags & RFLAGS_IF ? VCPU_IF : 0);
    if (flags & VCPU_SET_RIP)
        blocked &= ~VCPU_SHADOW;
    switch (event >> 8 & 7) {
    case VCPU_EVENT_EXTERNAL:
        return (blocked & (VCPU_IF | VCPU_SHADOW)) == VCPU_IF;
    case VCPU_EVENT_NMI:
        return !(blocked & (VCPU_BLOCKED_BY_NMI | VCPU_BLOCKED_BY_MOV_SS));
    default:
        return true;
    }
}

static bool is_external(uint64_t event)
{
    return (event & ~0xffull) == VCPU_EVENT(0, VCPU_EVENT_EXTERNAL);
}

/* Decodes a call that asks for more than to go on; all of it is checked before any of it is done.
 * True: refused, with *refused for the reply. */
static bool prepare(struct vcpu *vcpu, uint64_t flags, uint64_t event, uint64_t groups,
                    uint64_t *refused)
{
    uint64_t pending = flags & VCPU_CLEAR_EVENT ? 0 : vcpu->pending_event;

    bool waits = flags & VCPU_EVENT_WAITS;

    *refused = 0;
    if (flags & ~(uint64_t)CALL_FLAGS || (waits && flags & VCPU_EXIT_INTERRUPTIBLE))
        return true;
    *refused = groups >> 32 ? UINT32_MAX : vcpu_stage(vcpu, (uint32_t)groups);
    if (*refused)
        return true;
    if (groups & VCPU_GROUP_EVENT)
        pending = vcpu->staged->pending_event;
    *refused = VCPU_GROUP_EVENT;
    bool possible = event_possible(vcpu, event, (uint32_t)groups, (uint32_t)flags);
    if ((waits && !is_external(event)) ||
        (event && (pending || !vcpu_event_legal(event) || (!possible && !waits))))
        return true;

    vcpu->pending_event = pending;
    if (groups)
        vcpu_apply(vcpu, (uint32_t)groups);
    vcpu->flags = flags & WINDOW_FLAGS;
    vcpu->event_outcome = pending ? VCPU_EVENT_DELIVERED : VCPU_EVENT_NONE;
    if (event && possible) {
        vcpu->pending_event = event;
        vcpu->event_outcome = VCPU_EVENT_NOT_TRIED;
    } else {
        vcpu->waiting = event;
    }
    if (vcpu->pending_event)
        vcpu->activity = VCPU_ACTIVITY_ACTIVE;
    vcpu_note_special(vcpu);
    return false;
}

static _Noreturn ALWAYS_INLINE void go(struct cpu *cpu, struct thread *caller, struct vcpu *vcpu,
                                       uint64_t flags, uint64_t rip)
{
    caller->deadline = caller->registers.rbx;
    vcpu->runner = caller;
    caller->vcpu = vcpu;
    run(cpu, vcpu, flags & VCPU_SET_RIP, rip);
}

static _Noreturn __attribute__((noinline)) void call_slowly(struct capability *cap, uint64_t tag, uint64_t w0,
                                                            uint64_t w1, uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    cpu->in_guest = NULL;
    cpu->current->registers.rax = IPC_RAX(IPC_CALL);
    ipc_general(cap->slot, tag, w0, w1, w2, w3);
}

/* With an event, a window or a deadline, or after another task has run. A call that is refused here is so once more, with its reply. */
static _Noreturn __attribute__((noinline)) void call_prepared(struct capability *cap, uint64_t tag, uint64_t w0,
                                                              uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current;
    struct vcpu *vcpu = (struct vcpu *)cap->object;
    uint64_t refused, flags = TAG_LABEL(tag), deadline = caller->registers.rbx;
    if (deadline == DEADLINE_POLL || vcpu->object.owner != caller->task)
        call_slowly(cap, tag, w0, 0, w2, w3);
    bool possible = w0 && event_possible(vcpu, w0, 0, (uint32_t)flags);
    uint64_t asked = flags & ~(uint64_t)VCPU_SET_RIP;
    bool event = asked | w0; /* without, nothing is left of the last: special is 0 */
    /* The most frequent kind, an external interrupt or a window for one, needs no more than this. */
    if (event &&
        ((!(asked & ~(uint64_t)VCPU_EXIT_INTERRUPTIBLE) && (!w0 || (is_external(w0) && possible))) ||
         (asked == VCPU_EVENT_WAITS && is_external(w0)))) {
        vcpu->flags = flags & WINDOW_FLAGS;
        vcpu->pending_event = possible ? w0 : 0;
        vcpu->waiting = possible ? 0 : w0;
        vcpu->event_outcome = possible ? VCPU_EVENT_NOT_TRIED : VCPU_EVENT_NONE;
        vcpu_special_set(vcpu, SPECIAL_CALL, vcpu->flags || w0 ? SPECIAL_CALL : 0);
    } else if (event && prepare(vcpu, flags, w0, 0, &refused)) {
        call_slowly(cap, tag, w0, 0, w2, w3);
    }
    if (caller->attention || deadline < cpu->armed_deadline)
        sched_set_deadline(caller, deadline);
    load_registers(cpu, vcpu);
    go(cpu, caller, vcpu, flags, w2);
}

_Noreturn void vcpu_call_fast(struct capability *cap, uint64_t tag, uint64_t w0, uint64_t w1,
                              uint64_t w2, uint64_t w3)
{
    struct cpu *cpu = this_cpu();
    struct thread *caller = cpu->current;
    struct vcpu *vcpu = (struct vcpu *)cap->object;
    const struct notification *bound = caller->bound;
    uint64_t flags = TAG_LABEL(tag), deadline = caller->registers.rbx;

    __atomic_store_n(&cpu->in_guest, vcpu, __ATOMIC_SEQ_CST);
    if (unlikely(w1 | (caller->attention & ~(uint64_t)ATTENTION_UNTIMED) |
                 __atomic_load_n(&vcpu->special, __ATOMIC_RELAXED) |
                 (cpu->switch_slow & SWITCH_SLOW_TRACE)) ||
        unlikely(bound && __atomic_load_n(&bound->bits, __ATOMIC_RELAXED)) ||
        unlikely(vcpu->object.home != cpu->number) || unlikely(vcpu->runner != NULL))
        call_slowly(cap, tag, w0, w1, w2, w3);
    /* Its registers are live only while its own task runs: if they are, it is the caller's. */
    if (unlikely((flags & ~(uint64_t)VCPU_SET_RIP) | w0 | caller->attention) ||
        unlikely(deadline < cpu->armed_deadline) || unlikely(cpu->x86.fpu_owner != vcpu))
        call_prepared(cap, tag, w0, w2, w3);
    go(cpu, caller, vcpu, flags, w2);
}

enum septum_status vcpu_call(struct thread *caller, struct vcpu *vcpu)
{
    struct registers *in = &caller->registers;
    uint64_t flags = TAG_LABEL(in->rsi), refused, deadline = in->rbx;

    if (vcpu->object.home != this_cpu()->number)
        return STATUS_WRONG_CPU;
    if (vcpu->runner)
        return STATUS_BUSY;
    /* Its registers stay live when its caller goes on: they are for the eyes of its own task. */
    if (vcpu->object.owner != caller->task)
        return STATUS_BAD_RIGHTS;
    if (prepare(vcpu, flags, in->rdx, in->r10, &refused)) {
        in->rdx = refused;
        return STATUS_BAD_ARGUMENT;
    }
    if (deadline == DEADLINE_POLL)
        caller->attention |= ATTENTION_TIMEOUT;
    else
        sched_set_deadline(caller, deadline);
    if (flags & VCPU_SET_RIP)
        vcpu_ops->set_rip(vcpu, in->r8);
    vcpu->runner = caller;
    caller->vcpu = vcpu;
    return enter(this_cpu(), caller, vcpu);
}
