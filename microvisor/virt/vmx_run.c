/*
 * VMX: into the guest and out of it again, and what an exit means in the terms of abi/vcpu.h. What
 * other files call here never returns (the Makefile has it compiled accordingly).
 */
#include "virt/vmx.h"

#include "core/task.h"
#include "virt/vcpu_exit.h"
#include "x86/instructions.h"
#include "x86/mitigations.h"

#include "check/watch.h"

#define COLD __attribute__((noinline, cold))

#define MSR_FLUSH_CMD 0x10bu
#define DR7_GD 0x2000u
#define DR6_FROM_EXIT 0x600full /* B0-B3, BD, BS (28.2.1) */
#define EVENT_KEPT (EVENT_VALID | EVENT_HAS_ERROR | 0x7ffu)

/* Exit qualifications (28.2.1, tables 28-1 and following). */
enum {
    IO_SIZE = 7, IO_IN = 8, IO_STRING = 16, IO_IN_STRING_REP = 0x38,
    EPT_ACCESS = 7, EPT_ALLOWED = 0x38, EPT_LINEAR = 0x80, EPT_TRANSLATED = 0x100,
    EPT_UNBLOCKED_NMI = 0x1000,
    CR_LMSW = 1 << 16, CR_CLTS = 1 << 17, /* of the ABI */
};

#define DETAILS 0x80 /* has more to say than its reason */
#define EVENT 0xc0   /* and no instruction caused it, so that the length means nothing */

static const uint8_t exits[REASON_COUNT] = {
    [REASON_EXCEPTION_NMI] = EXIT_EXCEPTION | DETAILS, [REASON_EXTERNAL_INTERRUPT] = EXIT_NONE | EVENT,
    [REASON_TRIPLE_FAULT] = EXIT_TRIPLE_FAULT | EVENT,
    [REASON_INIT ... REASON_OTHER_SMI] = EXIT_SHUTDOWN_OTHER | EVENT,
    [REASON_INTERRUPT_WINDOW] = EXIT_INTERRUPTIBLE | EVENT,
    [REASON_NMI_WINDOW] = EXIT_NMI_WINDOW | EVENT, [REASON_TASK_SWITCH] = EXIT_TASK_SWITCH | DETAILS,
    [REASON_CPUID] = EXIT_CPUID, [REASON_HLT] = EXIT_HLT, [REASON_INVD] = EXIT_INVD,
    [REASON_INVLPG] = EXIT_INVLPG | DETAILS, [REASON_RDPMC] = EXIT_RDPMC,
    [REASON_RDTSC] = EXIT_RDTSC, [REASON_VMCALL] = EXIT_HYPERCALL,
    [REASON_VMCLEAR ... REASON_VMXON] = EXIT_VIRT_INSTRUCTION,
    [REASON_CR_ACCESS] = EXIT_CR_WRITE | DETAILS, [REASON_DR_ACCESS] = EXIT_DR | DETAILS,
    [REASON_IO] = EXIT_IO | DETAILS, [REASON_RDMSR] = EXIT_MSR_READ | DETAILS,
    [REASON_WRMSR] = EXIT_MSR_WRITE | DETAILS, [REASON_MWAIT] = EXIT_MWAIT,
    [REASON_MONITOR] = EXIT_MONITOR, [REASON_PAUSE] = EXIT_PAUSE,
    [REASON_GDTR_IDTR ... REASON_LDTR_TR] = EXIT_DESCRIPTOR | DETAILS,
    [REASON_EPT_VIOLATION] = EXIT_GUEST_FAULT | EVENT,
    [REASON_INVEPT] = EXIT_VIRT_INSTRUCTION, [REASON_RDTSCP] = EXIT_RDTSCP,
    [REASON_PREEMPTION_TIMER] = EXIT_NONE | EVENT, [REASON_INVVPID] = EXIT_VIRT_INSTRUCTION,
    [REASON_WBINVD] = EXIT_WBINVD, [REASON_XSETBV] = EXIT_XSETBV, [REASON_INVPCID] = EXIT_INVPCID,
    [REASON_VMFUNC] = EXIT_VIRT_INSTRUCTION,
};

