/* VMX: the fields of a new VMCS that are not the guest's state. */
#include "virt/vmx.h"

#include "core/task.h"
#include "x86/features.h"
#include "x86/instructions.h"

/* After VMCLEAR fields hold anything: each that the processor may look at is written once. */
static const uint16_t zero_fields[] = {
    /* With both 0, bit 14 of the exception bitmap decides about page faults (25.6.3). */
    FIELD_PAGE_FAULT_MASK, FIELD_PAGE_FAULT_MATCH, FIELD_CR3_TARGETS, FIELD_ENTRY_EVENT,
    FIELD_TPR_THRESHOLD, FIELD_ACTIVITY,
    /* The host's: SYSENTER has no target, so that it faults; CR3 and FS base follow at each
     * entry. */
    FIELD_HOST_SELECTOR + 2 * VCPU_ES, FIELD_HOST_SELECTOR + 2 * VCPU_DS,
    FIELD_HOST_SELECTOR + 2 * VCPU_FS, FIELD_HOST_SELECTOR + 2 * VCPU_GS, FIELD_HOST_SYSENTER_CS,
    FIELD_HOST_SYSENTER_ESP, FIELD_HOST_SYSENTER_EIP, FIELD_HOST_CR3, FIELD_HOST_FS_BASE,
};
struct field_value {
    uint64_t field, value;
};
#define WRITE_FIELDS(fields)                                                                       \
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)                                              \
        vmcs_write(fields[i].field, fields[i].value)

/* The kernel as an exit finds it again. CR0.TS is always set while a vCPU's FPU registers are
 * live. */
static void init_host(struct cpu *cpu, struct vmx_vcpu *v)
{
    uint16_t cs, ss, tr;
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr;
    __asm__("mov %%cs, %0; mov %%ss, %1; str %2" : "=r"(cs), "=r"(ss), "=r"(tr));
    __asm__("sgdt %0; sidt %1" : "=m"(v->gdtr), "=m"(idtr));
    const struct field_value fields[] = {
        {FIELD_HOST_CR0, read_cr0() | CR0_TS}, {FIELD_HOST_CR4, read_cr4()},
        {FIELD_HOST_SELECTOR + 2 * VCPU_CS, cs}, {FIELD_HOST_SELECTOR + 2 * VCPU_SS, ss},
        {FIELD_HOST_TR_SELECTOR, tr}, {FIELD_HOST_TR_BASE, (uint64_t)&cpu->x86.tss},
        {FIELD_HOST_GS_BASE, (uint64_t)cpu}, {FIELD_HOST_GDTR_BASE, v->gdtr.base},
        {FIELD_HOST_IDTR_BASE, idtr.base}, {FIELD_HOST_EFER, read_msr(MSR_EFER)},
        {FIELD_HOST_PAT, read_msr(MSR_PAT)}, {FIELD_HOST_RIP, (uint64_t)vmx_exit},
        {FIELD_HOST_RSP, cpu->kernel_stack},
    };
    WRITE_FIELDS(fields);
}

static void init_msr_lists(struct vmx_vcpu *v)
{
    static const uint32_t index[SWITCH_COUNT] = {
        MSR_KERNEL_GS_BASE, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_TSC_AUX, MSR_SPEC_CTRL};
    for (unsigned i = 0; i < SWITCH_COUNT; i++) {
        v->guest_msrs[i].index = v->host_msrs[i].index = index[i];
        if (i != SWITCH_SPEC_CTRL || features.spec_ctrl_intel)
            v->host_msrs[i].value = read_msr(index[i]);
    }
    vmcs_write(FIELD_ENTRY_MSR_LOAD, frame_physical(v->guest_msrs));
    vmcs_write(FIELD_EXIT_MSR_STORE, frame_physical(v->guest_msrs));
    vmcs_write(FIELD_EXIT_MSR_LOAD, frame_physical(v->host_msrs));
}

static void init_controls(struct vcpu *vcpu, struct vmx_vcpu *v)
{
    const struct vmx_features *f = &vmx_features;
    paddr_t ports = frame_physical(vcpu->object.owner->guest_ports);
    v->primary = f->primary;
    v->ept_pointer = frame_physical(vcpu->object.owner->guest.root) | EPT_POINTER_FLAGS;
    const struct field_value fields[] = {
        {FIELD_PIN_CONTROLS, f->pin}, {FIELD_PRIMARY_CONTROLS, f->primary},
        {FIELD_EXIT_CONTROLS, f->exit}, {FIELD_ENTRY_CONTROLS, f->entry},
        {FIELD_EPT_POINTER, v->ept_pointer}, {FIELD_LINK_POINTER, UINT64_MAX},
        {FIELD_MSR_BITMAP, frame_physical(v->msr_bitmap)},
        {FIELD_IO_BITMAP_A, ports}, {FIELD_IO_BITMAP_B, ports + PAGE_SIZE},
    };
    WRITE_FIELDS(fields);
    if (f->primary & PRIMARY_TPR_SHADOW)
        vmcs_write(FIELD_VIRTUAL_APIC, frame_physical(v->virtual_apic));
    if (f->secondary & SECONDARY_XSAVES)
        vmcs_write(FIELD_XSS_EXITING, 0); /* XSS holds what the VMM was allowed to set: nothing */
    if (f->secondary & SECONDARY_ENCLS)
        vmcs_write(FIELD_ENCLS_EXITING, UINT64_MAX);
    /* An unpatched Bochs holds interrupts back from a guest that was entered with IF = 0. Then each
     * stay in the guest is at most 1/8 ms: the timer starts anew from this value at every entry. */
    if (f->pin & PIN_PREEMPTION_TIMER)
        vmcs_write(FIELD_PREEMPTION_TIMER,
                   tsc_khz / 8 >> (read_msr(MSR_VMX_MISC) & VMX_MISC_TIMER_SHIFT));
}

void vmx_begin(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vcpu->vmx;
    v->revision = vmx_features.revision;
    vmclear(frame_physical(v->vmcs));
    vmx_load(vcpu);
    for (unsigned i = 0; i < ARRAY_SIZE(zero_fields); i++)
        vmcs_write(zero_fields[i], 0);
    init_host(this_cpu(), v);
    init_msr_lists(v);
    init_controls(vcpu, v);
    v->cr0_mask = v->cr4_mask = UINT64_MAX;
}
