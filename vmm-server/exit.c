/*
 * Handlers of exits. A handler finds the general registers and the groups that its row subscribes to in the state
 * page; it changes them, and says what it changed. What it can't do it reports.
 */
#include "exit.h"

#include "cpu/msr.h"
#include "pc/chips.h"
#include "report.h"
#include "task.h"
#include "vcpu_thread.h"

#define RAX                 0
#define RCX                 1
#define RDX                 2
#define RBX                 3

#define LENGTH(exit, usual) ((exit)->w[3] & 0xff ? (unsigned)((exit)->w[3] & 0xff) : (usual))

#define HYPERCALL_UNKNOWN \
    (-1000ll) /* -KVM_ENOSYS, Linux Documentation/virt/kvm/x86/hypercalls.rst */
#define IDT_NONE 0u

typedef void handler(struct vcpu *vcpu, const struct message *exit);

/* ---- execution in software ------------------------------------------------------------------------ */

static void execute(struct vcpu *vcpu, unsigned access, uint64_t gpa)
{
    uint64_t event = 0;
    uint32_t changed = 0;
    const char *what = NULL;
    vcpu_need(vcpu, VCPU_GROUP_INSTRUCTION);
    vcpu->world.fault_access = access;
    vcpu->world.fault_gpa = gpa;
    enum execute_result result = execute_instruction(&vcpu->world, &event, &changed, &what);
    if (result == EXECUTE_DONE && vcpu->world.returned)
        vcpu->interruptibility &= ~(uint32_t)VCPU_BLOCKED_BY_NMI;
    switch (result) {
    case EXECUTE_DONE:
        vcpu_take_state(vcpu, changed);
        vcpu->rip = vcpu->state->rip;
        vcpu->set_rip = true;
        return;
    case EXECUTE_FAULT:
        vcpu_take_state(vcpu, changed);
        if (changed & VCPU_GROUP_RIP) { /* in a task that it has switched to */
            vcpu->rip = vcpu->state->rip;
            vcpu->set_rip = true;
        }
        vcpu_inject(vcpu, event);
        return;
    case EXECUTE_NOWHERE: vcpu_inject(vcpu, EVENT_GP); return;
    case EXECUTE_UNKNOWN:
        if (access && !(what = vcpu_step(vcpu)))
            return;
        task_print("an instruction of the guest is not executed on a device: %s\n",
                   what ? what : "unknown");
        report(
            vcpu, "it used an instruction on a device that this VMM does not execute",
            "another kernel version may not use it there; the code bytes below tell which it is");
        machine_end(vcpu->machine, ROOT_GUEST_PANIC);
    }
}

/* ---- handlers --------------------------------------------------------------------------------------- */

static void exit_nothing(struct vcpu *vcpu, const struct message *exit)
{
    (void)vcpu, (void)exit;
}

static void exit_undefined(struct vcpu *vcpu, const struct message *exit)
{
    (void)exit;
    vcpu_inject(vcpu, EVENT_UD);
}

static void exit_protection(struct vcpu *vcpu, const struct message *exit)
{
    (void)exit;
    vcpu_inject(vcpu, EVENT_GP);
}

static void exit_cpuid(struct vcpu *vcpu, const struct message *exit)
{
    uint64_t *gpr = vcpu->state->gpr;
    struct cpuid_guest guest = {.apic_id = vcpu->apic.id};
    if (cpuid_wants_control((uint32_t)gpr[RAX])) {
        vcpu_need(vcpu, VCPU_GROUP_CONTROL);
        guest.cr4 = vcpu->state->cr4;
        guest.xcr0 = vcpu->state->xcr0;
    }
    struct cpuid_registers answer =
        cpuid_answer(&vcpu->machine->cpuid, &guest, (uint32_t)gpr[RAX], (uint32_t)gpr[RCX]);
    gpr[RAX] = answer.eax, gpr[RBX] = answer.ebx, gpr[RCX] = answer.ecx, gpr[RDX] = answer.edx;
    vcpu_skip(vcpu, LENGTH(exit, 2));
}

