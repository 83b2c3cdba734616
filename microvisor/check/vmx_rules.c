/*
 * The rules of VM entry, checked by software when a processor has refused a state, because it does
 * not say which one was broken; and the breaking of each, for tests. The rules are in
 * vmx_rules.def.
 */
#include "virt/vmx.h"

#include "core/quota.h"
#include "core/spinlock.h"
#include "x86/features.h"
#include "x86/instructions.h"

/* Fields and controls that the kernel itself has no use for. */
enum {
    FIELD_HOST_ES_SELECTOR = 0x0c00, FIELD_HOST_CS_SELECTOR = 0x0c02,
    FIELD_HOST_SS_SELECTOR = 0x0c04, FIELD_HOST_DS_SELECTOR = 0x0c06,
    FIELD_HOST_FS_SELECTOR = 0x0c08, FIELD_HOST_GS_SELECTOR = 0x0c0a,
    FIELD_APIC_ACCESS = 0x2014, FIELD_PML = 0x200e, FIELD_VM_FUNCTIONS = 0x2018,
    FIELD_EPTP_LIST = 0x2024, FIELD_VMREAD_BITMAP = 0x2026, FIELD_VMWRITE_BITMAP = 0x2028,
    FIELD_EXCEPTION_INFORMATION = 0x202a, FIELD_TSC_MULTIPLIER = 0x2032,
    FIELD_GUEST_PERF_GLOBAL = 0x2808, FIELD_HOST_PERF_GLOBAL = 0x2c04,
    PIN_POSTED = 1 << 7,
    SECONDARY_APIC_ACCESSES = 1 << 0, SECONDARY_X2APIC = 1 << 4, SECONDARY_APIC_REGISTERS = 1 << 8,
    SECONDARY_INTERRUPT_DELIVERY = 1 << 9, SECONDARY_VM_FUNCTIONS = 1 << 13,
    SECONDARY_SHADOWING = 1 << 14, SECONDARY_PML = 1 << 17, SECONDARY_EPT_EXCEPTION = 1 << 18,
    SECONDARY_TSC_SCALING = 1 << 25,
    EXIT_LOAD_PERF = 1 << 12, EXIT_SAVE_TIMER = 1 << 22,
    ENTRY_SMM = 1 << 10, ENTRY_DUAL_MONITOR = 1 << 11, ENTRY_LOAD_PERF = 1 << 13,
};
#define MSR_VMX_VMFUNC 0x491u
#define VMX_BASIC_ANY_ERROR_CODE (1ull << 56)
#define VMX_MISC_LENGTH_0 (1ull << 30)
#define RFLAGS_VM 0x20000u
#define EFER_DEFINED (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define DEBUGCTL_RESERVED 0xffffffffffff003cull
#define PERF_GLOBAL_RESERVED 0xfffffff000000000ull
#define CS_TYPES (1u << 3 | 1u << 9 | 1u << 11 | 1u << 13 | 1u << 15)
#define ERROR_CODE_VECTORS (1u << 8 | 0x7c00u | 1u << 17)
#define PDPTE_RESERVED 0x1e6ull

#define F(name) vmcs_read(FIELD_##name)

/* What many rules look at. */
struct rules_state {
    uint32_t pin, primary, secondary, exit, entry, event;
    uint64_t cr0, cr4, efer, rflags, blocked, ept;
    uint64_t selector[VCPU_SEGMENT_COUNT], base[VCPU_SEGMENT_COUNT];
    uint64_t limit[VCPU_SEGMENT_COUNT], rights[VCPU_SEGMENT_COUNT];
};

