/* Processor features, and what is said to a machine that lacks one. */
#include "x86/features.h"

#include "x86/platform.h"
#include "x86/processor.h"

struct features features;

static struct cpuid cpuid_checked(uint32_t leaf, uint32_t subleaf)
{
    if (leaf > cpuid(leaf & 0x80000000u, 0).a)
        return (struct cpuid){0};
    return cpuid(leaf, subleaf);
}

/* False: it is needed, which is said. (Real processors with virtualization have all that is; a
 * virtual one may hide it.) */
static bool dispensable(const char *needed)
{
    if (needed)
        printk("Septum needs a processor with %s, which this one does not offer: choose another CPU "
               "model in the emulator, or switch it on in the firmware's set-up.\n",
               needed);
    return !needed;
}

void features_init(void)
{
    struct cpuid r = cpuid(0, 0);
    features.intel = r.b == 0x756e6547 && r.d == 0x49656e69 && r.c == 0x6c65746e; /* GenuineIntel */
    features.physical_bits = cpuid_checked(0x80000008, 0).a & 0xff;
    if (features.physical_bits < 36 || features.physical_bits > 52)
        features.physical_bits = 36;

    /* CPUID is slow, and in a virtual machine an exit: each leaf is asked once. */
    uint32_t leaf = 0, subleaf = 0;
    bool complete = true;
#define FEATURE(name, want_leaf, want_subleaf, reg, bit, needed)                                   \
    if (leaf != (want_leaf) || subleaf != (want_subleaf))                                          \
        r = cpuid_checked(leaf = (want_leaf), subleaf = (want_subleaf));                           \
    features.name = r.reg >> (bit)&1;                                                              \
    complete &= features.name || dispensable(needed);
    FEATURE_LIST(FEATURE)
#undef FEATURE

    if (!complete)
        machine_halt();
    features.pcid &= features.invpcid; /* else there would be three ways to flush */
}
