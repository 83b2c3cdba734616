/* A guest's model-specific registers: one table (msr.c). */
#ifndef VMM_CPU_MSR_H
#define VMM_CPU_MSR_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* An access that exited. False: the guest gets #GP(0). Called by the vCPU's thread. */
bool msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value);
bool msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value);

#endif