static void exit_hlt(struct vcpu *vcpu, const struct message *exit)
{
    uint64_t rip = vcpu->rip;
    vcpu_skip(vcpu, LENGTH(exit, 1));
    vcpu->phase = VCPU_HALTED;
    if (!(vcpu->interruptibility & VCPU_IF) && !vcpu->told_halted) {
        vcpu->told_halted = true;
        task_print("vCPU %u has halted with interrupts off, at RIP 0x%lx: it stays so until it is "
                   "reset\n",
                   vcpu->number, rip);
    }
}

static void exit_io(struct vcpu *vcpu, const struct message *exit)
{
    uint64_t *rax = &vcpu->state->gpr[RAX];
    uint16_t port = (uint16_t)exit->w[0];
    unsigned size_bytes = exit->w[0] >> 16 & 0xff;
    uint32_t mask = size_bytes == 4 ? UINT32_MAX : (1u << 8 * size_bytes) - 1, value;
    if (exit->w[0] & VCPU_IO_STRING) {
        execute(vcpu, 0, 0);
        return;
    }
    if (exit->w[0] & VCPU_IO_IN) {
        if (!machine_port_read(vcpu, port, size_bytes, &value)) {
            vcpu_inject(vcpu, EVENT_GP);
            return;
        }
        /* 32-bit results clear the upper half, smaller ones keep the rest (SDM 1, 3.4.1.1). */
        *rax = size_bytes == 4 ? value : (*rax & ~(uint64_t)mask) | (value & mask);
    } else if (!machine_port_write(vcpu, port, size_bytes, (uint32_t)*rax & mask)) {
        vcpu_inject(vcpu, EVENT_GP);
        return;
    }
    vcpu_skip(vcpu, LENGTH(exit, 1));
}

static void exit_msr_read(struct vcpu *vcpu, const struct message *exit)
{
    uint64_t value;
    if (!msr_read(vcpu, (uint32_t)exit->w[0], &value)) {
        vcpu_inject(vcpu, EVENT_GP);
        return;
    }
    vcpu->state->gpr[RAX] = (uint32_t)value;
    vcpu->state->gpr[RDX] = value >> 32;
    vcpu_skip(vcpu, LENGTH(exit, 2));
}

static void exit_msr_write(struct vcpu *vcpu, const struct message *exit)
{
    if (!msr_write(vcpu, (uint32_t)exit->w[0], exit->w[1]))
        vcpu_inject(vcpu, EVENT_GP);
    else
        vcpu_skip(vcpu, LENGTH(exit, 2));
}

/* The processor has told the operand, or the instruction is decoded. */
static void exit_control(struct vcpu *vcpu, const struct message *exit)
{
    (void)exit;
    execute(vcpu, 0, 0);
}

/* MOV to and from debug registers: 0f 21 or 0f 23, perhaps behind REX, and a ModRM byte. */
static void exit_debug(struct vcpu *vcpu, const struct message *exit)
{
    uint8_t code[4] = {0};
    struct vcpu_state *state = vcpu->state;
    vcpu_need(vcpu, EXECUTE_GROUPS | VCPU_GROUP_DEBUG);
    size_t n = report_code(vcpu, code, sizeof code);
    unsigned rex = n && (code[0] & 0xf0) == 0x40 && state->efer & 1u << 10 ? code[0] : 0;
    const uint8_t *at = code + (rex != 0);
    if (n < sizeof code || at[0] != 0x0f || (at[1] != 0x21 && at[1] != 0x23)) {
        vcpu_stop_guest(vcpu, "it used its debug registers in a way that is not known");
        return;
    }
    (void)exit;
    uint64_t *general = &state->gpr[(at[2] & 7) | (rex & 1) << 3];
    unsigned number = at[2] >> 3 & 7;
    uint64_t *debug = number < 4 ? &state->dr[number] : number & 1 ? &state->dr7 : &state->dr6;
    if (at[1] == 0x21)
        *general = *debug;
    else
        *debug = number < 4   ? *general
                 : number & 1 ? (*general & 0xffff2fff) | 0x400
                              : (*general & 0xf00f) | 0xffff0ff0;
    vcpu->dirty |= at[1] == 0x23 ? VCPU_GROUP_DEBUG : 0;
    if (at[1] == 0x21 && general == &state->gpr[4])
        vcpu->dirty |= VCPU_GROUP_RIP;
    vcpu_skip(vcpu, 3 + (rex != 0));
}

