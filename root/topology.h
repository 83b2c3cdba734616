/* Which CPUs are threads of one processor core. */
#ifndef ROOT_TOPOLOGY_H
#define ROOT_TOPOLOGY_H

#include "cpuid_registers.h"

/* What CPUID answers to a leaf and a subleaf. */
typedef struct cpuid_registers (*topology_source)(uint32_t leaf, uint32_t subleaf);

/* The lower bits of an APIC identifier that tell the threads of a core apart; 0: a core has one (SDM volume 3, 9.9.3;
 * APM volume 3, E.4.15). */
unsigned topology_thread_bits(topology_source cpuid);

#endif