static void read_state(struct rules_state *s)
{
    s->pin = (uint32_t)F(PIN_CONTROLS);
    s->primary = (uint32_t)F(PRIMARY_CONTROLS);
    s->secondary = s->primary & PRIMARY_SECONDARY ? (uint32_t)F(SECONDARY_CONTROLS) : 0;
    s->exit = (uint32_t)F(EXIT_CONTROLS);
    s->entry = (uint32_t)F(ENTRY_CONTROLS);
    s->event = (uint32_t)F(ENTRY_EVENT);
    s->cr0 = F(GUEST_CR0);
    s->cr4 = F(GUEST_CR4);
    s->efer = F(GUEST_EFER);
    s->rflags = F(GUEST_RFLAGS);
    s->blocked = F(INTERRUPTIBILITY);
    s->ept = F(EPT_POINTER);
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++) {
        s->selector[i] = vmcs_read(FIELD_GUEST_SELECTOR + 2 * i);
        s->base[i] = vmcs_read(FIELD_GUEST_BASE + 2 * i);
        s->limit[i] = vmcs_read(FIELD_GUEST_LIMIT + 2 * i);
        s->rights[i] = vmcs_read(FIELD_GUEST_RIGHTS + 2 * i);
    }
}

/* ---- predicates ------------------------------------------------------------------------------ */

static uint64_t physical_mask(void)
{
    return (1ull << features.physical_bits) - 1;
}

static bool bad_address(uint64_t address, uint64_t zero_bits)
{
    return address & (zero_bits | ~physical_mask());
}

static bool canonical(uint64_t address)
{
    return (int64_t)(address << 16) >> 16 == (int64_t)address;
}

/* Controls by a capability register; bits of CR0 and CR4 by a pair of them. */
static bool reserved(uint32_t value, uint32_t capability)
{
    uint64_t allowed = read_msr(capability);
    return (uint32_t)allowed & ~value || value & ~(uint32_t)(allowed >> 32);
}

static bool fixed(uint64_t value, uint32_t first)
{
    return read_msr(first) & ~value || value & ~read_msr(first + 1);
}

static bool threshold_used(const struct rules_state *s)
{
    return s->primary & PRIMARY_TPR_SHADOW && !(s->secondary & SECONDARY_INTERRUPT_DELIVERY);
}

static bool bad_ept_type(uint64_t ept_pointer)
{
    return (ept_pointer & 7) != 0 && (ept_pointer & 7) != 6;
}

static bool bad_list(uint64_t address, uint64_t count)
{
    return count && bad_address(address, 15);
}

static bool bad_list_end(uint64_t address, uint64_t count)
{
    return count && address + count * sizeof(struct vmx_msr_entry) - 1 > physical_mask();
}

static bool bad_pat(uint64_t pat)
{
    for (; pat; pat >>= 8) {
        unsigned type = pat & 0xff;
        if (type > 7 || type == 2 || type == 3)
            return true;
    }
    return false;
}

static unsigned long_mode_bits(uint64_t efer)
{
    return (efer & EFER_LME ? 1 : 0) | (efer & EFER_LMA ? 2 : 0);
}

static bool event(const struct rules_state *s) { return s->event & EVENT_VALID; }
static unsigned type(const struct rules_state *s) { return EVENT_TYPE(s->event); }
static unsigned vector(const struct rules_state *s) { return EVENT_VECTOR(s->event); }
static bool long_mode(const struct rules_state *s) { return s->entry & ENTRY_LONG_MODE; }
static bool v8086(const struct rules_state *s) { return s->rflags & RFLAGS_VM; }

static bool has_mtf(void)
{
    return read_msr(MSR_VMX_TRUE_PRIMARY) >> 32 & 1u << 27;
}

static bool any_error_code(void)
{
    return read_msr(MSR_VMX_BASIC) & VMX_BASIC_ANY_ERROR_CODE;
}

static bool length_0_allowed(void)
{
    return read_msr(MSR_VMX_MISC) & VMX_MISC_LENGTH_0;
}

static bool wants_error(const struct rules_state *s)
{
    return s->cr0 & CR0_PE && type(s) == VCPU_EVENT_EXCEPTION && vector(s) < 32 &&
           ERROR_CODE_VECTORS >> vector(s) & 1;
}

static bool wakes_from_hlt(const struct rules_state *s)
{
    return type(s) == VCPU_EVENT_EXTERNAL || type(s) == VCPU_EVENT_NMI || type(s) == 7 ||
           (type(s) == VCPU_EVENT_EXCEPTION &&
            (vector(s) == VECTOR_DB || vector(s) == VECTOR_MC));
}

static bool activity_supported(uint64_t activity)
{
    return activity <= 3 && (!activity || read_msr(MSR_VMX_MISC) >> (5 + activity) & 1);
}