static void exit_xsetbv(struct vcpu *vcpu, const struct message *exit)
{
    struct vcpu_state *state = vcpu->state;
    vcpu_need(vcpu, VCPU_GROUP_CONTROL);
    if ((uint32_t)state->gpr[RCX] != 0) {
        vcpu_inject(vcpu, EVENT_GP);
        return;
    }
    vcpu_undo_point(vcpu);
    state->xcr0 = (uint32_t)state->gpr[RAX] | state->gpr[RDX] << 32;
    vcpu->dirty |= VCPU_GROUP_CONTROL;
    vcpu_skip(vcpu, LENGTH(exit, 3));
}

/* Caches are the host's: nothing is to be written back. */
static void exit_cache(struct vcpu *vcpu, const struct message *exit)
{
    vcpu_skip(vcpu, LENGTH(exit, 2));
}

/* It spins, and what it waits for may be on this CPU. */
static void exit_pause(struct vcpu *vcpu, const struct message *exit)
{
    vcpu->yields = true;
    vcpu_skip(vcpu, LENGTH(exit, 2));
}

static void exit_hypercall(struct vcpu *vcpu, const struct message *exit)
{
    vcpu->state->gpr[RAX] = (uint64_t)HYPERCALL_UNKNOWN;
    vcpu_skip(vcpu, LENGTH(exit, 3));
}

/* An access to a device by an instruction that has accessed one before: no more is asked. */
static bool again(struct vcpu *vcpu, unsigned access, gpa_t gpa)
{
    uint32_t changed = 0;
    vcpu->world.fault_access = access;
    vcpu->world.fault_gpa = gpa;
    if (vcpu->event_in_flight || !execute_again(&vcpu->world, &changed))
        return false;
    if (changed)
        vcpu_take_state(vcpu, changed);
    vcpu->rip = vcpu->state->rip;
    vcpu->set_rip = true;
    return true;
}

static void exit_guest_fault(struct vcpu *vcpu, const struct message *exit)
{
    unsigned access = (unsigned)exit->w[0];
    gpa_t gpa = exit->w[1];
    bool write = (access & VCPU_ACCESS_WRITE) != 0;
    if (machine_memory_settles(vcpu, gpa, write) || again(vcpu, access, gpa))
        return;
    if (guest_memory_at(&vcpu->machine->memory, gpa, 1, write)) {
        task_print("guest-physical address 0x%lx, access 0x%x\n", gpa, access);
        vcpu_stop_guest(vcpu, "its memory is not mapped; this is an error of the VMM");
        return;
    }
    if (vcpu->event_in_flight) {
        task_print("guest-physical address 0x%lx, access 0x%x\n", gpa, access);
        report(vcpu,
               "an interrupt or exception could not be delivered: its stack or its tables are not "
               "in memory",
               "look for what loads the stack pointer, or IDT, GDT and TSS, before RIP");
        machine_end(vcpu->machine, ROOT_GUEST_PANIC);
        return;
    }
    if (access & VCPU_ACCESS_EXECUTE) {
        task_print("guest-physical address 0x%lx\n", gpa);
        report(
            vcpu, "it jumped to where there is no memory",
            "if it is booting: check that kernel and initrd belong together and are not damaged; "
            "else look for a bad pointer in the kernel or module that runs");
        machine_end(vcpu->machine, ROOT_GUEST_PANIC);
        return;
    }
    execute(vcpu, access, gpa);
}

/* A PC's chip set answers a processor's shutdown by its reset. A system that wants to be reset and knows no better loads
 * an empty IDT and raises an exception. */
