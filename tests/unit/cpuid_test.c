/* links: vmm-server/cpu/cpuid.c */
#include "unit_test.h"

#include "cpu/cpuid.h"

/* A processor that has everything. */
static struct cpuid_registers everything(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 0xd && subleaf >= 2)
        return (struct cpuid_registers){256, 512 + 64 + (subleaf - 2) * 256, 2, 0};
    return (struct cpuid_registers){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
}

static const struct cpuid_policy policy = {
    .vcpu_count = 3, .tsc_khz = 2000000, .xcr0_allowed = 7, .host = everything};

static struct cpuid_registers ask(uint32_t leaf, uint32_t subleaf, uint64_t cr4)
{
    const struct cpuid_guest guest = {2, cr4, 3};
    return cpuid_answer(&policy, &guest, leaf, subleaf);
}

TEST(cpuid_hides, "what is not modelled and not switched is hidden, however much the processor has")
{
    struct cpuid_registers one = ask(1, 0, 0), seven = ask(7, 0, 0), more = ask(0x80000001, 0, 0);
    EXPECT(one.ecx & (1u << 5 | 1u << 3 | 1u << 2 | 1u << 15), 0);   /* VMX MONITOR DTES64 PDCM */
    EXPECT(one.edx & (1u << 7 | 1u << 12 | 1u << 14 | 1u << 22), 0); /* MCE MTRR MCA ACPI */
    struct cpuid_policy of_pc = policy;
    of_pc.mtrr = true;
    EXPECT(cpuid_answer(&of_pc, &(struct cpuid_guest){2, 0, 3}, 1, 0).edx >> 12 & 1, 1);
    EXPECT(seven.ebx & (1u << 1 | 1u << 2 | 1u << 4 | 1u << 11 | 1u << 25), 0);
    EXPECT(seven.ecx & (1u << 7 | 1u << 3), 0);              /* CET; PKU, which XCR0 lacks here */
    EXPECT(seven.ebx & (1u << 16 | 1u << 31), 0);            /* AVX-512, the same */
    EXPECT(seven.edx & (1u << 24 | 1u << 25 | 1u << 26), 0); /* AMX; SPEC_CTRL is not let through */
    EXPECT(more.ecx & (1u << 2 | 1u << 3 | 1u << 9 | 1u << 10 | 1u << 22 | 1u << 23), 0);
}

TEST(cpuid_shows,
     "x2APIC, TSC deadline and the hypervisor are shown, and KVM's signature with its clock")
{
    struct cpuid_registers one = ask(1, 0, 0), name = ask(0x40000000, 0, 0);
    EXPECT(one.ecx & (1u << 21 | 1u << 24 | 1u << 31), 1u << 21 | 1u << 24 | 1u << 31);
    CHECK(memcmp(&name.ebx, "KVMK", 4) == 0 && memcmp(&name.ecx, "VMKV", 4) == 0 &&
          memcmp(&name.edx, "M\0\0\0", 4) == 0);
    EXPECT(ask(0x40000001, 0, 0).eax, 1u | 2u | 8u | 64u | 1u << 24);
    EXPECT(ask(0x40000010, 0, 0).eax, 2000000);
    EXPECT(ask(0x80000007, 0, 0).edx, 1u << 8);
}

TEST(cpuid_follows_guest,
     "OSXSAVE follows the guest's CR4, sizes its XCR0, and the topology its vCPUs")
{
    EXPECT(ask(1, 0, 0).ecx >> 27 & 1, 0);
    EXPECT(ask(1, 0, 1u << 18).ecx >> 27 & 1, 1);
    EXPECT(ask(1, 0, 0).ebx >> 24, 2);
    EXPECT(ask(1, 0, 0).ebx >> 16 & 0xff, 3);
    EXPECT(ask(0xd, 0, 0).eax, 7);
    EXPECT(ask(0xd, 0, 0).ebx, 576);
    EXPECT(ask(0xd, 0, 0).ecx, 576 + 256);
    EXPECT(ask(0xd, 1, 0).eax, 7);
    EXPECT(ask(0xd, 2, 0).eax, 256);
    EXPECT(ask(0xd, 9, 0).eax, 0);
    EXPECT(ask(0xb, 0, 0).ebx, 1);
    EXPECT(ask(0xb, 1, 0).ebx, 3);
    EXPECT(ask(0xb, 1, 0).eax, 2);
    EXPECT(ask(0xb, 1, 0).edx, 2);
    EXPECT(ask(0xb, 2, 0).ebx, 0);
    EXPECT(ask(0x80000008, 0, 0).ecx, 2u | 2u << 12);
}

TEST(cpuid_unlisted, "leaves without a row are zero, and the highest leaves are those of the table")
{
    static const uint32_t unlisted[] = {3,          5,          9,          0xa,        0xf,
                                        0x10,       0x12,       0x14,       0x1f,       0x20,
                                        0x40000002, 0x40000100, 0x80000009, 0x8000000a, 0x8000001d,
                                        0x8000001f, 0xc0000001, UINT32_MAX};
    for (unsigned i = 0; i < sizeof unlisted / sizeof *unlisted; i++) {
        struct cpuid_registers answer = ask(unlisted[i], 0, 0);
        EXPECT(answer.eax | answer.ebx | answer.ecx | answer.edx, 0);
    }
    EXPECT(ask(7, 1, 0).eax, 0);
    EXPECT(ask(0, 0, 0).eax, 0xd);
    EXPECT(ask(0x80000000, 0, 0).eax, 0x80000008);
}