static bool single_step(const struct rules_state *s)
{
    return s->rflags & RFLAGS_TF && !(F(GUEST_DEBUGCTL) & 2);
}

/* ---- segments -------------------------------------------------------------------------------- */

static uint32_t ar(const struct rules_state *s, unsigned i) { return (uint32_t)s->rights[i]; }
static unsigned dpl(const struct rules_state *s, unsigned i) { return ar(s, i) >> 5 & 3; }

static bool usable(const struct rules_state *s, unsigned i)
{
    return !(ar(s, i) & VCPU_SEGMENT_UNUSABLE);
}

/* A rule for code and data segments that are in use, outside virtual-8086 mode. */
static bool present_rule(const struct rules_state *s, unsigned i, bool broken)
{
    return broken && !v8086(s) && (i == VCPU_CS || usable(s, i));
}

static bool bad_base(const struct rules_state *s, unsigned i)
{
    if (i == VCPU_FS || i == VCPU_GS)
        return !canonical(s->base[i]);
    return present_rule(s, i, s->base[i] >> 32);
}

static bool bad_granularity(const struct rules_state *s, unsigned i)
{
    return ar(s, i) & 0x8000 ? (s->limit[i] & 0xfff) != 0xfff : s->limit[i] >> 20 != 0;
}

static bool bad_data_type(const struct rules_state *s, unsigned i)
{
    return usable(s, i) && (!(ar(s, i) & 1) || (ar(s, i) & 10) == 8);
}

/* ---- what lies in memory --------------------------------------------------------------------- */

static bool pae(const struct rules_state *s)
{
    return !long_mode(s) && s->cr0 & CR0_PG && s->cr4 & CR4_PAE;
}

static bool bad_pdptes(void)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t entry = vmcs_read(FIELD_GUEST_PDPTE + 2 * i);
        if (entry & 1 && entry & (PDPTE_RESERVED | ~physical_mask()))
            return true;
    }
    return false;
}

static bool bad_msr(const struct vmx_vcpu *v)
{
    for (unsigned i = 0; i < F(ENTRY_MSR_LOAD_COUNT); i++) {
        uint64_t index = v->guest_msrs[i].index;
        if (index >> 32 || index == MSR_FS_BASE || index == MSR_GS_BASE || index >> 8 == 8)
            return true;
    }
    return false;
}

static bool bad_msr_value(const struct vmx_vcpu *v)
{
    for (unsigned i = 0; i < F(ENTRY_MSR_LOAD_COUNT); i++) {
        uint64_t index = v->guest_msrs[i].index;
        if ((index == MSR_KERNEL_GS_BASE || index == MSR_LSTAR || index == MSR_CSTAR) &&
            !canonical(v->guest_msrs[i].value))
            return true;
    }
    return false;
}

const char *vmx_broken_rule(struct vcpu *vcpu, uint32_t *rule_number)
{
    struct rules_state state, *s = &state;
    const struct vmx_vcpu *v = vcpu->vmx;
    read_state(s);
#define RULE(number, section, text, broken, violation, bochs)                                      \
    if (broken) {                                                                                  \
        *rule_number = number;                                                                     \
        return section " " text;                                                                   \
    }
#include "check/vmx_rules.def"
#undef RULE
    return NULL;
}

/* ---- violations ------------------------------------------------------------------------------ */

/* What the last violation changed; those before it stay. Another vCPU may have come to the same address. */
static struct {
    struct spinlock lock;
    struct vcpu *vcpu;
    uint32_t vpid, vpid_generation;
    unsigned count;
    struct { uint64_t field, value; } fields[64];
    struct vmx_msr_entry msr;
} undo;

static bool change(uint64_t field, uint64_t value)
{
    uint64_t old;
    bool failed;
    __asm__ volatile("vmread %2, %0" : "=r"(old), "=@ccbe"(failed) : "r"(field));
    if (failed || undo.count == ARRAY_SIZE(undo.fields))
        return false;
    undo.fields[undo.count].field = field;
    undo.fields[undo.count++].value = old;
    vmcs_write(field, value);
    return true;
}

