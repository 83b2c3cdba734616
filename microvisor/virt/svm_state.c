/* A guest's state in the VMCB: after INIT, written by the VMM, shown to it. */
#include "virt/svm.h"

#include "core/task.h"
#include "x86/instructions.h"

#define CR0_HIDDEN (CR0_CD | CR0_NW) /* guest RAM stays cached whatever the guest says */
#define CR0_SELECTIVE 0xaull     /* MP, TS: what the selective intercept lets through */

/* ---- attributes of segments: the state page's have a hole in bits 8-11, the VMCB's do not -------- */

#define ATTRIBUTE_PRESENT 0x80u
#define ATTRIBUTE_DPL_SHIFT 5

static struct svm_segment *segment(struct vmcb *vmcb, unsigned index)
{
    /* ES CS SS DS FS GS are in the same order, LDTR and TR behind GDTR and IDTR. */
    return &vmcb->es + (index == VCPU_LDTR ? 7 : index == VCPU_TR ? 9 : index);
}

static void write_attributes(struct vmcb *vmcb, const struct vcpu_segment *from)
{
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++) {
        uint32_t a = from[i].attributes;
        segment(vmcb, i)->attributes =
            a & VCPU_SEGMENT_UNUSABLE ? 0 : (uint16_t)((a & 0xff) | (a >> 4 & 0xf00));
    }
    vmcb->cpl = from[VCPU_SS].attributes >> ATTRIBUTE_DPL_SHIFT & 3;
}

static inline uint32_t attributes(const struct svm_segment *from)
{
    uint32_t a = from->attributes;
    return (a & 0xff) | (a & 0xf00) << 4 | (a & ATTRIBUTE_PRESENT ? 0 : VCPU_SEGMENT_UNUSABLE);
}

static inline uint32_t stack_attributes(const struct vmcb *vmcb)
{
    return (attributes(&vmcb->ss) & ~(3u << ATTRIBUTE_DPL_SHIFT)) | (uint32_t)vmcb->cpl << ATTRIBUTE_DPL_SHIFT;
}

static void read_attributes(struct vmcb *vmcb, struct vcpu_segment *to)
{
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++)
        to[i].attributes = attributes(segment(vmcb, i));
    to[VCPU_SS].attributes = stack_attributes(vmcb);
}

/* ---- policy ---------------------------------------------------------------------------------- */

#define BIT(intercept) (1u << ((intercept) % 32))
#define ALWAYS_0                                                                                   \
    (BIT(SVM_INTR) | BIT(SVM_NMI) | BIT(SVM_INIT) | BIT(SVM_VINTR) | BIT(SVM_RDPMC) | BIT(SVM_CPUID) | \
     BIT(SVM_INVD) | BIT(SVM_HLT) | BIT(SVM_INVLPGA) | BIT(SVM_IOIO) | BIT(SVM_MSR) |              \
     BIT(SVM_TASK_SWITCH) | BIT(SVM_FERR_FREEZE) | BIT(SVM_SHUTDOWN))
#define ALWAYS_1                                                                                   \
    (BIT(SVM_VMRUN) | BIT(SVM_VMMCALL) | BIT(SVM_VMLOAD) | BIT(SVM_VMSAVE) | BIT(SVM_STGI) |       \
     BIT(SVM_CLGI) | BIT(SVM_SKINIT) | BIT(SVM_WBINVD) | BIT(SVM_MONITOR) | BIT(SVM_MWAIT) |       \
     BIT(SVM_XSETBV) | BIT(SVM_RDPRU))
#define ALWAYS_2 (BIT(SVM_INVLPGB) | BIT(SVM_INVLPGB_ILLEGAL) | BIT(SVM_MCOMMIT) | BIT(SVM_TLBSYNC))

#define PAUSE_COUNT 3000u
#define PAUSE_THRESHOLD 128u

/* Two bits an MSR, read and write; MSRs 0-1fff, then c0000000-c0001fff (APM 2, 15.11). */
static void let_msr_through(uint8_t *map, uint32_t msr, unsigned bits)
{
    uint32_t bit = (msr & 0x1fff) * 2 + (msr >> 30 ? 0x4000 : 0);
    map[bit / 8] &= (uint8_t) ~(bits << bit % 8);
}

/* MSRs that are switched by hand are so from a guest's first write on: until then its value is the host's. */
void svm_let_msr(uint8_t *map, uint32_t msr, unsigned bits)
{
    let_msr_through(map, msr, svm_by_hand(msr) ? bits & MSR_LET_READ : bits);
}