static void exit_triple_fault(struct vcpu *vcpu, const struct message *exit)
{
    struct machine *machine = vcpu->machine;
    (void)exit;
    if (machine->pc) {
        lock_take(&machine->lock);
        bool reset = chips_reset_processors(machine);
        lock_give(&machine->lock);
        if (reset)
            return;
    }
    vcpu_need(vcpu, VCPU_GROUP_TABLES);
    if (vcpu->state->idtr.limit == IDT_NONE) {
        task_print("the guest resets itself by a triple fault at RIP 0x%lx\n", vcpu->rip);
        machine_end(vcpu->machine, ROOT_GUEST_REBOOT);
        return;
    }
    report(vcpu, "triple fault: an exception, and then its handlers, could not be delivered",
           "if it is booting: check that kernel and initrd are not damaged, and that the guest has "
           "enough memory; else look at the code below: the first exception came there");
    machine_end(vcpu->machine, ROOT_GUEST_PANIC);
}

/* An event that came by a task gate is the new task's now. */
static void take_event(struct vcpu *vcpu, struct execute_task_switch *to)
{
    struct vcpu_state *state = vcpu->state;
    uint64_t event = state->pending_event;
    bool software = (event >> 8 & 7) >= VCPU_EVENT_SOFTWARE_INTERRUPT;
    to->source = EXECUTE_TASK_GATE;
    to->has_error = (event & VCPU_EVENT_HAS_ERROR) != 0;
    to->external = !software;
    to->next_rip = vcpu->rip + (software ? event >> VCPU_EVENT_LENGTH_SHIFT & 15 : 0);
    if ((event >> 8 & 7) == VCPU_EVENT_NMI)
        vcpu->interruptibility |= VCPU_BLOCKED_BY_NMI;
    state->pending_event = 0;
    vcpu->dirty |= VCPU_GROUP_EVENT;
    vcpu->event_in_flight = false;
}

static void exit_task_switch(struct vcpu *vcpu, const struct message *exit)
{
    unsigned length = LENGTH(exit, 0);
    struct execute_task_switch to = {.selector = (uint16_t)exit->w[0],
                                     .source = exit->w[0] >> 30 & 3,
                                     .error = (uint32_t)exit->w[1],
                                     .next_rip = vcpu->rip + length};
    enum execute_result result = EXECUTE_DONE;
    uint64_t event = 0;
    uint32_t changed = 0;
    const char *what = NULL;
    vcpu_need(vcpu, EXECUTE_GROUPS | VCPU_GROUP_TABLES | VCPU_GROUP_DEBUG | VCPU_GROUP_EVENT);
    if (vcpu->event_in_flight)
        take_event(vcpu, &to);
    else if (!length)
        result = execute_next_rip(&vcpu->world, &to);
    if (to.source == EXECUTE_TASK_IRET)
        vcpu->interruptibility &= ~(uint32_t)VCPU_BLOCKED_BY_NMI;
    if (result == EXECUTE_DONE)
        result = execute_task_switch(&vcpu->world, &to, &event, &changed, &what);
    vcpu_take_state(vcpu, changed);
    if (changed & VCPU_GROUP_RIP) {
        vcpu->rip = vcpu->state->rip;
        vcpu->set_rip = true;
    }
    if (result == EXECUTE_FAULT)
        vcpu_inject(vcpu, event);
    else if (result != EXECUTE_DONE)
        vcpu_stop_guest(vcpu, "it switches to a task whose segment is not in memory");
}

