/* VMX: between the state page and the VMCS, group by group. */
#include "virt/vmx.h"

#include "core/task.h"
#include "x86/instructions.h"

/*
 * A guest never owns CR0.NE, which VMX needs as 1, nor CD and NW, which VM entry leaves alone (SDM
 * 3, 27.3.2.1); nor CR4.MCE, lest a machine check in the guest stop the machine, nor OSXSAVE, with
 * which its XCR0 begins to count, nor a bit of CR4 beyond those that the kernel lets guests have.
 */
#define CR0_UNCACHED (CR0_CD | CR0_NW)
#define CR0_KEPT (CR0_UNCACHED | CR0_NE)
#define CR4_KEPT (CR4_MCE | CR4_OSXSAVE)

/* ---- control registers ----------------------------------------------------------------------- */

static uint64_t guest_view(uint64_t field, uint64_t shadow, uint64_t mask)
{
    return (vmcs_read(field) & ~mask) | (vmcs_read(shadow) & mask);
}

static void set_cr0(uint64_t value)
{
    vmcs_write(FIELD_CR0_SHADOW, value);
    vmcs_write(FIELD_GUEST_CR0, (value & ~CR0_UNCACHED) | CR0_NE | CR0_ET);
}

static void set_cr4(uint64_t value)
{
    vmcs_write(FIELD_CR4_SHADOW, value);
    vmcs_write(FIELD_GUEST_CR4, value | CR4_VMXE | CR4_MCE);
}

static void write_control(struct vcpu *vcpu, const struct vcpu_state *from)
{
    struct vmx_vcpu *v = vcpu->vmx;
    set_cr0(from->cr0);
    set_cr4(from->cr4);
    vmcs_write(FIELD_GUEST_EFER, from->efer);
    vmcs_write(FIELD_ENTRY_CONTROLS,
               vmx_features.entry | (from->efer & EFER_LMA ? ENTRY_LONG_MODE : 0));
    v->virtual_apic[VIRTUAL_APIC_TPR] = (uint8_t)(from->cr8 << 4);
}

static void read_control_bits(const struct vmx_vcpu *v, struct vcpu_state *to)
{
    to->cr0 = guest_view(FIELD_GUEST_CR0, FIELD_CR0_SHADOW, v->cr0_mask);
    to->cr4 = guest_view(FIELD_GUEST_CR4, FIELD_CR4_SHADOW, v->cr4_mask);
    to->efer = vmcs_read(FIELD_GUEST_EFER);
}

static void read_control(const struct vmx_vcpu *v, struct vcpu_state *to)
{
    read_control_bits(v, to);
    to->cr8 = v->virtual_apic[VIRTUAL_APIC_TPR] >> 4;
    /* The processor keeps them in PAE mode alone (28.3.1). */
    if (!(to->cr0 & CR0_PG) || !(to->cr4 & CR4_PAE) || to->efer & EFER_LMA)
        memset(to->pdpte, 0, sizeof(to->pdpte));
}

/* ---- policy ---------------------------------------------------------------------------------- */

/* A bit that is clear lets an access through: reads in the first half, writes 2 KiB behind
 * (25.6.9). */
void vmx_let_msr(uint8_t *bitmap, uint32_t msr, unsigned bits)
{
    uint8_t *at = bitmap + (msr >> 30 ? 1024 : 0) + (msr & 0x1fff) / 8;
    at[0] &= bits & MSR_LET_READ ? (uint8_t)~(1u << msr % 8) : 0xff;
    at[2048] &= bits & MSR_LET_WRITE ? (uint8_t)~(1u << msr % 8) : 0xff;
}

static void write_policy(struct vcpu *vcpu)
{
    static const uint32_t controls[] = {PRIMARY_CR3,   PRIMARY_INVLPG, PRIMARY_RDTSC,
                                        PRIMARY_PAUSE, PRIMARY_MOV_DR, 0 /* secondary */,
                                        PRIMARY_CR8_LOAD};
    struct vmx_vcpu *v = vcpu->vmx;
    v->changed = true;
    v->primary_policy = vmx_features.primary;
    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++)
        v->primary_policy |= vcpu->intercepts >> i & 1 ? controls[i] : 0;
    uint32_t secondary = vcpu->intercepts & VCPU_INTERCEPT_DESCRIPTOR ? SECONDARY_DESCRIPTOR : 0;
    vmcs_write(FIELD_SECONDARY_CONTROLS,
               vmx_features.secondary | (secondary & vmx_features.secondary_allowed));
    vmcs_write(FIELD_EXCEPTION_BITMAP, vcpu->exception_exits | EXCEPTIONS_ALWAYS);

    uint64_t cr0 = guest_view(FIELD_GUEST_CR0, FIELD_CR0_SHADOW, v->cr0_mask);
    uint64_t cr4 = guest_view(FIELD_GUEST_CR4, FIELD_CR4_SHADOW, v->cr4_mask);
    v->cr0_mask = ~vcpu->cr0_guest_owned | CR0_KEPT;
    v->cr4_mask = ~vcpu->cr4_guest_owned | ~vcpu_limits.cr4 | CR4_KEPT;
    vmcs_write(FIELD_CR0_MASK, v->cr0_mask);
    vmcs_write(FIELD_CR4_MASK, v->cr4_mask);
    set_cr0(cr0);
    set_cr4(cr4);
}

/*
 * How many of the list's entries this guest needs: those that it can see, by an instruction that
 * uses them or because they are let through. A host's value that is the guest's too needs no
 * switching.
 */
