/* Entering a guest with VMRUN, and what an exit leaves to be tidied up. */
#include "virt/svm.h"

#include "check/check.h"
#include "core/task.h"
#include "x86/instructions.h"

#define EVENT_KIND 0x7ffull /* vector and type */
#define EVENT_FROM_EXIT (VCPU_EVENT_VALID | VCPU_EVENT_HAS_ERROR | EVENT_KIND | 0xffffffffull << 32)

/* ---- translations ---------------------------------------------------------------------------- */

/* The task's guest space has lost pages since the last entry, or the VMM wrote control registers. */
static void flush(struct cpu *cpu, struct vcpu *vcpu)
{
    vcpu->guest_generation =
        __atomic_load_n(&vcpu->object.owner->guest_generation, __ATOMIC_ACQUIRE);
    if (!svm_features.flush_by_asid)
        svm_take_asid(cpu, vcpu->svm); /* a fresh one is as good as a flush of the old */
    else if (!vcpu->svm->vmcb->tlb_control)
        vcpu->svm->vmcb->tlb_control = SVM_FLUSH_GUEST;
}

/* What was asked of VMRUN is done, unless it failed: an ASID is taken then. */
static void note_flush(struct cpu *cpu, struct vmcb *vmcb)
{
    bool entered = (uint32_t)vmcb->exit_code != SVM_EXIT_INVALID;
    ledger_vmrun_done(entered);
    if (vmcb->tlb_control == SVM_FLUSH_ALL && entered)
        cpu->x86.asid_flushed = cpu->x86.asid_generation;
    vmcb->tlb_control = SVM_FLUSH_NONE;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* INTn and INT3 are injected as if they had been executed: what is pushed is the RIP behind them, which
 * the processor takes from next_rip, or, if it has no such field, from rip (APM 2, 15.20). */
static bool is_software(uint64_t event)
{
    unsigned type = event >> 8 & 7;
    return type == VCPU_EVENT_SOFTWARE_INTERRUPT || type == VCPU_EVENT_SOFTWARE_EXCEPTION;
}

static uint64_t event_field(uint64_t event)
{
    uint64_t type = event >> 8 & 7;
    if (type == VCPU_EVENT_SOFTWARE_EXCEPTION)
        type = VCPU_EVENT_EXCEPTION;
    return (event & ~0x7fff700ull) | type << 8 | (event & VCPU_EVENT_HAS_ERROR);
}

static void set_virtual(struct vmcb *vmcb, uint64_t event)
{
    vmcb->interrupt_control |= SVM_V_WINDOW | (event & 0xff) << SVM_V_VECTOR_SHIFT;
    svm_intercept(vmcb, SVM_VINTR, false);
}

/*
 * QEMU (7.2, 10.0) delivers an interrupt that VMRUN injects, and does not forget it: if its loop is left before the
 * next exit or exception, at the end of an instruction budget for instance, it delivers the interrupt once more,
 * into the handler, whatever IF is. A virtual interrupt it delivers once. Of the two that are wanted at once, an
 * interrupt and a window, it gets the interrupt by injection, and an exit at once, by an interrupt to ourselves.
 */
static bool inject_virtually(struct vcpu *vcpu, uint64_t event)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    if (!svm_features.qemu || (event & ~0xffull) != VCPU_EVENT(0, VCPU_EVENT_EXTERNAL) ||
        !(vmcb->rflags & RFLAGS_IF) || vcpu->flags & VCPU_EXIT_INTERRUPTIBLE)
        return false;
    set_virtual(vmcb, event);
    return true;
}

/*
 * One that was not taken, or was cut, is as an injected one that was cut; one that waits goes on to wait. What was cut
 * Bochs calls an interrupt with an old vector, and QEMU an exception; there is no other interrupt in a guest.
 */
static void end_virtual_injection(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    if (vmcb->intercepts[0] >> SVM_VINTR & 1)
        return;
    svm_intercept(vmcb, SVM_VINTR, true);
    uint64_t event = vcpu->waiting ? vcpu->waiting : vcpu->pending_event, cut = vmcb->exit_event;
    bool untaken = vmcb->interrupt_control & SVM_V_IRQ;
    unsigned type = cut >> 8 & 7;
    bool ours = cut & VCPU_EVENT_VALID && (type == VCPU_EVENT_EXTERNAL ||
                                           (type == VCPU_EVENT_EXCEPTION && !((cut ^ event) & 0xff)));
    if (vcpu->waiting && untaken && !ours)
        return;
    if (untaken || ours)
        vmcb->exit_event = event;
    if (vcpu->waiting)
        vcpu_take_waiting(vcpu, 0);
}

