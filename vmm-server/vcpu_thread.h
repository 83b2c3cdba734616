/* One vCPU: its thread's loop around the call that runs it, and what handlers of exits do to it. */
#ifndef VMM_VCPU_THREAD_H
#define VMM_VCPU_THREAD_H

#include "machine.h"

struct boot_entry;
struct message;

#define VECTOR_UD 6u
#define VECTOR_GP 13u
#define EVENT_UD  VCPU_EVENT(VECTOR_UD, VCPU_EVENT_EXCEPTION)
#define EVENT_GP  (VCPU_EVENT(VECTOR_GP, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR)

/* Before its thread runs. */
void vcpu_init(struct vcpu *vcpu, struct machine *machine, unsigned number);
/* The first vCPU begins as the loader of a kernel wants it. */
void vcpu_begin(struct vcpu *vcpu, const struct boot_entry *entry);
/* The first vCPU begins as a processor comes out of reset: at the last 16 bytes below 4 GiB (SDM 3, 9.1.4). */
void vcpu_begin_reset(struct vcpu *vcpu);
/* What a vCPU's thread does, for ever; the argument is the vCPU. */
void vcpu_thread(void *argument);

/* ---- for handlers of exits, on the vCPU's thread ------------------------------------------------ */

/* The state page has these groups. */
void vcpu_need(struct vcpu *vcpu, uint32_t groups);
/* Writes a word of the state page through to the vCPU; false (and nothing changed): the processor does not take it. */
bool vcpu_try_write(struct vcpu *vcpu, uint32_t group, uint64_t *word, uint64_t value);
/* Before a control register is changed: if the kernel refuses the change, the guest gets #GP at the instruction. */
void vcpu_undo_point(struct vcpu *vcpu);
/* Goes on behind the instruction. */
void vcpu_skip(struct vcpu *vcpu, unsigned length);
/* Injects an exception at the instruction. */
void vcpu_inject(struct vcpu *vcpu, uint64_t event);
void vcpu_set_tsc_offset(struct vcpu *vcpu, uint64_t offset);
/* A state that execute_instruction has changed goes to the vCPU. */
void vcpu_take_state(struct vcpu *vcpu, uint32_t changed);
/* One call of the vCPU with nothing to inject and no windows asked for, whose exit is not handled. */
struct message vcpu_run_plainly(struct vcpu *vcpu, uint64_t deadline);
/* Executes the instruction of an exit with fault_access that execute_instruction does not know by the guest's own
 * processor, while no other vCPU runs. NULL: it is done, or its exception is to be injected; else what it is, for a report. */
const char *vcpu_step(struct vcpu *vcpu);
/* If another vCPU steps: waits until that is over. */
bool vcpu_parks(struct vcpu *vcpu);
/* Ends the guest as one that can't go on, with a report. */
void vcpu_stop_guest(struct vcpu *vcpu, const char *why);

#endif
