/* Processor features, and what is said to a machine that lacks one. */
#include "x86/features.h"

#include "x86/instructions.h"
#include "x86/platform.h"
#include "x86/processor.h"

struct features features;

static struct cpuid cpuid_checked(uint32_t leaf, uint32_t subleaf)
{
    if (leaf > cpuid(leaf & 0x80000000u, 0).a)
        return (struct cpuid){0};
    return cpuid(leaf, subleaf);
}

void features_init(void)
{
    static const struct {
        uint32_t b, d, c;
        bool *vendor;
    } vendors[] = {
        {0x756e6547, 0x49656e69, 0x6c65746e, &features.intel}, /* GenuineIntel */
        {0x68747541, 0x69746e65, 0x444d4163, &features.amd},   /* AuthenticAMD */
        {0x6f677948, 0x6e65476e, 0x656e6975, &features.amd},   /* HygonGenuine */
    };
    struct cpuid id = cpuid(0, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(vendors); i++) {
        if (id.b == vendors[i].b && id.d == vendors[i].d && id.c == vendors[i].c)
            *vendors[i].vendor = true;
    }
    id = cpuid(1, 0);
    features.family = id.a >> 8 & 0xf;
    features.model = (id.a >> 4 & 0xf) | (id.a >> 12 & 0xf0);
    if (features.family == 0xf)
        features.family += id.a >> 20 & 0xff;
    features.physical_bits = cpuid_checked(0x80000008, 0).a & 0xff;
    if (features.physical_bits < 36 || features.physical_bits > 52)
        features.physical_bits = 36;

    /* CPUID is slow, and in a virtual machine an exit: each leaf is asked once. */
    uint32_t leaf = 0, subleaf = 0;
    struct cpuid r = {0};
#define FEATURE(name, want_leaf, want_subleaf, reg, bit)                                           \
    if (leaf != (want_leaf) || subleaf != (want_subleaf))                                          \
        r = cpuid_checked(leaf = (want_leaf), subleaf = (want_subleaf));                           \
    features.name = r.reg >> (bit)&1;
    FEATURE_LIST(FEATURE)
#undef FEATURE

    features.pcid &= features.invpcid; /* else there would be three ways to flush */

    /* Real processors with virtualization have these; a virtual one may hide them. */
    const struct {
        bool there;
        const char *name;
    } required[] = {
        {features.apic, "a local APIC"},
        {features.global_pages, "global pages (PGE)"},
        {features.pat, "page attribute tables (PAT)"},
        {features.xsave, "the XSAVE instruction"},
        {features.syscall, "the SYSCALL instruction"},
    };
    bool complete = true;
    for (unsigned i = 0; i < ARRAY_SIZE(required); i++) {
        if (!required[i].there)
            printk("Septum needs a processor with %s, which this one does not offer: choose another CPU "
                   "model in the emulator, or switch it on in the firmware's set-up.\n",
                   required[i].name);
        complete &= required[i].there;
    }
    if (!complete)
        machine_halt();
}