static void inject(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    uint64_t event = vcpu->pending_event;

    if (is_software(event)) {
        vmcb->rip += event >> VCPU_EVENT_LENGTH_SHIFT & 15;
        vmcb->next_rip = vmcb->rip;
    }
    if ((event >> 8 & 7) == VCPU_EVENT_NMI)
        svm_block_nmi(vcpu->svm, true);
    vmcb->interrupt_shadow = 0;
    if (inject_virtually(vcpu, event))
        return;
    vmcb->event = event_field(event);
    if (svm_features.qemu && (event >> 8 & 7) == VCPU_EVENT_EXTERNAL)
        processor_send_interrupt(this_cpu()->number);
}

static void undo_injection(struct vcpu *vcpu)
{
    uint64_t event = vcpu->pending_event;
    if (is_software(event))
        vcpu->svm->vmcb->rip -= event >> VCPU_EVENT_LENGTH_SHIFT & 15;
    if ((event >> 8 & 7) == VCPU_EVENT_NMI)
        svm_block_nmi(vcpu->svm, false);
}

/* What the exit cut: the event we injected, or one of the guest's own. */
static void note_cut_event(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    uint64_t cut = vmcb->exit_event & EVENT_FROM_EXIT, injected = vcpu->pending_event;
    unsigned type = cut >> 8 & 7, vector = cut & 0xff;

    if (!(cut & VCPU_EVENT_HAS_ERROR))
        cut &= UINT32_MAX;
    if (!(cut & VCPU_EVENT_VALID)) {
        cut = 0;
    } else if (injected && !((event_field(injected) ^ cut) & EVENT_KIND)) {
        undo_injection(vcpu);
        if (is_software(injected))
            cut = injected;
    } else if (type == VCPU_EVENT_SOFTWARE_INTERRUPT ||
               (type == VCPU_EVENT_EXCEPTION && (vector == 3 || vector == 4))) {
        cut = 0; /* INTn, INT3, INTO of the guest's own: RIP is still there, it will run again */
    }
    vcpu->pending_event = cut;
}

/* What saves TF where the guest finds it, or loads flags. So do exceptions. */
#define STEP_INTERCEPTS (1u << SVM_PUSHF | 1u << SVM_POPF | 1u << SVM_IRET | 1u << SVM_INTN)

/*
 * QEMU (7.2) forgets at VMRUN that STI has just been executed. An interrupt, be it one that the VMM injects after an
 * exit that comes before anything is executed, would come in front of the HLT that follows, whose sleep then misses
 * it: so that one instruction is stepped over first. What would let TF be seen is not: there the interrupt comes first.
 */
static __attribute__((noinline)) bool step_over_shadow(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->svm;
    struct vmcb *vmcb = svm->vmcb;
    if (!svm_features.qemu || vcpu->pending_event || svm->step || vmcb->rflags & RFLAGS_TF)
        return false;
    svm->step = SVM_STEP_SHADOW;
    svm->step_rip = vmcb->rip;
    svm->step_dr6 = vmcb->dr6;
    svm->step_exceptions = vmcb->intercept_exceptions;
    svm->step_intercepts = vmcb->intercepts[0];
    vmcb->intercept_exceptions = UINT32_MAX;
    vmcb->intercepts[0] |= STEP_INTERCEPTS;
    vmcb->rflags |= RFLAGS_TF;
    vcpu_special_set(vcpu, SPECIAL_BACKEND, SPECIAL_BACKEND);
    return true;
}

/* Is there this exit for the step alone? Then the instruction has done nothing yet. */
static bool is_of_step(const struct svm_vcpu *svm, uint64_t code)
{
    if (code - SVM_EXIT_EXCEPTION < 32)
        return !(svm->step_exceptions >> (code - SVM_EXIT_EXCEPTION) & 1);
    return code - SVM_EXIT_INTERCEPT < 32 &&
           (STEP_INTERCEPTS & ~svm->step_intercepts) >> (code - SVM_EXIT_INTERCEPT) & 1;
}