bool svm_let_write(struct vcpu *vcpu, uint32_t msr)
{
    uint32_t bit = svm_by_hand(msr) & vcpu->msr_direct;
    if (!bit)
        return false;
    vcpu->svm->by_hand |= bit;
    let_msr_through(vcpu->svm->msr_permissions, msr, MSR_LET_WRITE);
    return true;
}

static void set_policy(struct vcpu *vcpu)
{
    /* What enum vcpu_intercept asks for, by its bits: CR3 INVLPG RDTSC PAUSE DR DESCRIPTOR CR8. */
    static const uint32_t asked[] = {0, BIT(SVM_INVLPG), BIT(SVM_RDTSC), BIT(SVM_PAUSE), 0,
                                     BIT(SVM_TR_WRITE) * 2 - BIT(SVM_IDTR_READ), 0};
    struct svm_vcpu *svm = vcpu->svm;
    struct vmcb *vmcb = svm->vmcb;
    uint32_t wanted = vcpu->intercepts;
    bool cr0_free = vcpu->cr0_guest_owned == UINT64_MAX;
    bool cr0_selective = (vcpu->cr0_guest_owned & CR0_SELECTIVE) == CR0_SELECTIVE;

    vmcb->intercepts[0] = ALWAYS_0 | (vmcb->intercepts[0] & BIT(SVM_IRET)) |
                          (cr0_selective && !cr0_free ? BIT(SVM_CR0_SELECTIVE) : 0);
    for (unsigned i = 0; i < ARRAY_SIZE(asked); i++)
        vmcb->intercepts[0] |= wanted >> i & 1 ? asked[i] : 0;
    vmcb->intercepts[1] = ALWAYS_1 | (wanted & VCPU_INTERCEPT_RDTSC ? BIT(SVM_RDTSCP) : 0);
    vmcb->intercepts[2] = ALWAYS_2;
    vmcb->intercept_cr_read = wanted & VCPU_INTERCEPT_CR3 ? 1u << 3 : 0;
    vmcb->intercept_cr_write = (uint16_t)(vmcb->intercept_cr_read |
                                          (wanted & VCPU_INTERCEPT_CR8 ? 1u << 8 : 0) |
                                          (cr0_free || cr0_selective ? 0 : 1u << 0) |
                                          (vcpu->cr4_guest_owned == UINT64_MAX ? 0 : 1u << 4));
    vmcb->intercept_dr_read = vmcb->intercept_dr_write = wanted & VCPU_INTERCEPT_DR ? 0xffff : 0;
    vmcb->intercept_dr_write |= svm_features.qemu ? 1u << 7 : 0;
    vmcb->intercept_exceptions = EXCEPTIONS_ALWAYS | vcpu->exception_exits;
    vmcb->pause_count = svm_features.pause_filter ? PAUSE_COUNT : 0;
    vmcb->pause_threshold = svm_features.pause_threshold ? PAUSE_THRESHOLD : 0;
}

/*
 * At an exit QEMU (7.2, 10.0) gives the host its CR0 back while CR4 and EFER are still the guest's: with
 * EFER.LME and without CR4.PAE paging stays off, and the host is lost. A guest without paging does not
 * mind PAE; so it is set whenever LME is, and the VMM sees to it that the guest does not clear it.
 */
static void guard_paging(struct svm_vcpu *svm)
{
    struct vmcb *vmcb = svm->vmcb;
    bool guard = svm_features.qemu && vmcb->efer & EFER_LME;

    svm->cr4_added = guard && !(vmcb->cr0 & CR0_PG) ? CR4_PAE & ~vmcb->cr4 : 0;
    vmcb->cr4 |= svm->cr4_added;
    vmcb->intercept_cr_read |= svm->cr4_added ? 1u << 4 : 0;
    vmcb->intercept_cr_write |= (svm->cr4_added ? 1u << 0 : 0) | (guard ? 1u << 4 : 0);
}

/* There is no virtual NMI mask: we keep one, and see by an intercept when IRET lifts it. */
void svm_block_nmi(struct svm_vcpu *svm, bool blocked)
{
    svm->nmi_blocked = blocked ? VCPU_BLOCKED_BY_NMI : 0;
    svm_intercept(svm->vmcb, SVM_IRET, blocked);
}

/* ---- what is not the guest's ------------------------------------------------------------------ */

