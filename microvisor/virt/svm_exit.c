/* What an exit of AMD-V means, in the terms of abi/vcpu.h (APM 2, appendix C and 15.9-15.13). */
#include "virt/svm.h"

#include "core/task.h"

#define DR6_CAUSES 0xe00full
#define DR6_BS 0x4000ull
#define NO_OPERAND 0xff00u
#define OPERAND_UNKNOWN (1u << 18)

#define DETAILS 0x80 /* has more to say than its reason */
#define EVENT 0xc0   /* and no instruction caused it, so that next_rip means nothing */

const uint8_t svm_exits[SVM_EXITS] = {
    [0x00 ... 0x0f] = EXIT_CR_READ | DETAILS, [0x10 ... 0x1f] = EXIT_CR_WRITE | DETAILS,
    [0x20 ... 0x3f] = EXIT_DR | DETAILS, [0x40 ... 0x5f] = EXIT_EXCEPTION | EVENT,
    [0x60 ... 0x61] = EXIT_NONE | EVENT /* INTR, NMI: pending until the host lets them in */,
    [0x63] = EXIT_SHUTDOWN_OTHER | EVENT, [0x64] = EXIT_INTERRUPTIBLE | EVENT,
    [0x65] = EXIT_CR_WRITE | DETAILS, [0x66 ... 0x6d] = EXIT_DESCRIPTOR | DETAILS,
    [0x6e] = EXIT_RDTSC, [0x6f] = EXIT_RDPMC, [0x72] = EXIT_CPUID,
    [0x74] = EXIT_NONE | EVENT /* IRET */, [0x76] = EXIT_INVD, [0x77] = EXIT_PAUSE,
    [0x78] = EXIT_HLT, [0x79] = EXIT_INVLPG | DETAILS, [0x7a] = EXIT_VIRT_INSTRUCTION /* INVLPGA */,
    [0x7b] = EXIT_IO | DETAILS, [0x7c] = EXIT_MSR_READ | DETAILS, [0x7d] = EXIT_TASK_SWITCH | EVENT,
    [0x7f] = EXIT_TRIPLE_FAULT | EVENT, [0x80] = EXIT_VIRT_INSTRUCTION /* VMRUN */,
    [0x81] = EXIT_HYPERCALL,
    [0x82 ... 0x86] = EXIT_VIRT_INSTRUCTION /* VMLOAD VMSAVE STGI CLGI SKINIT */,
    [0x87] = EXIT_RDTSCP, [0x89] = EXIT_WBINVD, [0x8a] = EXIT_MONITOR,
    [0x8b ... 0x8c] = EXIT_MWAIT, [0x8d] = EXIT_XSETBV,
};

/* Bit 63 of EXITINFO1 tells MOV to a control register from CLTS and LMSW, whose operand is nowhere to be
 * found (APM 2, 15.8.1). */
static void exit_register(const struct vmcb *vmcb, uint64_t code, struct vcpu_exit_info *exit)
{
    bool write = exit->reason == EXIT_CR_WRITE;
    bool known = svm_features.decode_assists && (!write || vmcb->exit_info1 >> 63);
    uint64_t number = code == SVM_EXIT_CR0_SELECTIVE ? 0 : code & 15;

    exit->qualification = number | (known ? (vmcb->exit_info1 & 15) << 8 : NO_OPERAND) |
                          (write && !known ? OPERAND_UNKNOWN : 0) |
                          (code >= SVM_EXIT_DR_READ && code < SVM_EXIT_DR_WRITE ? 1u << 31 : 0);
    if (write && number == 8)
        exit->reason = EXIT_CR8_WRITE;
}

static void exit_exception(struct vcpu *vcpu, unsigned vector, struct vcpu_exit_info *exit)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;
    uint64_t error = vector == VECTOR_AC ? VCPU_EVENT_HAS_ERROR : 0;

    /* An intercepted #DB has set DR6 (APM 2, 15.12.2); in Bochs it has not. */
    if (vector == VECTOR_DB && vmcb->rflags & RFLAGS_TF && !(vmcb->dr6 & DR6_CAUSES))
        vmcb->dr6 |= DR6_BS;
    exit->address = vector == VECTOR_PF ? vmcb->exit_info2 : 0;
    vcpu_exit_exception(vcpu, VCPU_EVENT(vector, VCPU_EVENT_EXCEPTION) | error, vmcb->exit_info1, exit);
}

/* EXITINFO2 (APM 2, 15.14.1): bit 36 IRET, 38 far JMP; the lower half is the error code. */
static void exit_task_switch(const struct vcpu *vcpu, struct vcpu_exit_info *exit)
{
    uint64_t info = vcpu->svm->vmcb->exit_info2;
    uint64_t source = info >> 36 & 1 ? 1 : info >> 38 & 1 ? 2 : vcpu->pending_event ? 3 : 0;
    exit->qualification = (vcpu->svm->vmcb->exit_info1 & 0xffff) | source << 30;
    exit->address = info & UINT32_MAX;
}

/* The guest is about to execute the IRET that ends the blocking of NMIs: it runs, and what comes next
 * finds NMIs open. If the VMM waits for that, a single-step trap is next. */
static void let_iret_run(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->svm;
    struct vmcb *vmcb = svm->vmcb;

    svm_intercept(vmcb, SVM_IRET, false);
    svm->step = SVM_STEP_IRET;
    svm->step_rip = vmcb->rip;
    svm->step_rsp = vmcb->rsp;
    svm->step_dr6 = vmcb->dr6;
    if (vcpu->flags & VCPU_EXIT_NMI_WINDOW && !(vmcb->rflags & RFLAGS_TF)) {
        svm->step = SVM_STEP_TRAP;
        vmcb->rflags |= RFLAGS_TF;
    }
}

void svm_decode(struct vcpu *vcpu, uint64_t code, struct vcpu_exit_info *exit)
{
    static const uint8_t tables[4] = {1, 0, 2, 3}; /* IDTR GDTR LDTR TR, then the same loaded */
    const struct vmcb *vmcb = vcpu->svm->vmcb;
    unsigned kind = code < SVM_EXITS ? svm_exits[code] : 0;

    exit->reason = kind & ~EVENT;
    if ((kind & EVENT) == EVENT)
        exit->instruction_length = 0;
    switch (exit->reason) {
    case EXIT_NONE:
        if (!kind)
            exit->reason = EXIT_UNKNOWN;
        else if (code == SVM_EXIT_IRET)
            let_iret_run(vcpu);
        /* fall through */
    case EXIT_SHUTDOWN_OTHER: exit->qualification = code; break;
    case EXIT_CR_READ:
    case EXIT_CR_WRITE:
    case EXIT_DR: exit_register(vmcb, code, exit); break;
    case EXIT_EXCEPTION: exit_exception(vcpu, code & 31, exit); break;
    case EXIT_DESCRIPTOR:
        code -= SVM_EXIT_DESCRIPTOR;
        exit->qualification = tables[code & 3] | (code & 4);
        break;
    case EXIT_INVLPG:
        exit->qualification = svm_features.decode_assists ? vmcb->exit_info1 : 0;
        break;
    case EXIT_MSR_READ: /* one that is switched by hand */
        vcpu_exit_msr(vcpu, vmcb->exit_info1 & 1, exit);
        if (exit->reason == EXIT_MSR_WRITE && svm_let_write(vcpu, (uint32_t)exit->qualification))
            exit->reason = EXIT_NONE;
        break;
    case EXIT_TASK_SWITCH: exit_task_switch(vcpu, exit); break;
    default: break;
    }
}