/*
 * The instruction that was to be stepped over may not be done: then all is as it was before, be it that NMIs are
 * blocked, until the IRET is, or that STI was just executed. True: the exit is the step's alone.
 */
static bool note_step(struct svm_vcpu *svm)
{
    struct vmcb *vmcb = svm->vmcb;
    enum svm_step step = svm->step;
    bool moved = vmcb->rip != svm->step_rip;
    bool trapped = vmcb->exit_code == SVM_EXIT_EXCEPTION + 1;

    svm->step = SVM_STEP_NONE;
    if (step == SVM_STEP_SHADOW) {
        vmcb->rflags &= ~RFLAGS_TF;
        vmcb->intercept_exceptions = svm->step_exceptions;
        vmcb->intercepts[0] = svm->step_intercepts;
        if (is_of_step(svm, vmcb->exit_code)) {
            vmcb->interrupt_shadow = 0;
            return true;
        }
        if (!trapped)
            vmcb->interrupt_shadow = !moved;
    } else {
        bool done = moved || vmcb->rsp != svm->step_rsp;
        svm_block_nmi(svm, !done);
        if (step == SVM_STEP_TRAP && !done)
            vmcb->rflags &= ~RFLAGS_TF;
        trapped &= step == SVM_STEP_TRAP && done;
    }
    if (trapped)
        vmcb->dr6 = svm->step_dr6;
    return trapped;
}

/* ---- exits that guests have often -------------------------------------------------------------- */

/* EXITINFO1 (APM 2, 15.10.2): bit 0 IN, 2 string, 3 REP, 4-6 size, 7-9 address size, 10-12 segment. */
static ALWAYS_INLINE uint64_t io_qualification(const struct vmcb *vmcb)
{
    uint64_t info = vmcb->exit_info1, segment = svm_features.decode_assists ? info >> 10 & 7 : 7;
    uint64_t basic = (info >> 16 & 0xffff) | (info >> 4 & 7) << 16 | (info & 1) * VCPU_IO_IN;
    if (likely(!(info & 12)))
        return basic;
    return basic | (info >> 2 & 1) * VCPU_IO_STRING | (info >> 3 & 1) * VCPU_IO_REP |
           segment << VCPU_IO_SEGMENT_SHIFT | (info >> 7 & 7) * 2 << VCPU_IO_ADDRESS_SHIFT;
}

/* The error code of a nested fault is that of a page fault, with two bits of its own (15.25.6). */
static void nested_fault(const struct vmcb *vmcb, struct vcpu_exit_info *exit)
{
    uint64_t error = vmcb->exit_info1;
    uint64_t access = error & 2 ? VCPU_ACCESS_WRITE : error & 16 ? VCPU_ACCESS_EXECUTE
                                                                 : VCPU_ACCESS_READ;
    exit->qualification = access | (error & 1 ? VCPU_ACCESS_PRESENT : 0) |
                          (error >> 33 & 1 ? VCPU_ACCESS_PAGE_WALK : 0);
    exit->address = vmcb->exit_info2;
}

/* Of exits that guests have often; false: it is another. */
static ALWAYS_INLINE bool details(const struct vcpu *vcpu, uint64_t code, struct vcpu_exit_info *exit)
{
    const struct vmcb *vmcb = vcpu->svm->vmcb;

    if (code == SVM_EXIT_IOIO) {
        exit->reason = EXIT_IO;
        exit->qualification = io_qualification(vmcb);
        exit->instruction_length = (uint32_t)(vmcb->exit_info2 - vmcb->rip) & 15; /* the next RIP */
    } else if (code == SVM_EXIT_MSR && !svm_by_hand((uint32_t)vcpu->state->gpr[1])) {
        vcpu_exit_msr(vcpu, vmcb->exit_info1 & 1, exit);
    } else if (code == SVM_EXIT_VINTR) {
        exit->reason = EXIT_INTERRUPTIBLE;
        exit->instruction_length = 0;
    } else if (code == SVM_EXIT_NESTED_FAULT) {
        exit->reason = EXIT_GUEST_FAULT;
        exit->instruction_length = 0;
        nested_fault(vmcb, exit);
    } else {
        return false;
    }
    return true;
}