static void count_msrs(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vcpu->vmx;
    uint64_t direct = vcpu->msr_direct, efer = vmcs_read(FIELD_GUEST_EFER);
    uint32_t count = 0;
    if (efer & EFER_LME || direct & VCPU_MSR_FS_GS_BASE)
        count = SWITCH_KERNEL_GS_BASE + 1; /* SWAPGS */
    if (efer & EFER_SCE || direct & VCPU_MSR_SYSCALL)
        count = SWITCH_SFMASK + 1;
    if (v->guest_msrs[SWITCH_TSC_AUX].value != v->host_msrs[SWITCH_TSC_AUX].value ||
        direct & VCPU_MSR_TSC_AUX)
        count = SWITCH_TSC_AUX + 1; /* RDTSCP */
    if (v->guest_msrs[SWITCH_SPEC_CTRL].value != v->host_msrs[SWITCH_SPEC_CTRL].value ||
        direct & VCPU_MSR_SPEC_CTRL)
        count = SWITCH_SPEC_CTRL + 1;
    vmcs_write(FIELD_ENTRY_MSR_LOAD_COUNT, count);
    vmcs_write(FIELD_EXIT_MSR_STORE_COUNT, count);
    vmcs_write(FIELD_EXIT_MSR_LOAD_COUNT, count);
}

/* ---- RIP and what goes with it --------------------------------------------------------------- */

void vmx_where(struct vcpu *vcpu, struct vcpu_exit_info *exit)
{
    vmx_load(vcpu);
    uint32_t rflags = (uint32_t)vmcs_read(FIELD_GUEST_RFLAGS);
    uint32_t blocked = (uint32_t)vmcs_read(FIELD_INTERRUPTIBILITY) & VCPU_BLOCKED;
    vcpu->vmx->interruptibility = blocked | (rflags & RFLAGS_TF);
    exit->interruptibility = blocked | (rflags & RFLAGS_IF ? VCPU_IF : 0);
    exit->rip = vmcs_read(FIELD_GUEST_RIP);
}

/*
 * The VMM has done the guest's instruction: the shadow of the one before ends, and a guest that
 * single-steps itself gets its #DB (25.4.2, "pending debug exceptions").
 */
void vmx_end_shadow(struct vmx_vcpu *v)
{
    if (v->interruptibility & RFLAGS_TF)
        vmcs_write(FIELD_PENDING_DEBUG, PENDING_DEBUG_BS);
    v->interruptibility &= ~VCPU_SHADOW;
    vmcs_write(FIELD_INTERRUPTIBILITY, v->interruptibility & VCPU_BLOCKED_BY_NMI);
}

void vmx_set_rip(struct vcpu *vcpu, uint64_t rip)
{
    vmx_load(vcpu);
    vmcs_write(FIELD_GUEST_RIP, rip);
    vmx_end_shadow(vcpu->vmx);
}

static void write_interruptibility(struct vcpu *vcpu, const struct vcpu_state *from)
{
    uint32_t blocked = from->interruptibility & VCPU_BLOCKED;
    bool pending = blocked & VCPU_SHADOW && from->rflags & RFLAGS_TF;
    vmcs_write(FIELD_INTERRUPTIBILITY, blocked);
    /* With a shadow the processor wants a pending single step to be told (27.3.1.5). */
    vmcs_write(FIELD_PENDING_DEBUG, pending ? PENDING_DEBUG_BS : 0);
    vcpu->vmx->interruptibility = blocked | (from->rflags & RFLAGS_TF);
}

/* ---- groups ---------------------------------------------------------------------------------- */

void vmx_write(struct vcpu *vcpu, uint32_t groups, const struct vcpu_state *from)
{
    if (groups & VCPU_GROUP_RIP)
        write_interruptibility(vcpu, from);
    if (groups & VCPU_GROUP_CONTROL)
        write_control(vcpu, from);
    if (groups & VCPU_GROUP_POLICY)
        write_policy(vcpu);
    if (groups & (VCPU_GROUP_CONTROL | VCPU_GROUP_MISC | VCPU_GROUP_POLICY))
        count_msrs(vcpu);
}

static void read_instruction(const struct vmx_vcpu *v, struct vcpu_state *to)
{
    to->gpr[4] = vmcs_read(FIELD_GUEST_RSP);
    to->rip = vmcs_read(FIELD_GUEST_RIP);
    to->rflags = vmcs_read(FIELD_GUEST_RFLAGS);
    to->cr3 = vmcs_read(FIELD_GUEST_CR3);
    read_control_bits(v, to);
    to->segment[VCPU_CS].attributes = (uint32_t)vmcs_read(FIELD_GUEST_RIGHTS + 2 * VCPU_CS);
    to->segment[VCPU_SS].attributes = (uint32_t)vmcs_read(FIELD_GUEST_RIGHTS + 2 * VCPU_SS);
    to->guest_linear = vmcs_read(FIELD_GUEST_LINEAR);
    to->instruction_count = 0;
}

void vmx_read(struct vcpu *vcpu, uint32_t groups, struct vcpu_state *to)
{
    if (groups & VCPU_GROUP_INSTRUCTION)
        read_instruction(vcpu->vmx, to);
    if (groups & VCPU_GROUP_RIP)
        to->interruptibility = (uint32_t)vmcs_read(FIELD_INTERRUPTIBILITY) & VCPU_BLOCKED;
    if (groups & VCPU_GROUP_CONTROL)
        read_control(vcpu->vmx, to);
}
