/* What the processor can do, of what the kernel uses. Read once on the boot CPU. */
#pragma once

#include "core/types.h"
#include "x86/instructions.h"

/* FEATURE(name, leaf, subleaf, register, bit) */
#define FEATURE_LIST(FEATURE)                                                                      \
    FEATURE(machine_check, 1, 0, d, 7)                                                             \
    FEATURE(apic, 1, 0, d, 9)                                                                      \
    FEATURE(global_pages, 1, 0, d, 13)                                                             \
    FEATURE(machine_check_banks, 1, 0, d, 14)                                                      \
    FEATURE(pat, 1, 0, d, 16)                                                                      \
    FEATURE(pcid, 1, 0, c, 17)                                                                     \
    FEATURE(x2apic, 1, 0, c, 21)                                                                   \
    FEATURE(tsc_deadline, 1, 0, c, 24)                                                             \
    FEATURE(xsave, 1, 0, c, 26)                                                                    \
    FEATURE(hypervisor, 1, 0, c, 31)                                                               \
    FEATURE(tsc_adjust, 7, 0, b, 1)                                                                \
    FEATURE(smep, 7, 0, b, 7)                                                                      \
    FEATURE(invpcid, 7, 0, b, 10)                                                                  \
    FEATURE(smap, 7, 0, b, 20)                                                                     \
    FEATURE(umip, 7, 0, c, 2)                                                                      \
    FEATURE(md_clear, 7, 0, d, 10)                                                                 \
    FEATURE(spec_ctrl_intel, 7, 0, d, 26) /* IBRS and IBPB */                                      \
    FEATURE(l1d_flush, 7, 0, d, 28)                                                                \
    FEATURE(arch_capabilities, 7, 0, d, 29)                                                        \
    FEATURE(xsaveopt, 0xd, 1, a, 0)                                                                \
    FEATURE(syscall, 0x80000001, 0, d, 11)                                                         \
    FEATURE(page_1g, 0x80000001, 0, d, 26)                                                         \
    FEATURE(rdtscp, 0x80000001, 0, d, 27)                                                          \
    FEATURE(ibpb_amd, 0x80000008, 0, b, 12)                                                        \
    FEATURE(auto_ibrs, 0x80000021, 0, a, 8)

struct features {
    bool intel, amd;
    unsigned family, model, physical_bits;
#define FEATURE(name, leaf, subleaf, reg, bit) bool name;
    FEATURE_LIST(FEATURE)
#undef FEATURE
};
extern struct features features;

/* QEMU's own emulation of a processor: some of its faults have to be known. */
static inline bool processor_is_qemu(void)
{
    return cpuid(0x40000000, 0).b == 0x54474354; /* "TCGT" */
}

/* Fills `features`. Stops with a sentence for each thing that the kernel can't do without. */
void features_init(void);
