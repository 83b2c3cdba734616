/*
 * The rules of VMRUN, checked by software before each entry, because the processor says only that one of
 * them was broken; and the breaking of each, for tests. The rules are in svm_rules.def.
 */
#include "virt/svm.h"

#include "x86/features.h"
#include "x86/instructions.h"

#include "check/watch.h"

#define EFER_SVME 0x1000ull
#define EFER_MBZ 0xffffffffffc902feull
#define CR4_MBZ 0xffffffffff08e000ull
#define HIGH_HALF 0xffffffff00000000ull
#define CS_L_D 0x600u
#define PERMISSIONS_BYTES 0x4000ull

static bool beyond(uint64_t physical)
{
    return physical >> features.physical_bits;
}

static bool long_and_paged(const struct vmcb *v)
{
    return v->efer & EFER_LME && v->cr0 & CR0_PG;
}

static bool pat_illegal(uint64_t pat)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = pat >> (8 * i) & 0xff;
        if (type > 7 || type == 2 || type == 3)
            return true;
    }
    return false;
}

/* Types 1 and 5-7 do not exist, 2 as an exception's vector neither (APM 2, 15.20). */
static bool event_illegal(uint64_t event)
{
    unsigned type = event >> 8 & 7, vector = event & 0xff;
    if (!(event & VCPU_EVENT_VALID))
        return false;
    return type == 1 || type > 4 || (type == VCPU_EVENT_EXCEPTION && (vector == 2 || vector > 31));
}

static void make_long(struct vmcb *v)
{
    v->efer |= EFER_LME;
    v->cr0 |= CR0_PG | CR0_PE;
    v->cr4 |= CR4_PAE;
}

#define RULE(number, section, text, broken, violation, bochs)                                      \
    static bool broken_##number(const struct vmcb *v)                                              \
    {                                                                                              \
        return broken;                                                                             \
    }                                                                                              \
    static void break_##number(struct vmcb *v)                                                     \
    {                                                                                              \
        violation;                                                                                 \
    }
#include "check/svm_rules.def"
#undef RULE

static const struct {
    const char *text;
    bool (*broken)(const struct vmcb *v);
    void (*break_it)(struct vmcb *v);
} rules[] = {
#define RULE(number, section, text, broken, violation, bochs)                                      \
    [number] = {section " " text, broken_##number, break_##number},
#include "check/svm_rules.def"
#undef RULE
};

void svm_check_entry(struct vcpu *vcpu)
{
    const struct vmcb *vmcb = vcpu->svm->vmcb;
    uint32_t i = 1;
    while (i < ARRAY_SIZE(rules) && !rules[i].broken(vmcb))
        i++;
    vcpu->failed_rule_number = i < ARRAY_SIZE(rules) ? i : 0;
    vcpu->failed_rule = rules[vcpu->failed_rule_number].text;
    ledger_vmrun(vcpu, vmcb->asid, vmcb->tlb_control == SVM_FLUSH_ALL,
                 vmcb->tlb_control == SVM_FLUSH_GUEST);
}

bool svm_violate(struct vcpu *vcpu, uint32_t rule_number)
{
    uint32_t msr = rule_number - VCPU_VIOLATE_MSR;
    if (msr < 0x2000) {
        vcpu->svm->msr_permissions[msr / 4] &= (uint8_t)~(3u << msr % 4 * 2);
        return true;
    }
    if (!rule_number || rule_number >= ARRAY_SIZE(rules))
        return false;
    rules[rule_number].break_it(vcpu->svm->vmcb);
    return true;
}
