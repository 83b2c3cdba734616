#include "topology.h"

#include <stdbool.h>

enum {
    LEAF_BASIC = 0,
    LEAF_FEATURES = 1,
    LEAF_CACHES = 4,
    LEAF_TOPOLOGY = 0xb,
    LEAF_TOPOLOGY_2 = 0x1f,
    LEAF_EXTENDED = 0x80000000,
    LEAF_EXTENDED_FEATURES = 0x80000001,
    LEAF_TOPOLOGY_AMD = 0x8000001e
};
enum { LEVEL_THREADS = 1 };     /* ECX bits 15 to 8 of the topology leaves */
enum { FEATURE_HTT = 1 << 28 }; /* EDX: EBX has a number of logical processors */
enum {
    EXTENDED_CORES_ONLY = 1 << 1, /* ECX, CmpLegacy: those are cores */
    EXTENDED_TOPOLOGY = 1 << 22
}; /* ECX, TopologyExtensions */

/* For so many things; at least 1. */
static unsigned bits_for(uint32_t count)
{
    return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

static bool from_topology(topology_source cpuid, uint32_t leaf, unsigned *bits)
{
    struct cpuid_registers level = cpuid(leaf, 0);
    if ((level.ebx & 0xffff) == 0 || (level.ecx >> 8 & 0xff) != LEVEL_THREADS)
        return false;
    *bits = level.eax & 31;
    return true;
}

/* Processors without these leaves number all threads of a package, and its cores. */
static unsigned from_counts(topology_source cpuid, uint32_t highest)
{
    struct cpuid_registers features = cpuid(LEAF_FEATURES, 0);
    if (!(features.edx & FEATURE_HTT))
        return 0;
    unsigned cores = highest >= LEAF_CACHES ? bits_for((cpuid(LEAF_CACHES, 0).eax >> 26) + 1) : 0;
    unsigned threads = bits_for(features.ebx >> 16 & 0xff);
    return threads > cores ? threads - cores : 0;
}

unsigned topology_thread_bits(topology_source cpuid)
{
    uint32_t highest = cpuid(LEAF_BASIC, 0).eax, highest_extended = cpuid(LEAF_EXTENDED, 0).eax;
    unsigned bits;
    if (highest >= LEAF_TOPOLOGY_2 && from_topology(cpuid, LEAF_TOPOLOGY_2, &bits))
        return bits;
    if (highest >= LEAF_TOPOLOGY && from_topology(cpuid, LEAF_TOPOLOGY, &bits))
        return bits;
    uint32_t extended =
        highest_extended >= LEAF_EXTENDED_FEATURES ? cpuid(LEAF_EXTENDED_FEATURES, 0).ecx : 0;
    if (extended & EXTENDED_TOPOLOGY && highest_extended >= LEAF_TOPOLOGY_AMD)
        return bits_for((cpuid(LEAF_TOPOLOGY_AMD, 0).ebx >> 8 & 0xff) + 1);
    return extended & EXTENDED_CORES_ONLY ? 0 : from_counts(cpuid, highest);
}
