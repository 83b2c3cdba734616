/*
 * CPUID policy. A bit is shown if the guest can use what it stands for: because the processor does it without us, or
 * because we model it. All others are hidden, also those that nobody knows yet. (Intel SDM 2A, CPUID; AMD APM 3,
 * appendix E; KVM's leaves: Linux, Documentation/virt/kvm/x86/cpuid.rst.)
 */
#include "cpu/cpuid.h"

#include <stddef.h>

#define BIT(n)            (1u << (n))
#define ALL               UINT32_MAX
#define ANY               UINT32_MAX /* any subleaf */

#define LEAF_MAX          0x0du
#define LEAF_HYPERVISOR   0x40000000u
#define LEAF_TIMING       0x40000010u
#define LEAF_EXTENDED     0x80000000u
#define LEAF_EXTENDED_MAX 0x80000008u

#define CR4_OSXSAVE       BIT(18)
#define CR4_PKE           BIT(22)
#define XCR0_AVX          BIT(2)
#define XCR0_AVX512       (7u << 5)
#define XCR0_PKRU         BIT(9)

typedef void fix_function(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                          uint32_t subleaf, struct cpuid_registers *answer);

struct row {
    uint32_t leaf, subleaf;
    struct cpuid_registers keep; /* of what the processor says */
    struct cpuid_registers set;  /* in any case */
    fix_function *fix;           /* what depends on the machine */
    const char *reason;
};

/* ---- what depends on the machine --------------------------------------------------------------- */

static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while (1u << bits < count)
        bits++;
    return bits;
}

static void limit(uint32_t *value, uint32_t most)
{
    *value = *value < most ? *value : most;
}

static void fix_max(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                    uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)policy, (void)guest, (void)subleaf;
    limit(&answer->eax, LEAF_MAX);
}

static void fix_extended_max(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                             uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)policy, (void)guest, (void)subleaf;
    limit(&answer->eax, LEAF_EXTENDED_MAX);
}

static void fix_features(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                         uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)subleaf;
    answer->ebx = (answer->ebx & 0xff00) | policy->vcpu_count << 16 | guest->apic_id << 24;
    if (policy->vcpu_count > 1)
        answer->edx |= BIT(28);
    if (policy->mtrr)
        answer->edx |= BIT(12);
    if (!(policy->xcr0_allowed & XCR0_AVX))
        answer->ecx &= ~(BIT(28) | BIT(12) | BIT(29)); /* AVX FMA F16C */
    if (guest->cr4 & CR4_OSXSAVE)
        answer->ecx |= BIT(27);
}

static void fix_structured(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                           uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)subleaf;
    answer->eax = 0;
    if ((policy->xcr0_allowed & XCR0_AVX512) != XCR0_AVX512) {
        answer->ebx &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31));
        answer->ecx &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
    }
    if (!(policy->xcr0_allowed & XCR0_AVX)) {
        answer->ebx &= ~BIT(5);
        answer->ecx &= ~(BIT(9) | BIT(10));
    }
    if (!(policy->xcr0_allowed & XCR0_PKRU))
        answer->ecx &= ~BIT(3);
    if (answer->ecx & BIT(3) && guest->cr4 & CR4_PKE)
        answer->ecx |= BIT(4);
    if (!policy->speculation)
        answer->edx &= ~(BIT(26) | BIT(27) | BIT(31));
}

/* Each cache is one vCPU's own, but the last level, which all share. */
static void fix_caches(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                       uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)guest, (void)subleaf;
    uint32_t level = answer->eax >> 5 & 7, shared = level >= 3 ? policy->vcpu_count - 1 : 0;
    if (answer->eax & 0x1f)
        answer->eax = (answer->eax & 0x3fff) | shared << 14 | (policy->vcpu_count - 1) << 26;
}

/* One package; a vCPU is a core with one thread. */
static void fix_topology(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                         uint32_t subleaf, struct cpuid_registers *answer)
{
    *answer = (struct cpuid_registers){0, 0, subleaf & 0xff, guest->apic_id};
    if (subleaf == 0) {
        answer->ebx = 1;
        answer->ecx |= 1u << 8; /* threads */
    } else if (subleaf == 1) {
        answer->eax = bits_for(policy->vcpu_count);
        answer->ebx = policy->vcpu_count;
        answer->ecx |= 2u << 8; /* cores */
    }
}

/* The size of an XSAVE area with these components: standard, or compacted (SDM 1, 13.4). */
static uint32_t area_size(const struct cpuid_policy *policy, uint64_t components, bool compacted)
{
    uint32_t size = 512 + 64;
    for (uint32_t i = 2; i < 63; i++) {
        if (!(components >> i & 1))
            continue;
        struct cpuid_registers part = policy->host(0xd, i);
        uint32_t offset = compacted ? (part.ecx & 2 ? (size + 63) & ~63u : size) : part.ebx;
        size = offset + part.eax > size ? offset + part.eax : size;
    }
    return size;
}

