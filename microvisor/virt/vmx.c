/*
 * VMX: is it there, each CPU's share, the life of a vCPU's VMCS. A VMCS is active on its vCPU's
 * home CPU alone, from its first use until the vCPU is destroyed.
 */
#include "virt/vmx.h"

#include "core/task.h"
#include "x86/instructions.h"
#include "x86/mitigations.h"

#include "check/watch.h"

struct vmx_features vmx_features;
bool vmx_guard, vmx_backstop;

/* How many VPIDs each CPU gives out, with 0, the host's. Debug kernels soon come to the end. */
#ifdef SEPTUM_DEBUG
#define VPIDS 64u
#else
#define VPIDS 0x10000u
#endif

/* ---- what is there --------------------------------------------------------------------------- */

#define LACKS(what) "VT-x lacks " what ": Septum needs an Intel processor of 2010 or later"

static const struct {
    uint32_t capability, place; /* place in struct vmx_features */
    uint32_t wanted, optional;
    const char *lacks;
} controls[] = {
    {MSR_VMX_TRUE_PIN, offsetof(struct vmx_features, pin),
     PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI, 0, LACKS("virtual NMIs")},
    {MSR_VMX_TRUE_PRIMARY, offsetof(struct vmx_features, primary),
     PRIMARY_TSC_OFFSET | PRIMARY_HLT | PRIMARY_RDPMC | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS |
         PRIMARY_SECONDARY, PRIMARY_TPR_SHADOW | PRIMARY_MWAIT | PRIMARY_MONITOR,
     LACKS("its second set of controls")},
    {MSR_VMX_TRUE_EXIT, offsetof(struct vmx_features, exit),
     EXIT_HOST_64 | EXIT_SAVE_DEBUG | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER |
         EXIT_LOAD_EFER, 0, LACKS("a control of exits")},
    {MSR_VMX_TRUE_ENTRY, offsetof(struct vmx_features, entry),
     ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, 0, LACKS("a control of entries")},
    {MSR_VMX_SECONDARY, offsetof(struct vmx_features, secondary),
     SECONDARY_EPT | SECONDARY_VPID | SECONDARY_UNRESTRICTED | SECONDARY_RDTSCP,
     SECONDARY_WBINVD | SECONDARY_INVPCID | SECONDARY_ENCLS | SECONDARY_XSAVES,
     LACKS("extended page tables, VPIDs or unrestricted guests")},
};

/* NULL, or what is missing. */
static const char *features_read(struct vmx_features *f)
{
    uint64_t basic = read_msr(MSR_VMX_BASIC), needed = VMX_EPT_NEEDED | VMX_VPID_NEEDED;
    if ((basic & VMX_BASIC_NEEDED) != VMX_BASIC_NEEDED)
        return LACKS("its second set of capability registers");
    f->revision = (uint32_t)basic & 0x7fffffff;
    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
        uint64_t allowed = read_msr(controls[i].capability); /* must be 1, may be 1 (SDM 3, A.2) */
        uint32_t may = (uint32_t)(allowed >> 32);
        *(uint32_t *)((char *)f + controls[i].place) =
            ((controls[i].wanted | controls[i].optional) & may) | (uint32_t)allowed;
        if (controls[i].wanted & ~may)
            return controls[i].lacks;
        f->secondary_allowed = may; /* the last ones */
    }
    if (vmx_backstop)
        f->pin |= (uint32_t)(read_msr(MSR_VMX_TRUE_PIN) >> 32) & PIN_PREEMPTION_TIMER;
    if (!(f->primary & PRIMARY_TPR_SHADOW))
        f->primary |= PRIMARY_CR8_LOAD | PRIMARY_CR8_STORE;
    if ((read_msr(MSR_VMX_EPT_VPID) & needed) != needed)
        return LACKS("extended page tables that are write-back and can be flushed one by one");
    return NULL;
}