void svm_begin(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = vcpu->svm;
    struct task *owner = vcpu->object.owner;
    struct vmcb *vmcb = svm->vmcb;
    uint64_t tsc_offset = vmcb->tsc_offset;

    memset(vmcb, 0, sizeof(*vmcb));
    vmcb->tsc_offset = tsc_offset;
    vmcb->nested_control = 1;
    vmcb->nested_cr3 = frame_physical(owner->guest.root);
    vmcb->iopm_base = frame_physical(owner->guest_ports);
    vmcb->msrpm_base = frame_physical(svm->msr_permissions);
    vmcb->interrupt_control = SVM_V_MASKING;
    svm->vmcb_physical = frame_physical(vmcb);
    svm->host = this_cpu()->x86.virt_host_page;
    svm->host_physical = frame_physical(svm->host);
    svm->step = SVM_STEP_NONE;
    svm->cr4_added = 0;
    svm->asid_generation = 0;
}

/* ---- groups ---------------------------------------------------------------------------------- */

void svm_write(struct vcpu *vcpu, uint32_t groups, const struct vcpu_state *from)
{
    struct svm_vcpu *svm = vcpu->svm;
    struct vmcb *vmcb = svm->vmcb;
    vmcb->cr4 &= ~svm->cr4_added;
    if (groups & VCPU_GROUP_RIP) {
        vmcb->interrupt_shadow = from->interruptibility & VCPU_SHADOW ? 1 : 0;
        svm_block_nmi(svm, from->interruptibility & VCPU_BLOCKED_BY_NMI);
    }
    if (groups & VCPU_GROUP_CONTROL) {
        vmcb->cr0 = from->cr0 & ~CR0_HIDDEN;
        svm->cr0_hidden = from->cr0 & CR0_HIDDEN;
        vmcb->cr4 = from->cr4;
        vmcb->efer = from->efer | EFER_SVME;
        vmcb->interrupt_control = (vmcb->interrupt_control & ~SVM_V_TPR) | from->cr8;
    }
    if (groups & VCPU_GROUP_SEGMENTS)
        write_attributes(vmcb, from->segment);
    if (groups & (VCPU_GROUP_POLICY | VCPU_GROUP_CONTROL))
        set_policy(vcpu);
    if (groups & (VCPU_GROUP_POLICY | VCPU_GROUP_MISC))
        svm->by_hand = (vcpu->tsc_aux ? VCPU_MSR_TSC_AUX : 0) |
                       (vcpu->spec_ctrl ? VCPU_MSR_SPEC_CTRL : 0);
    guard_paging(svm);
}

static inline void read_control(const struct svm_vcpu *svm, struct vcpu_state *to)
{
    to->cr0 = svm->vmcb->cr0 | svm->cr0_hidden;
    to->cr4 = svm->vmcb->cr4 & ~svm->cr4_added;
    to->efer = svm->vmcb->efer & ~EFER_SVME;
}

static inline void read_instruction(const struct svm_vcpu *svm, struct vcpu_state *to)
{
    const struct vmcb *vmcb = svm->vmcb;
    to->gpr[4] = vmcb->rsp;
    to->rip = vmcb->rip;
    to->rflags = vmcb->rflags;
    to->cr3 = vmcb->cr3;
    read_control(svm, to);
    to->segment[VCPU_CS].attributes = attributes(&vmcb->cs);
    to->segment[VCPU_SS].attributes = stack_attributes(vmcb);
    to->guest_linear = to->instruction_count = 0;
    /* What faulted, where the processor says so. */
    if (svm_features.decode_assists) {
        to->instruction_count = vmcb->fetched_count & 15;
        memcpy(to->instruction, vmcb->fetched, sizeof(to->instruction));
    }
}

void svm_read(struct vcpu *vcpu, uint32_t groups, struct vcpu_state *to)
{
    struct vmcb *vmcb = vcpu->svm->vmcb;

    if (groups & VCPU_GROUP_INSTRUCTION)
        read_instruction(vcpu->svm, to);
    if (groups & VCPU_GROUP_RIP)
        to->interruptibility = svm_interruptibility(vcpu);
    if (groups & VCPU_GROUP_CONTROL) {
        read_control(vcpu->svm, to);
        to->cr8 = vmcb->interrupt_control & SVM_V_TPR;
        memset(to->pdpte, 0, sizeof(to->pdpte)); /* the processor reads them from memory */
    }
    if (groups & VCPU_GROUP_SEGMENTS)
        read_attributes(vmcb, to->segment);
}