static void fix_xsave(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                      uint32_t subleaf, struct cpuid_registers *answer)
{
    uint64_t allowed = policy->xcr0_allowed;
    if (subleaf == 0) {
        *answer =
            (struct cpuid_registers){(uint32_t)allowed, area_size(policy, guest->xcr0, false),
                                     area_size(policy, allowed, false), (uint32_t)(allowed >> 32)};
    } else if (subleaf == 1) {
        answer->eax &=
            7; /* XSAVEOPT, XSAVEC, XGETBV of 1; not XSAVES, whose state is not switched */
        answer->ebx = answer->eax & 2 ? area_size(policy, guest->xcr0, true) : 0;
        answer->ecx = answer->edx = 0;
    } else if (subleaf > 62 || !(allowed >> subleaf & 1)) {
        *answer = (struct cpuid_registers){0};
    }
}

static void fix_timing(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                       uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)guest, (void)subleaf;
    answer->eax = (uint32_t)policy->tsc_khz;
    answer->ebx = (uint32_t)policy->tsc_khz; /* the local APIC's timer has the TSC's clock */
}

static void fix_extended_features(const struct cpuid_policy *policy,
                                  const struct cpuid_guest *guest, uint32_t subleaf,
                                  struct cpuid_registers *answer)
{
    (void)guest, (void)subleaf;
    if (policy->vcpu_count > 1)
        answer->ecx |= BIT(1); /* CMP_LEGACY: the threads of leaf 1 are cores */
}

static void fix_sizes(const struct cpuid_policy *policy, const struct cpuid_guest *guest,
                      uint32_t subleaf, struct cpuid_registers *answer)
{
    (void)guest, (void)subleaf;
    answer->ecx = (policy->vcpu_count - 1) | bits_for(policy->vcpu_count) << 12;
    if (!policy->speculation)
        answer->ebx &= ~(BIT(12) | BIT(14) | BIT(15) | BIT(24));
}

/* ---- the table ---------------------------------------------------------------------------------- */

#define KEEP_ALL           \
    {                      \
        ALL, ALL, ALL, ALL \
    }
#define NONE       \
    {              \
        0, 0, 0, 0 \
    }

/* SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
#define LEAF1_ECX                                                                           \
    (BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) | BIT(22) | \
     BIT(23) | BIT(25) | BIT(26) | BIT(28) | BIT(29) | BIT(30))
/* FPU VME DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS */
#define LEAF1_EDX                                                                             \
    (0x37fu | BIT(11) | BIT(13) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | \
     BIT(25) | BIT(26) | BIT(27))
/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512F/DQ RDSEED ADX SMAP IFMA CLFLUSHOPT CLWB CD SHA BW VL */
#define LEAF7_EBX                                                                                 \
    (BIT(0) | BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | BIT(10) | BIT(13) | BIT(16) | \
     BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(21) | BIT(23) | BIT(24) | BIT(28) | BIT(29) |    \
     BIT(30) | BIT(31))
/* VBMI UMIP PKU VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ */
#define LEAF7_ECX \
    (BIT(1) | BIT(2) | BIT(3) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14))
/* FSRM MD_CLEAR SPEC_CTRL STIBP SSBD */
#define LEAF7_EDX (BIT(4) | BIT(10) | BIT(26) | BIT(27) | BIT(31))
/* LAHF CR8 ABM SSE4A MISALIGN 3DNOWPREFETCH FMA4 TBM; not SVM, EXTAPIC, OSVW, IBS, TOPOEXT, PERFCTR */
#define EXTENDED_ECX (BIT(0) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(16) | BIT(21))
/* As leaf 1 where AMD repeats it, and SYSCALL NX MMXEXT FFXSR 1G RDTSCP LM 3DNOW; not MCE, MTRR, MCA */
#define EXTENDED_EDX                                                                          \
    (0x37fu | BIT(11) | BIT(13) | BIT(15) | BIT(16) | BIT(17) | BIT(20) | BIT(22) | BIT(23) | \
     BIT(24) | BIT(25) | BIT(26) | BIT(27) | BIT(29) | BIT(30) | BIT(31))
/* CLZERO XSAVEERPTR WBNOINVD IBPB IBRS STIBP SSBD; not the PPIN and the rest */
#define SIZES_EBX (BIT(0) | BIT(2) | BIT(9) | BIT(12) | BIT(14) | BIT(15) | BIT(24))

/* CLOCKSOURCE NOP_IO_DELAY CLOCKSOURCE2 PV_EOI CLOCKSOURCE_STABLE */
#define KVM_FEATURES (BIT(0) | BIT(1) | BIT(3) | BIT(6) | BIT(24))