static void exit_odd(struct vcpu *vcpu, const struct message *exit)
{
    task_print("exit code 0x%lx of the processor\n", exit->w[0]);
    vcpu_stop_guest(vcpu, "its processor stopped for a reason that this VMM does not know");
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const struct {
    handler *handle;
    uint32_t groups; /* what the exit brings along */
    const char *name;
} rows[EXIT_COUNT] = {
    [EXIT_NONE] = {exit_nothing, 0, "none"},
    [EXIT_FORCED] = {exit_nothing, 0, "forced"},
    [EXIT_ENTRY_FAILED] = {exit_odd, 0, "entry failed"},
    [EXIT_EXCEPTION] = {exit_odd, 0, "exception"},
    [EXIT_TRIPLE_FAULT] = {exit_triple_fault, EXECUTE_GROUPS | VCPU_GROUP_TABLES, "triple fault"},
    [EXIT_INTERRUPTIBLE] = {exit_nothing, 0, "interruptible"},
    [EXIT_NMI_WINDOW] = {exit_nothing, 0, "NMI window"},
    [EXIT_TASK_SWITCH] = {exit_task_switch, EXECUTE_GROUPS, "task switch"},
    [EXIT_CPUID] = {exit_cpuid, 0, "CPUID"},
    [EXIT_HLT] = {exit_hlt, 0, "HLT"},
    [EXIT_INVLPG] = {exit_odd, 0, "INVLPG"},
    [EXIT_RDPMC] = {exit_protection, 0, "RDPMC"},
    [EXIT_RDTSC] = {exit_odd, 0, "RDTSC"},
    [EXIT_RDTSCP] = {exit_odd, 0, "RDTSCP"},
    [EXIT_HYPERCALL] = {exit_hypercall, 0, "hypercall"},
    [EXIT_VIRT_INSTRUCTION] = {exit_undefined, 0, "VMX or SVM instruction"},
    [EXIT_CR_READ] = {exit_control, EXECUTE_GROUPS, "control register read"},
    [EXIT_CR_WRITE] = {exit_control, EXECUTE_GROUPS, "control register write"},
    [EXIT_DR] = {exit_debug, EXECUTE_GROUPS | VCPU_GROUP_DEBUG, "debug register"},
    [EXIT_IO] = {exit_io, 0, "port"},
    [EXIT_MSR_READ] = {exit_msr_read, 0, "RDMSR"},
    [EXIT_MSR_WRITE] = {exit_msr_write, 0, "WRMSR"},
    [EXIT_MWAIT] = {exit_undefined, 0, "MWAIT"},
    [EXIT_MONITOR] = {exit_undefined, 0, "MONITOR"},
    [EXIT_PAUSE] = {exit_pause, 0, "PAUSE"},
    [EXIT_DESCRIPTOR] = {exit_odd, 0, "descriptor table"},
    [EXIT_GUEST_FAULT] = {exit_guest_fault, VCPU_GROUP_INSTRUCTION, "guest-physical access"},
    [EXIT_WBINVD] = {exit_cache, 0, "WBINVD"},
    [EXIT_INVD] = {exit_cache, 0, "INVD"},
    [EXIT_XSETBV] = {exit_xsetbv, VCPU_GROUP_CONTROL, "XSETBV"},
    [EXIT_INVPCID] = {exit_odd, 0, "INVPCID"},
    [EXIT_CR8_WRITE] = {exit_control, EXECUTE_GROUPS, "CR8 write"},
    [EXIT_SHUTDOWN_OTHER] = {exit_odd, 0, "shutdown"},
    [EXIT_UNKNOWN] = {exit_odd, 0, "unknown"},
};

void exit_subscribe(struct vcpu_state *state)
{
    for (unsigned i = 0; i < EXIT_COUNT; i++)
        state->subscription[i] = rows[i].groups;
}

const char *exit_name(enum vcpu_exit reason)
{
    return reason < EXIT_COUNT ? rows[reason].name : "unknown";
}

/* For tests of what a VMM's death at any moment does to others (VMM_COMMAND_DIE). */
static void __attribute__((noinline)) die_as_told(void)
{
    __asm__ volatile("ud2");
}

void exit_handle(struct vcpu *vcpu, enum vcpu_exit reason, const struct message *exit)
{
    if (__builtin_expect(vcpu->machine->die_at_reason == (uint64_t)reason, 0))
        die_as_told();
    rows[reason < EXIT_COUNT ? reason : EXIT_UNKNOWN].handle(vcpu, exit);
}
