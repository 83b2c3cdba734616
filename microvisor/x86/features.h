/* What the processor can do, of what the kernel uses. Read once on the boot CPU. */
#pragma once

#include "core/types.h"
#include "x86/instructions.h"

/* FEATURE(name, leaf, subleaf, register, bit, what the kernel can't do without, or NULL) */
#define FEATURE_LIST(FEATURE)                                                                      \
    FEATURE(machine_check, 1, 0, d, 7, NULL)                                                       \
    FEATURE(apic, 1, 0, d, 9, "a local APIC")                                                      \
    FEATURE(global_pages, 1, 0, d, 13, "global pages (PGE)")                                       \
    FEATURE(machine_check_banks, 1, 0, d, 14, NULL)                                                \
    FEATURE(pat, 1, 0, d, 16, "page attribute tables (PAT)")                                       \
    FEATURE(pcid, 1, 0, c, 17, NULL)                                                               \
    FEATURE(x2apic, 1, 0, c, 21, NULL)                                                             \
    FEATURE(tsc_deadline, 1, 0, c, 24, NULL)                                                       \
    FEATURE(xsave, 1, 0, c, 26, "the XSAVE instruction")                                           \
    FEATURE(hypervisor, 1, 0, c, 31, NULL)                                                         \
    FEATURE(tsc_adjust, 7, 0, b, 1, NULL)                                                          \
    FEATURE(smep, 7, 0, b, 7, NULL)                                                                \
    FEATURE(invpcid, 7, 0, b, 10, NULL)                                                            \
    FEATURE(smap, 7, 0, b, 20, NULL)                                                               \
    FEATURE(umip, 7, 0, c, 2, NULL)                                                                \
    FEATURE(md_clear, 7, 0, d, 10, NULL)                                                           \
    FEATURE(spec_ctrl_intel, 7, 0, d, 26, NULL) /* IBRS and IBPB */                                \
    FEATURE(l1d_flush, 7, 0, d, 28, NULL)                                                          \
    FEATURE(arch_capabilities, 7, 0, d, 29, NULL)                                                  \
    FEATURE(xsaveopt, 0xd, 1, a, 0, NULL)                                                          \
    FEATURE(syscall, 0x80000001, 0, d, 11, "the SYSCALL instruction")                              \
    FEATURE(page_1g, 0x80000001, 0, d, 26, NULL)                                                   \
    FEATURE(rdtscp, 0x80000001, 0, d, 27, NULL)                                                    \
    FEATURE(ibpb_amd, 0x80000008, 0, b, 12, NULL)                                                  \
    FEATURE(auto_ibrs, 0x80000021, 0, a, 8, NULL)

struct features {
    bool intel;
    unsigned physical_bits;
#define FEATURE(name, leaf, subleaf, reg, bit, needed) bool name;
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
