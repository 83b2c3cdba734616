/* A guest that counts for ever, and threads that do something while it runs: what the tests of a vCPU's calls share. */
#ifndef TESTS_KERNEL_VCPU_SPIN_H
#define TESTS_KERNEL_VCPU_SPIN_H

#include "vm.h"

#define CODE 0x1000u
#define DATA 0x3000u

static inline uint32_t word(const struct vm *vm, uint64_t address)
{
    return *(volatile uint32_t *)(vm->memory + address);
}

/* A guest that counts at DATA for ever. */
static inline void prepare_spin(struct vm *vm)
{
    vm_create(vm, 16);
    VM_LOAD(vm, CODE, guest_spin);
    vm_protected_mode(vm, CODE);
}

static inline void expect_no_exit(const struct message *reply, uint64_t status)
{
    EXPECT_STATUS(reply->status, status);
    EXPECT(TAG_ORIGIN(reply->tag), ORIGIN_VCPU_EXIT);
    EXPECT(vm_exit_reason(reply), EXIT_NONE);
    EXPECT(vm_event_outcome(reply), VCPU_EVENT_NONE);
}

/* in[1]: the state page of a vCPU. Waits until its guest has run. */
static inline void await_entry(struct worker *worker)
{
    const volatile struct vcpu_state *state = (const struct vcpu_state *)worker->in[1];
    while (!state->entries)
        sleep_ticks(microseconds(100));
}

/* in[0]: the capability to meddle with. */
static inline struct worker *meddler_go(struct vm *vm, unsigned cpu,
                                        void (*run)(struct worker *worker), cap_slot_t with)
{
    struct worker *worker = worker_new(NULL, cpu, PRIORITY_HIGH, run);
    worker->in[0] = with;
    worker->in[1] = (uint64_t)vm->state[0];
    worker_start(worker);
    return worker;
}

static inline void force(cap_slot_t vcpu)
{
    EXPECT_OK(sys_control(vcpu, CONTROL_VCPU_FORCE_EXIT, 0, 0, 0, 0).status);
}

#endif