/* ---- special entries and exits ----------------------------------------------------------------- */

/* What only some entries need. True: the guest is where the VMM wants it; do not enter. */
static bool prepare_entry(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->svm;
    bool own_event = vcpu->pending_event && vcpu->event_outcome != VCPU_EVENT_NOT_TRIED;

    if (vcpu->flags & VCPU_EXIT_NMI_WINDOW && !svm->nmi_blocked && !own_event)
        return true;
    if (unlikely(svm->vmcb->interrupt_shadow) && step_over_shadow(vcpu))
        return false;
    /* An interrupt that is pending for no other purpose than to be intercepted; until the exit. */
    svm->vmcb->interrupt_control |= vcpu->flags & VCPU_EXIT_INTERRUPTIBLE ? SVM_V_WINDOW : 0;
    if (vcpu->pending_event)
        inject(vcpu);
    if (vcpu->waiting)
        set_virtual(svm->vmcb, vcpu->waiting);
    return false;
}

/* MSRs that no instruction of SVM switches. The host's are 0. */
static __attribute__((noinline)) void load_msrs(const struct vcpu *vcpu)
{
    if (vcpu->svm->by_hand & VCPU_MSR_TSC_AUX)
        write_msr(MSR_TSC_AUX, vcpu->tsc_aux);
    if (vcpu->svm->by_hand & VCPU_MSR_SPEC_CTRL)
        write_msr(MSR_SPEC_CTRL, vcpu->spec_ctrl);
}

static void save_msrs(struct vcpu *vcpu)
{
    if (vcpu->svm->by_hand & VCPU_MSR_SPEC_CTRL) {
        vcpu->spec_ctrl = read_msr(MSR_SPEC_CTRL);
        write_msr(MSR_SPEC_CTRL, 0);
    }
    if (vcpu->svm->by_hand & VCPU_MSR_TSC_AUX) {
        vcpu->tsc_aux = (uint32_t)read_msr(MSR_TSC_AUX);
        write_msr(MSR_TSC_AUX, 0);
    }
}

/*
 * What is in XCR0 is the guest's as soon as it has CR4.OSXSAVE: the host's, if it set that bit without an
 * exit; and QEMU 7.2 lets XSETBV through, though it is intercepted.
 */
static void note_xcr0(struct cpu *cpu, struct vcpu *vcpu)
{
    uint64_t xcr0 = read_xcr0();
    if (vcpu->osxsave && xcr0 == vcpu->xcr0)
        return;
    vcpu->osxsave = true;
    vcpu->xcr0 = cpu->x86.loaded_xcr0 = xcr0;
    vcpu_note_special(vcpu);
}

static _Noreturn __attribute__((noinline)) void exited_slowly(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->svm;
    struct vmcb *vmcb = svm->vmcb;
    struct vcpu_exit_info exit = {.reason = EXIT_NONE};

    if (vmcb->cr4 & CR4_OSXSAVE)
        note_xcr0(this_cpu(), vcpu);
    if ((uint32_t)vmcb->exit_code == SVM_EXIT_INVALID) {
        undo_injection(vcpu);
        exit.reason = EXIT_ENTRY_FAILED;
        exit.qualification = vmcb->exit_code;
        exit.rip = vmcb->rip;
        /* Nothing says that the processor has not put some of the host's state there by then. */
        svm_begin(vcpu);
        vcpu_reset(vcpu, VCPU_GROUP_ALL & ~(VCPU_GROUP_TIME | VCPU_GROUP_EVENT | VCPU_GROUP_POLICY));
        svm_take_asid(this_cpu(), svm);
        vcpu_exited(vcpu, &exit);
    }
    if (vmcb->exit_event & VCPU_EVENT_VALID || vcpu->pending_event)
        note_cut_event(vcpu);
    if (vmcb->exit_code == SVM_EXIT_INTR && !svm->step)
        vcpu_exited(vcpu, &exit); /* the host's: it says nothing of the guest */
    exit.instruction_length = svm_instruction_length(vmcb);
    if ((!svm->step || !note_step(svm)) && !details(vcpu, vmcb->exit_code, &exit))
        svm_decode(vcpu, vmcb->exit_code, &exit);
    vcpu_special_set(vcpu, SPECIAL_BACKEND, svm->step ? SPECIAL_BACKEND : 0);
    exit.interruptibility = svm_interruptibility(vcpu);
    exit.rip = vmcb->rip;
    vcpu_exited(vcpu, &exit);
}

