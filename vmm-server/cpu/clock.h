/*
 * A guest's paravirtual time: KVM's clock page and wall clock, and the registration of PV EOI (Linux,
 * Documentation/virt/kvm/x86/msr.rst). The page is written once, when the guest names it: the TSC of all vCPUs is one
 * clock of a known rate, and the page says so (STABLE).
 */
#ifndef VMM_CPU_CLOCK_H
#define VMM_CPU_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* MSRs 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d04. False: #GP. */
bool clock_read_msr(struct vcpu *vcpu, uint32_t index, uint64_t *value);
bool clock_write_msr(struct vcpu *vcpu, uint32_t index, uint64_t value);

/* How the clock turns ticks of a TSC into nanoseconds: (ticks << shift, or >> -shift) * multiplier / 2^32. */
struct clock_scale {
    uint32_t multiplier;
    int8_t shift;
};
struct clock_scale clock_scale_of(uint64_t tsc_khz);

/* Nanoseconds from 1970 to the time when the TSC was began_ticks, where it was `ticks` at `seconds` since 1970;
 * 0 if `seconds` is 0, which stands for not known. */
uint64_t clock_began(uint64_t seconds, uint64_t ticks, uint64_t began_ticks, uint64_t tsc_khz);

#endif
