/*
 * FPU registers. They stay live among a task's own threads and vCPUs and are saved and cleared before
 * another task runs; with nothing live CR0.TS is set and the first use loads the state.
 */
#pragma once

#include "core/cpu.h"
#include "core/quota.h"

struct vcpu;

extern uint64_t fpu_xcr0; /* what the kernel enables: never AMX */
extern uint32_t fpu_area_bytes;

void fpu_init_cpu(void);
/* #NM: loads the current thread's state. False: no quota for its area (the thread gets a fault). */
bool fpu_use(struct thread *thread);
/* Guest entry: the vCPU's state becomes live (its area exists since creation). */
void fpu_load_vcpu(struct vcpu *vcpu);
/* Saves and clears whatever is live here. */
void fpu_release(struct cpu *cpu);
/* Writes the registers of a thread or vCPU back to memory, on the CPU where they are live. */
void fpu_sync(void *owner);
struct fpu_state *fpu_alloc(struct quota *quota); /* the initial state; NULL: NO_QUOTA */
void fpu_free(struct quota *quota, struct fpu_state *state);
void fpu_copy_out(const struct fpu_state *from, void *to, uint32_t size_bytes);
bool fpu_copy_in(struct fpu_state *to, const void *from, uint32_t size_bytes); /* checks XSAVE header */