/* ---- into the guest, and out of it ----------------------------------------------------------- */

static _Noreturn ALWAYS_INLINE void enter_now(struct cpu *cpu, struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->svm;
    svm->host->fs.base = cpu->x86.loaded_fs_base;
    if (read_cr2() != svm->vmcb->cr2) /* VMRUN loads it, but not in Bochs */
        write_cr2(svm->vmcb->cr2);
    if (unlikely(svm->by_hand))
        load_msrs(vcpu);
    svm_check_entry(vcpu);
    svm_run(vcpu->state->gpr, svm->vmcb, svm->vmcb_physical, svm->host_physical);
}

static _Noreturn __attribute__((noinline)) void enter_slowly(struct cpu *cpu, struct vcpu *vcpu)
{
    if (vcpu->object.owner->guest_generation != vcpu->guest_generation)
        flush(cpu, vcpu);
    if ((vcpu->special || vcpu->svm->vmcb->interrupt_shadow) && prepare_entry(vcpu)) {
        struct vcpu_exit_info exit = {.reason = EXIT_NMI_WINDOW,
                                      .interruptibility = svm_interruptibility(vcpu),
                                      .rip = vcpu->svm->vmcb->rip};
        vcpu_exited(vcpu, &exit);
    }
    enter_now(cpu, vcpu);
}

_Noreturn void svm_enter(struct vcpu *vcpu, bool set_rip, uint64_t rip)
{
    if (set_rip)
        svm_set_rip(vcpu, rip);
    if (unlikely((vcpu->object.owner->guest_generation ^ vcpu->guest_generation) | vcpu->special |
                 vcpu->svm->vmcb->interrupt_shadow))
        enter_slowly(this_cpu(), vcpu);
    enter_now(this_cpu(), vcpu);
}

/* An exit that cut no event, of a kind that guests have often: answered; returns, with nothing done, if it is
 * another. */
static ALWAYS_INLINE void answer(struct vcpu *vcpu, uint32_t special)
{
    const struct vmcb *vmcb = vcpu->svm->vmcb;
    struct vcpu_exit_info exit = {.instruction_length = svm_instruction_length(vmcb)};
    uint64_t code = vmcb->exit_code;

    if (unlikely(vmcb->exit_event & VCPU_EVENT_VALID) || unlikely(special & ~SPECIAL_CALL) ||
        unlikely(vmcb->cr4 & CR4_OSXSAVE && !(vcpu->osxsave && read_xcr0() == vcpu->xcr0)))
        return;
    exit.reason = likely(code < SVM_EXITS) ? svm_exits[code] : EXIT_COUNT;
    if (unlikely(!exit.reason) || (unlikely(exit.reason >= EXIT_COUNT) && !details(vcpu, code, &exit)))
        return;
    vcpu_answer(this_cpu(), vcpu, special, exit.reason, exit.qualification, exit.address,
                exit.instruction_length, svm_interruptibility(vcpu), vmcb->rip);
}

/* Undoes what was set for this run alone. */
static _Noreturn __attribute__((noinline)) void exited_specially(struct vcpu *vcpu, uint32_t special)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    save_msrs(vcpu);
    end_virtual_injection(vcpu);
    vmcb->interrupt_control &= ~(SVM_V_WINDOW | 0xffull << SVM_V_VECTOR_SHIFT);
    vmcb->event = 0;
    answer(vcpu, special);
    exited_slowly(vcpu);
}

/* From svm_entry.S, with the host's state back. */
_Noreturn void svm_exited(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    uint32_t special = vcpu->special;

    if (unlikely(vmcb->tlb_control))
        note_flush(this_cpu(), vmcb);
    if (unlikely(special | vcpu->svm->by_hand))
        exited_specially(vcpu, special);
    answer(vcpu, 0);
    exited_slowly(vcpu);
}