/* True if VMXON is allowed on this CPU. An open lock is closed, as VMXON demands (SDM 3, 24.7). */
static bool feature_control_open(void)
{
    uint64_t control = read_msr(MSR_FEATURE_CONTROL);
    if (!(control & FEATURE_CONTROL_LOCKED)) {
        control |= FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX;
        write_msr(MSR_FEATURE_CONTROL, control);
    }
    return control & FEATURE_CONTROL_VMX;
}

static bool vmx_probe(const char **why)
{
    *why = feature_control_open() ? features_read(&vmx_features)
                                  : "the firmware has locked VT-x off: switch on \"VT-x\" or "
                                    "\"virtualization\" in its set-up, then power the machine off "
                                    "and on";
    if (*why)
        return false;
    table_format_ept.largest_leaf = read_msr(MSR_VMX_EPT_VPID) & VMX_EPT_1G ? 2 : 1;
    vmx_guard = mitigations.rsb_fill || mitigations.l1d_flush || mitigations.verw;
    return true;
}

static bool vmx_cpu_enable(struct cpu *cpu)
{
    struct vmx_features here;
    uint32_t *region = frames_alloc(0);
    /* The controls were chosen on the boot CPU. */
    if (!region || !feature_control_open() || features_read(&here) ||
        memcmp(&here, &vmx_features, sizeof(here)))
        return false;
    *region = vmx_features.revision;
    cpu->x86.virt_page = region;
    cpu->x86.asid_next = cpu->x86.asid_generation = 1;
    write_cr0((read_cr0() | read_msr(MSR_VMX_CR0_FIXED0)) & read_msr(MSR_VMX_CR0_FIXED1));
    write_cr4((read_cr4() | read_msr(MSR_VMX_CR4_FIXED0)) & read_msr(MSR_VMX_CR4_FIXED1));
    return vmxon(frame_physical(region)) && invvpid(INVALIDATE_ALL, (struct vmx_context){0, 0});
}

/* ---- a vCPU's life --------------------------------------------------------------------------- */

static void vmx_end(struct vcpu *vcpu)
{
    vmclear(frame_physical(vcpu->vmx->vmcs));
    if (this_cpu()->x86.vcpu_loaded == vcpu)
        this_cpu()->x86.vcpu_loaded = NULL;
}

/*
 * VPIDs are given out in order. When none is left a generation begins: all translations go, and
 * every vCPU gets a new one when it is next loaded. It will be loaded, for to give a VPID to
 * another one that other one had to be loaded.
 */
static void vpid_assign(struct cpu *cpu, struct vmx_vcpu *v)
{
    if (cpu->x86.asid_next >= VPIDS) {
        cpu->x86.asid_next = 1;
        cpu->x86.asid_generation++;
        invvpid(INVALIDATE_ALL, (struct vmx_context){0, 0});
    }
    v->vpid_generation = cpu->x86.asid_generation;
    v->vpid = cpu->x86.asid_next++;
    vmcs_write(FIELD_VPID, v->vpid);
}

void vmx_load_slow(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    struct vmx_vcpu *v = vcpu->vmx;
    ASSERT(vcpu->object.home == cpu->number);
    vmptrld(frame_physical(v->vmcs));
    cpu->x86.vcpu_loaded = vcpu;
    if (v->vpid_generation != cpu->x86.asid_generation)
        vpid_assign(cpu, v);
}

static void load(struct vcpu *vcpu)
{
    vmx_load(vcpu);
}

/* ---- the table of verbs ---------------------------------------------------------------------- */

const struct vcpu_ops vmx_ops = {
    .name = "VT-x",
    .guest_format = &table_format_ept,
    .probe = vmx_probe,
    .cpu_enable = vmx_cpu_enable,
    .begin = vmx_begin,
    .end = vmx_end,
    .write = vmx_write,
    .read = vmx_read,
    .set_rip = vmx_set_rip,
    .load = load,
    .run = vmx_enter,
    .where = vmx_where,
    .msr_map_bytes = PAGE_SIZE,
    .let_msr = vmx_let_msr,
    .violate = vmx_violate,
};