/* ---- before an entry ------------------------------------------------------------------------- */

static void prepare_guest(struct vcpu *vcpu, struct vmx_vcpu *v, uint64_t generation)
{
    uint64_t event = vcpu->pending_event;
    if (vcpu->guest_generation != generation) {
        /* What was mapped or loaded before must not be seen any more: VCPU_FLUSH, flush_commit. */
        invept(INVALIDATE_ONE, (struct vmx_context){v->ept_pointer, 0});
        invvpid(INVALIDATE_ONE, (struct vmx_context){v->vpid, 0});
        vcpu->guest_generation = generation;
    }
    if (event) {
        vmcs_write(FIELD_ENTRY_EVENT, event & EVENT_KEPT);
        vmcs_write(FIELD_ENTRY_EVENT_ERROR, event >> 32);
        vmcs_write(FIELD_ENTRY_EVENT_LENGTH, event >> VCPU_EVENT_LENGTH_SHIFT & 15);
    }
    uint32_t primary = v->primary_policy;
    primary |= vcpu->flags & VCPU_EXIT_INTERRUPTIBLE || vcpu->waiting ? PRIMARY_INTERRUPT_WINDOW : 0;
    primary |= vcpu->flags & VCPU_EXIT_NMI_WINDOW ? PRIMARY_NMI_WINDOW : 0;
    if (v->primary != primary)
        vmcs_write(FIELD_PRIMARY_CONTROLS, primary);
    v->primary = primary;
    v->changed = vmx_guard || primary != v->primary_policy; /* a window is to be closed again */
}

static _Noreturn inline void enter(struct vcpu *vcpu, struct vmx_vcpu *v)
{
    if (read_cr2() != v->cr2)
        write_cr2(v->cr2);
    vmx_run(vcpu->state->gpr, v->launched);
}

/* Something is not as it was at the last entry of this vCPU. */
static _Noreturn COLD void enter_slowly(struct cpu *cpu, struct vcpu *vcpu, bool set_rip,
                                        uint64_t rip, uint64_t generation)
{
    struct vmx_vcpu *v = vcpu->vmx;
    vmx_load(vcpu);
    if (set_rip)
        vmx_set_rip(vcpu, rip);
    prepare_guest(vcpu, v, generation);
    if (v->host_cr3 != cpu->loaded_cr3 || v->host_fs_base != cpu->x86.loaded_fs_base) {
        v->host_cr3 = cpu->loaded_cr3; /* with KPTI it is not what the kernel itself runs on */
        v->host_fs_base = cpu->x86.loaded_fs_base;
        vmcs_write(FIELD_HOST_CR3, read_cr3());
        vmcs_write(FIELD_HOST_FS_BASE, v->host_fs_base);
    }
    if (mitigations.l1d_flush)
        write_msr(MSR_FLUSH_CMD, 1);
    else if (mitigations.verw)
        mitigation_verw();
    enter(vcpu, v);
}

