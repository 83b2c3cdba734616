/* Between the files of VMX: what the kernel keeps of a VMCS, the processor's instructions. */
#ifndef VIRT_VMX_H
#define VIRT_VMX_H

#include "core/cpu.h"
#include "core/table.h"
#include "virt/vcpu.h"
#include "virt/vmx_fields.h"
#include "x86/processor.h"

#define VIRTUAL_APIC_TPR 0x80u /* place of CR8, in bits 4-7 */

/*
 * MSRs that the processor does not switch by itself, in the order in which guests come to need
 * them: a guest that needs one gets all before it too, so that a count says all (vmx_state.c).
 */
enum vmx_switched_msr {
    SWITCH_KERNEL_GS_BASE, SWITCH_STAR, SWITCH_LSTAR, SWITCH_CSTAR, SWITCH_SFMASK, SWITCH_TSC_AUX,
    SWITCH_SPEC_CTRL, SWITCH_COUNT
};

/* An entry of the lists of 25.7.2 and 25.8.2. */
struct vmx_msr_entry {
    uint64_t index, value;
};

struct vmx_vcpu {
    union {
        uint8_t vmcs[PAGE_SIZE];
        uint32_t revision;
    };
    uint8_t msr_bitmap[PAGE_SIZE]; /* vcpu_msr_map */
    uint8_t virtual_apic[PAGE_SIZE];
    /* What certain fields of the VMCS hold now, so that they are written only when that changes. */
    uint64_t host_cr3, host_fs_base;
    uint32_t primary, primary_policy; /* policy: but for what each run asks for */
    uint32_t changed;          /* the two differ, or the mitigations have something to do */
    uint32_t interruptibility; /* of the last exit, and RFLAGS.TF in its place */
    uint64_t cr0_mask, cr4_mask; /* bits that the guest does not own */
    uint64_t ept_pointer, cr2;
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr; /* the host's; an exit leaves a limit of 64 KiB (28.5.2) */
    bool launched;
    uint32_t vpid, vpid_generation;
    struct vmx_msr_entry guest_msrs[SWITCH_COUNT] __attribute__((aligned(16)));
    struct vmx_msr_entry host_msrs[SWITCH_COUNT] __attribute__((aligned(16)));
};
_Static_assert(offsetof(struct vmx_vcpu, msr_bitmap) == PAGE_SIZE &&
                   sizeof(struct vmx_vcpu) <= PAGE_SIZE << VCPU_AREA_ORDER,
               "as in struct vcpu");

/* What the processor has, and the controls that are always set: the same on all CPUs. */
struct vmx_features {
    uint32_t revision, pin, primary, secondary, secondary_allowed, exit, entry;
};
extern struct vmx_features vmx_features;
extern struct table_format table_format_ept; /* ept.c */
extern bool vmx_guard; /* the mitigations ask for more at entries and exits */

void vmx_begin(struct vcpu *vcpu); /* vmx_init.c */

/* vmx_state.c */
void vmx_write(struct vcpu *vcpu, uint32_t groups, const struct vcpu_state *from);
void vmx_read(struct vcpu *vcpu, uint32_t groups, struct vcpu_state *to);
void vmx_let_msr(uint8_t *bitmap, uint32_t msr, unsigned bits);
void vmx_set_rip(struct vcpu *vcpu, uint64_t rip);
void vmx_end_shadow(struct vmx_vcpu *v);
void vmx_where(struct vcpu *vcpu, struct vcpu_exit_info *exit);

/* vmx_run.c */
_Noreturn void vmx_enter(struct vcpu *vcpu, bool set_rip, uint64_t rip);
_Noreturn void vmx_exited(struct vcpu *vcpu, uint32_t reason);
#define VMX_REFUSED UINT32_MAX /* in place of a reason: VMfail */

/* vmx.S: enters the guest with the general registers of `gpr`. After the exit they are stored in
 * the state page of this CPU's in_guest, and vmx_exited is called. */
_Noreturn void vmx_run(uint64_t *gpr, bool launched);
extern const char vmx_exit[]; /* where exits arrive */

/* check/vmx_rules.c */
#ifdef SEPTUM_DEBUG
const char *vmx_broken_rule(struct vcpu *vcpu, uint32_t *rule_number);
bool vmx_violate(struct vcpu *vcpu, uint32_t rule_number);
#else
#define vmx_broken_rule(vcpu, rule_number) NULL
#define vmx_violate NULL
#endif

/* ---- instructions ---------------------------------------------------------------------------- */

static inline uint64_t vmcs_read(uint64_t field)
{
    uint64_t value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc", "memory");
    return value;
}

static inline void vmcs_write(uint64_t field, uint64_t value)
{
    bool failed;
    __asm__ volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"(field), "rm"(value) : "memory");
    ASSERT(!failed);
}

/* The rest: false after VMfail. */
#define VMX_INSTRUCTION(name, parameters, format, ...)                                             \
    static inline bool name parameters                                                             \
    {                                                                                              \
        bool failed;                                                                               \
        __asm__ volatile(#name format : "=@ccbe"(failed) : __VA_ARGS__ : "memory");                \
        return !failed;                                                                            \
    }
VMX_INSTRUCTION(vmxon, (paddr_t region), " %1", "m"(region))
VMX_INSTRUCTION(vmclear, (paddr_t vmcs), " %1", "m"(vmcs))
VMX_INSTRUCTION(vmptrld, (paddr_t vmcs), " %1", "m"(vmcs))

enum vmx_invalidation { INVALIDATE_ONE = 1, INVALIDATE_ALL = 2 };
struct vmx_context {
    uint64_t name, address; /* name: EPT pointer or VPID */
};
VMX_INSTRUCTION(invept, (uint64_t type, struct vmx_context one), " %1, %2", "m"(one), "r"(type))
VMX_INSTRUCTION(invvpid, (uint64_t type, struct vmx_context one), " %1, %2", "m"(one), "r"(type))
#undef VMX_INSTRUCTION

void vmx_load_slow(struct vcpu *vcpu); /* vmx.c */

/* Makes this vCPU's VMCS the current one of this CPU: before any access to its fields. */
static inline void vmx_load(struct vcpu *vcpu)
{
    if (unlikely(this_cpu()->x86.vcpu_loaded != vcpu))
        vmx_load_slow(vcpu);
}

#endif
