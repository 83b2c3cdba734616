/* From the reasons of exits to what is done about them: one table (exit.c). */
#ifndef VMM_EXIT_H
#define VMM_EXIT_H

#include "machine.h"

/* Says in the vCPU's state page which groups each exit brings along. */
void exit_subscribe(struct vcpu_state *state);
/* Handles an exit, on the vCPU's thread. */
void exit_handle(struct vcpu *vcpu, enum vcpu_exit reason, const struct message *exit);
const char *exit_name(enum vcpu_exit reason);

#endif
