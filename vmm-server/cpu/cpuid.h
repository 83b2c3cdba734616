/* What a guest's CPUID says: the processor's own answer, cut by one table (cpuid.c). */
#ifndef VMM_CPU_CPUID_H
#define VMM_CPU_CPUID_H

#include "cpuid_registers.h"

#include <stdbool.h>

/* The same for all vCPUs of a machine. */
struct cpuid_policy {
    uint32_t vcpu_count;
    uint64_t tsc_khz;
    uint64_t xcr0_allowed; /* of the kernel */
    bool speculation;      /* SPEC_CTRL is let through */
    bool mtrr;             /* there are memory type range registers */
    /* The processor's CPUID; a unit test has its own. */
    struct cpuid_registers (*host)(uint32_t leaf, uint32_t subleaf);
};

/* What the answer depends on beside the leaf. */
struct cpuid_guest {
    uint32_t apic_id;
    uint64_t cr4, xcr0;
};

/* Leaves whose answer depends on cr4 and xcr0; for others these two need not be known. */
bool cpuid_wants_control(uint32_t leaf);
struct cpuid_registers cpuid_answer(const struct cpuid_policy *policy,
                                    const struct cpuid_guest *guest, uint32_t leaf,
                                    uint32_t subleaf);

#endif
