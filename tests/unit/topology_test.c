/*
 * Which CPUs are threads of one core, as processors tell it.
 * links: root/topology.c
 */
#include "../../root/topology.h"
#include "unit_test.h"

struct answer {
    uint32_t leaf, subleaf;
    struct cpuid_registers is;
};

static const struct answer *answers;

static struct cpuid_registers answer(uint32_t leaf, uint32_t subleaf)
{
    for (const struct answer *a = answers; a->leaf != UINT32_MAX; a++)
        if (a->leaf == leaf && a->subleaf == subleaf)
            return a->is;
    return (struct cpuid_registers){0};
}

static unsigned bits(const struct answer *of)
{
    answers = of;
    return topology_thread_bits(answer);
}

#define END            \
    {                  \
        UINT32_MAX, 0, \
        {              \
            0          \
        }              \
    }

TEST(topology_leaf_1f, "the newer topology leaf goes before the older one")
{
    const struct answer with[] = {{0, 0, {.eax = 0x20}},
                                  {0x1f, 0, {.eax = 1, .ebx = 2, .ecx = 0x100}},
                                  {0xb, 0, {.eax = 3, .ebx = 8, .ecx = 0x100}},
                                  END};
    const struct answer empty[] = {
        {0, 0, {.eax = 0x20}}, {0xb, 0, {.eax = 3, .ebx = 8, .ecx = 0x100}}, END};
    EXPECT(bits(with), 1);
    EXPECT(bits(empty), 3);
}

TEST(topology_leaf_b, "a first level of other things than threads is no answer")
{
    const struct answer one[] = {
        {0, 0, {.eax = 0xd}}, {0xb, 0, {.eax = 0, .ebx = 1, .ecx = 0x100}}, END};
    const struct answer cores[] = {
        {0, 0, {.eax = 0xd}}, {0xb, 0, {.eax = 2, .ebx = 4, .ecx = 0x200}}, END};
    EXPECT(bits(one), 0);
    EXPECT(bits(cores), 0);
}

TEST(topology_amd, "AMD's leaf tells the threads of a core")
{
    const struct answer two[] = {{0, 0, {.eax = 0xa}},
                                 {1, 0, {.ebx = 16 << 16, .edx = 1 << 28}},
                                 {0x80000000, 0, {.eax = 0x8000001f}},
                                 {0x80000001, 0, {.ecx = 1 << 22 | 2}},
                                 {0x8000001e, 0, {.ebx = 1 << 8}},
                                 END};
    const struct answer old[] = {{0, 0, {.eax = 5}},
                                 {1, 0, {.ebx = 4 << 16, .edx = 1 << 28}},
                                 {0x80000000, 0, {.eax = 0x80000008}},
                                 {0x80000001, 0, {.ecx = 2}},
                                 END};
    EXPECT(bits(two), 1);
    EXPECT(bits(old), 0);
}

TEST(topology_counts, "without such leaves: threads of the package, cores of the package")
{
    const struct answer nehalem[] = {{0, 0, {.eax = 5}},
                                     {1, 0, {.ebx = 16 << 16, .edx = 1 << 28}},
                                     {4, 0, {.eax = 7u << 26}},
                                     END};
    const struct answer pentium4[] = {
        {0, 0, {.eax = 2}}, {1, 0, {.ebx = 2 << 16, .edx = 1 << 28}}, END};
    const struct answer single[] = {{0, 0, {.eax = 2}}, {1, 0, {.ebx = 2 << 16}}, END};
    EXPECT(bits(nehalem), 1);
    EXPECT(bits(pentium4), 1);
    EXPECT(bits(single), 0);
}
