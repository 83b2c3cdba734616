/* A guest's control registers, where an access exits. */
#ifndef VMM_CPU_CONTROL_H
#define VMM_CPU_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* CR0, CR2, CR3, CR4, CR8. The state page has VCPU_GROUP_CONTROL; what is changed is marked dirty. False: #GP. What only
 * the kernel can judge (reserved bits) it refuses at the next call, and the guest gets #GP then. */
bool control_read(struct vcpu *vcpu, unsigned number, uint64_t *value);
bool control_write(struct vcpu *vcpu, unsigned number, uint64_t value);

#endif