#define PUT(name, value) change(FIELD_##name, value)
#define SET(name, bits) change(FIELD_##name, F(name) | (bits))
#define CLEAR(name, bits) change(FIELD_##name, F(name) & ~(uint64_t)(bits))
#define PUT_SEGMENT(what, i, value) change(FIELD_GUEST_##what + 2 * (i), value)
#define SET_RIGHTS(i, bits) PUT_SEGMENT(RIGHTS, i, vmcs_read(FIELD_GUEST_RIGHTS + 2 * (i)) | (bits))
#define CLEAR_RIGHTS(i, bits)                                                                      \
    PUT_SEGMENT(RIGHTS, i, vmcs_read(FIELD_GUEST_RIGHTS + 2 * (i)) & ~(uint64_t)(bits))

static bool enter_v8086(void)
{
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++) {
        PUT_SEGMENT(BASE, i, vmcs_read(FIELD_GUEST_SELECTOR + 2 * i) << 4);
        PUT_SEGMENT(LIMIT, i, 0xffff);
        PUT_SEGMENT(RIGHTS, i, 0xf3);
    }
    return SET(GUEST_RFLAGS, RFLAGS_VM);
}

static bool enter_long_mode(void)
{
    SET(ENTRY_CONTROLS, ENTRY_LONG_MODE);
    SET(GUEST_EFER, EFER_LME | EFER_LMA);
    SET(GUEST_CR4, CR4_PAE);
    return SET(GUEST_CR0, CR0_PG);
}

static bool put_event(uint32_t type_and_vector)
{
    return PUT(ENTRY_EVENT, EVENT_VALID | type_and_vector);
}

/* The host's list is as long, so that what was loaded before the failure is restored. */
static bool load_bad_msr(struct vmx_vcpu *v, uint32_t index, uint64_t value)
{
    v->guest_msrs[SWITCH_LSTAR] = (struct vmx_msr_entry){index, value};
    PUT(EXIT_MSR_LOAD_COUNT, SWITCH_COUNT - 1);
    return PUT(ENTRY_MSR_LOAD_COUNT, SWITCH_LSTAR + 1);
}

static void undo_all(struct vmx_vcpu *v)
{
    while (undo.count) {
        undo.count--;
        vmcs_write(undo.fields[undo.count].field, undo.fields[undo.count].value);
    }
    v->guest_msrs[SWITCH_LSTAR] = undo.msr;
}

/* What is changed from now on is this vCPU's; what was changed last, if that was its too, is undone. */
static void undo_begin(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vcpu->vmx;
    if (undo.vcpu == vcpu && undo.vpid == v->vpid && undo.vpid_generation == v->vpid_generation)
        undo_all(v);
    undo.vcpu = vcpu;
    undo.vpid = v->vpid;
    undo.vpid_generation = v->vpid_generation;
    undo.count = 0;
    undo.msr = v->guest_msrs[SWITCH_LSTAR];
}

#define SILENT NULL

static bool violate(struct vmx_vcpu *v, uint32_t rule_number)
{
    struct rules_state state, *s = &state;
    const char *in_log = "";
    read_state(s);
    switch (rule_number) {
#define RULE(number, section, text, broken, violation, bochs)                                      \
    case number:                                                                                   \
        in_log = (violation) ? bochs : "";                                                         \
        break;
#include "check/vmx_rules.def"
#undef RULE
    default:
        return rule_number == 0;
    }
    if (!in_log)
        PUT(CR3_TARGETS, 5); /* see the last rule */
    return undo.count != 0;
}

bool vmx_violate(struct vcpu *vcpu, uint32_t rule_number)
{
    struct vmx_vcpu *v = vcpu->vmx;
    uint32_t msr = rule_number - VCPU_VIOLATE_MSR;
    vmx_load(vcpu);
    if (msr < 0x2000) {
        uint8_t *reads = v->msr_bitmap + msr / 8, *writes = reads + 2048;
        *reads = *writes &= (uint8_t)~(1u << msr % 8);
        return true;
    }
    spinlock_acquire(&undo.lock);
    undo_begin(vcpu);
    bool known = violate(v, rule_number);
    spinlock_release(&undo.lock);
    return known;
}