_Noreturn void vmx_enter(struct vcpu *vcpu, bool set_rip, uint64_t rip)
{
    struct cpu *cpu = this_cpu();
    struct vmx_vcpu *v = vcpu->vmx;
    uint64_t generation = __atomic_load_n(&vcpu->object.owner->guest_generation, __ATOMIC_RELAXED);
    if (unlikely(cpu->x86.vcpu_loaded != vcpu ||
                 ((generation ^ vcpu->guest_generation) | vcpu->special | v->changed) ||
                 v->host_cr3 != cpu->loaded_cr3 || v->host_fs_base != cpu->x86.loaded_fs_base))
        enter_slowly(cpu, vcpu, set_rip, rip, generation);
    if (set_rip) {
        vmcs_write(FIELD_GUEST_RIP, rip);
        if (unlikely(v->interruptibility & (VCPU_SHADOW | RFLAGS_TF)))
            vmx_end_shadow(v);
    }
    enter(vcpu, v);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* An event of the processor's in the ABI's form; the length is for software's (27.2.1.3). */
static uint64_t event_value(uint32_t event, uint64_t error)
{
    uint64_t value = event & EVENT_KEPT;
    if (event & EVENT_HAS_ERROR)
        value |= error << 32;
    if (EVENT_TYPE(event) >= VCPU_EVENT_SOFTWARE_INTERRUPT)
        value |= (vmcs_read(FIELD_INSTRUCTION_LENGTH) & 15) << VCPU_EVENT_LENGTH_SHIFT;
    return value;
}

static void set_nmi_blocking(bool blocked)
{
    uint64_t others = vmcs_read(FIELD_INTERRUPTIBILITY) & ~(uint64_t)VCPU_BLOCKED_BY_NMI;
    vmcs_write(FIELD_INTERRUPTIBILITY, others | (blocked ? VCPU_BLOCKED_BY_NMI : 0));
}

/* The exit cut the delivery of an event: it is to be injected again (28.2.4). An NMI whose
 * delivery began blocks NMIs; to be injected once more it must not (27.3.1.5). */
static void keep_vectored(struct vcpu *vcpu, uint32_t event)
{
    vcpu->pending_event = event_value(event, vmcs_read(FIELD_VECTORING_ERROR));
    if (EVENT_TYPE(event) == VCPU_EVENT_NMI)
        set_nmi_blocking(false);
}

/* What the processor would have put into DR6 and DR7 before it delivered #DB (28.2.1). */
static uint64_t debug_registers_after(uint64_t qualification)
{
    uint64_t dr6;
    __asm__ volatile("mov %%db6, %0" : "=r"(dr6));
    dr6 = (dr6 & ~0xfull) | (qualification & DR6_FROM_EXIT);
    __asm__ volatile("mov %0, %%db6" : : "r"(dr6));
    vmcs_write(FIELD_GUEST_DR7, vmcs_read(FIELD_GUEST_DR7) & ~(uint64_t)DR7_GD);
    return qualification & DR6_FROM_EXIT;
}

static void exit_exception(struct vcpu *vcpu, uint32_t vectoring, struct vcpu_exit_info *exit)
{
    uint32_t event = (uint32_t)vmcs_read(FIELD_EXIT_EVENT), vector = EVENT_VECTOR(event);
    uint64_t error = event & EVENT_HAS_ERROR ? vmcs_read(FIELD_EXIT_EVENT_ERROR) : 0;
    if (EVENT_TYPE(event) == VCPU_EVENT_NMI) {
        exit->reason = EXIT_NONE;
        __asm__ volatile("int $2" : : : "memory");
        return;
    }
    if (event & EVENT_UNBLOCKED_NMI && vector != VECTOR_DF && !(vectoring & EVENT_VALID))
        set_nmi_blocking(true); /* the IRET will be done again (28.2.3) */
    exit->address = vmcs_read(FIELD_QUALIFICATION); /* #PF: the address */
    if (vector == VECTOR_DB)
        exit->address = debug_registers_after(exit->address);
    if (EVENT_TYPE(event) < VCPU_EVENT_SOFTWARE_INTERRUPT)
        exit->instruction_length = 0;
    vcpu_exit_exception(vcpu, event_value(event, error), error, exit);
}

/* ---- exits ----------------------------------------------------------------------------------- */

static inline uint64_t io_qualification(uint64_t q)
{
    return (q >> 16 & 0xffff) | ((q & IO_SIZE) + 1) << 16 | (q & IO_IN_STRING_REP) << 21;
}

static uint64_t string_io(uint64_t q)
{
    uint64_t information = vmcs_read(FIELD_INSTRUCTION_INFORMATION);
    return (q & IO_IN ? 0 : information >> 15 & 7) << VCPU_IO_SEGMENT_SHIFT |
           2ull << (information >> 7 & 7) << VCPU_IO_ADDRESS_SHIFT;
}

static void exit_cr(uint64_t q, struct vcpu_exit_info *exit)
{
    uint64_t number = q & 15, access = q >> 4 & 3;
    static const uint8_t reasons[] = {EXIT_CR_WRITE, EXIT_CR_READ, EXIT_CR_WRITE, EXIT_CR_WRITE};
    exit->reason = !access && number == 8 ? EXIT_CR8_WRITE : reasons[access];
    exit->qualification = access < 2    ? number | (q & 0xf00)
                          : access == 2 ? CR_CLTS
                                        : CR_LMSW;
    exit->address = access == 3 ? q >> 16 & 0xffff : 0;
}

static void exit_guest_fault(uint64_t q, uint32_t vectoring, struct vcpu_exit_info *exit)
{
    if (q & EPT_UNBLOCKED_NMI && !(vectoring & EVENT_VALID))
        set_nmi_blocking(true);
    exit->qualification = (q & EPT_ACCESS) | (q & EPT_ALLOWED ? VCPU_ACCESS_PRESENT : 0);
    if (q & EPT_LINEAR)
        exit->qualification |=
            VCPU_ACCESS_LINEAR | (q & EPT_TRANSLATED ? 0 : VCPU_ACCESS_PAGE_WALK);
    exit->address = vmcs_read(FIELD_GUEST_PHYSICAL);
}

/* Exits that come with details. Of *exit, which is 0, reason and length are set. */
static void decode(struct vcpu *vcpu, uint32_t reason, uint32_t vectoring,
                   struct vcpu_exit_info *exit)
{
    uint64_t q = vmcs_read(FIELD_QUALIFICATION), information;
    switch (reason) {
    case REASON_EXCEPTION_NMI: exit_exception(vcpu, vectoring, exit); break;
    case REASON_IO: exit->qualification = io_qualification(q) | (q & IO_STRING ? string_io(q) : 0); break;
    case REASON_EPT_VIOLATION: exit_guest_fault(q, vectoring, exit); break;
    case REASON_EPT_MISCONFIGURATION:
        panic("VMX: the guest table has a bad entry for %lx", vmcs_read(FIELD_GUEST_PHYSICAL));
    case REASON_CR_ACCESS: exit_cr(q, exit); break;
    case REASON_DR_ACCESS: exit->qualification = (q & 0xf07) | (q & 0x10) << 27; break;
    case REASON_RDMSR:
    case REASON_WRMSR: vcpu_exit_msr(vcpu, reason == REASON_WRMSR, exit); break;
    case REASON_TASK_SWITCH:
        exit->address = vectoring & EVENT_HAS_ERROR ? vmcs_read(FIELD_VECTORING_ERROR) : 0;
        /* fall through */
    case REASON_INVLPG: exit->qualification = q; break;
    case REASON_GDTR_IDTR:
    case REASON_LDTR_TR:
        information = vmcs_read(FIELD_INSTRUCTION_INFORMATION) >> 28 & 3;
        exit->qualification =
            (information & 1) | (information & 2) << 1 | (reason == REASON_LDTR_TR ? 2 : 0);
        break;
    default:
        if (exit->reason == EXIT_UNKNOWN || exit->reason == EXIT_SHUTDOWN_OTHER)
            exit->qualification = reason;
    }
}

/*
 * The processor did not enter: VMfail (27.2), or an exit that says so (27.3, 27.4). The event is
 * still to be injected, but nothing of it may be left in the VMCS, where only an exit would have
 * cleared it.
 */
static void entry_failed(struct vcpu *vcpu, uint32_t reason, struct vcpu_exit_info *exit)
{
    bool refused = reason == VMX_REFUSED;
    vcpu->failed_rule = vmx_broken_rule(vcpu, &vcpu->failed_rule_number);
    vmcs_write(FIELD_ENTRY_EVENT, 0);
    if (!refused && (uint16_t)reason == REASON_MACHINE_CHECK) {
        __asm__ volatile("int $18" : : : "memory");
        return;
    }
    if (!vcpu->failed_rule)
        vcpu->failed_rule = refused ? "27.2: control fields or host state"
                         : (uint16_t)reason == REASON_MSR_LOAD_FAILED ? "27.4: MSR-load list"
                                                                      : "27.3: guest state";
    exit->reason = EXIT_ENTRY_FAILED;
    exit->qualification = refused ? vmcs_read(FIELD_INSTRUCTION_ERROR) : reason;
    exit->address = refused ? 0 : vmcs_read(FIELD_QUALIFICATION);
}

/* Exits that say more than their reason, may have cut the delivery of an event, or end a special
 * run. */
static _Noreturn COLD void exited_slowly(struct vcpu *vcpu, uint32_t reason)
{
    struct vcpu_exit_info exit = {.reason = EXIT_NONE};
    if (reason & REASON_ENTRY_FAILED) {
        entry_failed(vcpu, reason, &exit);
    } else {
        uint32_t vectoring = (uint32_t)vmcs_read(FIELD_VECTORING_EVENT);
        vcpu->vmx->launched = true;
        vcpu->pending_event = 0;
        if (vectoring & EVENT_VALID)
            keep_vectored(vcpu, vectoring);
        unsigned kind = reason < REASON_COUNT ? exits[reason] : 0;
        exit.reason = kind ? kind & ~EVENT : EXIT_UNKNOWN;
        if (kind && (kind & EVENT) != EVENT)
            exit.instruction_length = (uint32_t)vmcs_read(FIELD_INSTRUCTION_LENGTH);
        if (!kind || kind & DETAILS)
            decode(vcpu, reason, vectoring, &exit);
    }
    vmx_where(vcpu, &exit);
    vcpu_exited(vcpu, &exit);
}

static ALWAYS_INLINE void answer(struct vcpu *vcpu, uint32_t reason, uint64_t qualification,
                                 uint64_t address, bool instruction)
{
    struct vmx_vcpu *v = vcpu->vmx;
    uint32_t blocked = (uint32_t)vmcs_read(FIELD_INTERRUPTIBILITY) & VCPU_BLOCKED;
    uint32_t rflags = (uint32_t)vmcs_read(FIELD_GUEST_RFLAGS);
    v->launched = true;
    v->interruptibility = blocked | (rflags & RFLAGS_TF);
    vcpu_answer(this_cpu(), vcpu, vcpu->special, reason, qualification, address,
                instruction ? (uint32_t)vmcs_read(FIELD_INSTRUCTION_LENGTH) : 0,
                blocked | (rflags & RFLAGS_IF) / (RFLAGS_IF / VCPU_IF), vmcs_read(FIELD_GUEST_RIP));
}

_Noreturn void vmx_exited(struct vcpu *vcpu, uint32_t reason)
{
    uint32_t kind = exits[reason & (REASON_COUNT - 1)]; /* 0 for all failures to enter */
    __asm__ volatile("lgdt %0" : : "m"(vcpu->vmx->gdtr));
    vcpu->vmx->cr2 = read_cr2();
    /* None of these can have cut the delivery of an event, but for the last, which is asked. */
    if (likely(!(vcpu->special & ~SPECIAL_CALL))) {
        if (likely(kind - 1 < DETAILS - 1)) {
            answer(vcpu, kind, 0, 0, true);
        } else if (reason == REASON_IO) {
            uint64_t q = vmcs_read(FIELD_QUALIFICATION);
            if (!(q & IO_STRING))
                answer(vcpu, EXIT_IO, io_qualification(q), 0, true);
        } else if (reason == REASON_RDMSR || reason == REASON_WRMSR) {
            struct vcpu_exit_info exit;
            vcpu_exit_msr(vcpu, reason == REASON_WRMSR, &exit);
            answer(vcpu, exit.reason, exit.qualification, exit.address, true);
        } else if (reason == REASON_INTERRUPT_WINDOW) {
            answer(vcpu, EXIT_INTERRUPTIBLE, 0, 0, false);
        } else if (reason == REASON_EPT_VIOLATION && !(vmcs_read(FIELD_VECTORING_EVENT) & EVENT_VALID)) {
            struct vcpu_exit_info exit;
            exit_guest_fault(vmcs_read(FIELD_QUALIFICATION), 0, &exit);
            answer(vcpu, EXIT_GUEST_FAULT, exit.qualification, exit.address, false);
        }
    }
    exited_slowly(vcpu, reason);
}
