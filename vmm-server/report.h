/* What a person is told of a guest that can't go on. */
#ifndef VMM_REPORT_H
#define VMM_REPORT_H

#include "machine.h"

/* Into the system log: what happened and what to do, then registers, segments, control registers, code. On the vCPU's
 * thread. */
void report(struct vcpu *vcpu, const char *what, const char *cure);
/* Copies code at the vCPU's RIP; how many bytes could be read. */
size_t report_code(struct vcpu *vcpu, uint8_t *code, size_t size_bytes);

#endif
