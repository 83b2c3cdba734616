/* For the backends: how an exit leaves them. */
#ifndef VIRT_VCPU_EXIT_H
#define VIRT_VCPU_EXIT_H

#include "virt/vcpu.h"
#include "x86/processor.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Any exit: the kernel's own, a failed entry, or one that becomes the reply. */
_Noreturn void vcpu_exited(struct vcpu *vcpu, const struct vcpu_exit_info *exit);

/* Exits whose meaning depends on no vendor; *exit has the reason, address and length already. An exception:
 * `error` is its code, if event says that there is one. */
void vcpu_exit_exception(struct vcpu *vcpu, uint64_t event, uint64_t error, struct vcpu_exit_info *exit);
static inline void vcpu_exit_msr(const struct vcpu *vcpu, bool write, struct vcpu_exit_info *exit)
{
    const uint64_t *gpr = vcpu->state->gpr;

    exit->reason = write ? EXIT_MSR_WRITE : EXIT_MSR_READ;
    exit->qualification = (uint32_t)gpr[1];
    exit->address = write ? gpr[2] << 32 | (uint32_t)gpr[0] : 0;
}

/* Makes the bits of `mask` those of `value`. */
static inline void vcpu_special_set(struct vcpu *vcpu, uint32_t mask, uint32_t value)
{
    uint32_t changes = (__atomic_load_n(&vcpu->special, __ATOMIC_RELAXED) ^ value) & mask;
    if (changes & value)
        __atomic_fetch_or(&vcpu->special, changes & value, __ATOMIC_SEQ_CST);
    if (changes & ~value)
        __atomic_fetch_and(&vcpu->special, ~(changes & ~value), __ATOMIC_SEQ_CST);
}

/* The event that waited is to be injected, or (0) the guest has taken it. */
void vcpu_take_waiting(struct vcpu *vcpu, uint64_t event);

/* Ends a call whose event, if it had one, was delivered; what became of it, as in the reply's label. */
uint32_t vcpu_end_call(struct vcpu *vcpu);

/* An exit of a vCPU where `special` is at most SPECIAL_CALL and no event was cut: the reply, and out to
 * user mode. That the scheduler need not run was tested before the entry. Returns, with nothing done, if
 * the VMM has subscribed to groups of state beyond VCPU_GROUP_INSTRUCTION: use vcpu_exited. */
static ALWAYS_INLINE void
vcpu_answer(struct cpu *cpu, struct vcpu *vcpu, uint32_t special, uint32_t reason, uint64_t qualification,
            uint64_t address, uint32_t instruction_length, uint32_t interruptibility, uint64_t rip)
{
    struct thread *thread = vcpu->runner;

    if (unlikely(special) && reason == EXIT_INTERRUPTIBLE && vcpu->waiting)
        return; /* the kernel's own */
    if (unlikely(vcpu->state->subscription[reason])) {
        if (vcpu->state->subscription[reason] != VCPU_GROUP_INSTRUCTION)
            return;
        vcpu_ops->read(vcpu, VCPU_GROUP_INSTRUCTION, vcpu->state);
    }
    if (unlikely(special))
        reason |= vcpu_end_call(vcpu);
    cpu->in_guest = NULL;
    vcpu->runner = NULL;
    thread->vcpu = NULL;
    ipc_set_reply(thread, STATUS_OK,
                  (uint64_t)reason << TAG_LABEL_SHIFT | ORIGIN_VCPU_EXIT << TAG_ORIGIN_SHIFT | 4,
                  qualification, address, rip, instruction_length | (uint64_t)interruptibility << 8);
    processor_return_sysret(thread);
}

#endif