static const struct row rows[] = {
    {0x0, ANY, KEEP_ALL, NONE, fix_max, "vendor as it is; no leaves that we have no rows for"},
    {0x1,
     ANY,
     {ALL, ALL, LEAF1_ECX, LEAF1_EDX},
     {0, 0, BIT(21) | BIT(24) | BIT(31), BIT(9)},
     fix_features,
     "x2APIC and TSC deadline are modelled on every processor, a hypervisor is there; no VMX, "
     "MONITOR, "
     "thermal and debug-store features: not modelled; no MCE, MCA, and MTRR on a `pc` alone: "
     "memory types are ours, "
     "machine "
     "checks go to the host, and each would cost a guest dozens of exits at its start"},
    {0x2, ANY, KEEP_ALL, NONE, NULL, "sizes of caches and TLBs, for tuning"},
    {0x4, ANY, KEEP_ALL, NONE, fix_caches, "the same; who shares them follows the vCPUs"},
    {0x6,
     ANY,
     NONE,
     {BIT(2), 0, 0, 0},
     NULL,
     "ARAT: the timer goes on in any idle state; no power limits"},
    {0x7,
     0,
     {0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX},
     NONE,
     fix_structured,
     "instructions that need no help; no TSC_ADJUST, TSX, SGX, PT, MPX, CET, AMX: not switched for "
     "a guest"},
    {0xb, ANY, NONE, NONE, fix_topology, "one package, a core for each vCPU"},
    {0xd, ANY, KEEP_ALL, NONE, fix_xsave, "the parts of XCR0 that the kernel switches"},
    {LEAF_HYPERVISOR,
     ANY,
     NONE,
     {LEAF_TIMING, 0x4b4d564b, 0x564b4d56, 0x4d},
     NULL,
     "KVM's signature: Linux then takes the clock's rate from us and calibrates nothing"},
    {LEAF_HYPERVISOR + 1,
     ANY,
     NONE,
     {KVM_FEATURES, 0, 0, 0},
     NULL,
     "a clock page that is written once and stable, PV EOI, no waiting by port 0x80"},
    {LEAF_TIMING, ANY, NONE, NONE, fix_timing, "TSC and APIC clock in kHz, for firmware"},
    {LEAF_EXTENDED, ANY, KEEP_ALL, NONE, fix_extended_max, "no leaves that we have no rows for"},
    {0x80000001,
     ANY,
     {ALL, ALL, EXTENDED_ECX, EXTENDED_EDX},
     NONE,
     fix_extended_features,
     "no SVM: a guest has no guests; no OSVW, IBS, TOPOEXT, counters: not modelled"},
    {0x80000002, ANY, KEEP_ALL, NONE, NULL, "the processor's name"},
    {0x80000003, ANY, KEEP_ALL, NONE, NULL, "the processor's name"},
    {0x80000004, ANY, KEEP_ALL, NONE, NULL, "the processor's name"},
    {0x80000005, ANY, KEEP_ALL, NONE, NULL, "sizes of caches and TLBs, for tuning"},
    {0x80000006, ANY, KEEP_ALL, NONE, NULL, "the same"},
    {0x80000007,
     ANY,
     NONE,
     {0, 0, 0, BIT(8)},
     NULL,
     "invariant TSC: the kernel demands it of the machine; no power states"},
    {0x80000008,
     ANY,
     {0xffff, SIZES_EBX, 0, 0},
     NONE,
     fix_sizes,
     "address widths; speculation controls where they are let through"},
};

static const struct row *find(uint32_t leaf, uint32_t subleaf)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].leaf == leaf && (rows[i].subleaf == ANY || rows[i].subleaf == subleaf))
            return &rows[i];
    return NULL;
}

bool cpuid_wants_control(uint32_t leaf)
{
    return leaf == 1 || leaf == 7 || leaf == 0xd;
}

struct cpuid_registers cpuid_answer(const struct cpuid_policy *policy,
                                    const struct cpuid_guest *guest, uint32_t leaf,
                                    uint32_t subleaf)
{
    const struct row *row = find(leaf, subleaf);
    struct cpuid_registers answer = {0};
    if (!row)
        return answer;
    const struct cpuid_registers *keep = &row->keep, *set = &row->set;
    if (keep->eax | keep->ebx | keep->ecx | keep->edx)
        answer = policy->host(leaf, subleaf);
    answer.eax = (answer.eax & keep->eax) | set->eax;
    answer.ebx = (answer.ebx & keep->ebx) | set->ebx;
    answer.ecx = (answer.ecx & keep->ecx) | set->ecx;
    answer.edx = (answer.edx & keep->edx) | set->edx;
    if (row->fix)
        row->fix(policy, guest, subleaf, &answer);
    return answer;
}
