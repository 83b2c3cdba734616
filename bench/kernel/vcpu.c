/* What an exit costs that a VMM handles, and an interrupt from one virtual processor to another. */
#include "bench.h"

#include "tests/kernel/vm.h"

#define CODE 0x1000u
#define RECEIVER 0x1100u
#define HANDLER (RECEIVER + 16)
#define IPI_VECTOR 0x40u

static const char *vendor(const char *svm, const char *vmx)
{
    return boot->virtualization == BOOT_VIRT_SVM ? svm : vmx;
}

/* A VMM's thread has a notification bound, so that others can end its guest's run. */
static void bind_notification(void)
{
    EXPECT_OK(sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, notification_new(0), 0,
                          0, 0)
                  .status);
}

/* The answers to CPUID, by leaf: what a VMM has as a table. */
static uint32_t cpuid_table[4][4] = {{1, 0x756e6547, 0x6c65746e, 0x49656e69}, {0x806e9, 0, 0, 0}};

static inline void handle(struct vcpu_state *state, const struct message *exit)
{
    switch (vm_exit_reason(exit)) {
    case EXIT_CPUID: {
        const uint32_t *leaf = cpuid_table[state->gpr[0] & 3];
        state->gpr[0] = leaf[0];
        state->gpr[3] = leaf[1];
        state->gpr[1] = leaf[2];
        state->gpr[2] = leaf[3];
        break;
    }
    case EXIT_IO:
        state->gpr[0] = (state->gpr[0] & ~0xffull) | (exit->w[0] & 0xffff);
        break;
    default:
        test_fail(__FILE__, __LINE__, "expected an exit of the guest, got reason %u",
                  (unsigned)vm_exit_reason(exit));
    }
}

static void measure_exits(struct vm *vm, uint64_t length, const char *name, const char *comment)
{
    struct vcpu_state *state = vm_state(vm);
    struct message exit = vm_run(vm, 0, 0, 0, 0, far_deadline());
    uint64_t deadline = far_deadline(), vcpu = vm->vcpu[0];
    struct measurement m;

    for (unsigned i = 0; i < 64; i++)
        state->subscription[i] = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        unsigned rounds = pass ? ROUNDS : WARM_UP;
        measure_begin(&m);
        for (unsigned i = 0; i < rounds; i++) {
            handle(state, &exit);
            exit = syscall_raw(IPC_RAX(IPC_CALL), vcpu, TAG(VCPU_SET_RIP, 3, 0), 0, 0,
                               exit.w[2] + length, 0, deadline);
        }
    }
    measure_end(&m, name, ROUNDS, comment);
}

TEST_VM(vm_exit_cpuid, "a CPUID exit, handled by a VMM in its own task")
{
    struct vm vm;
    vm_create(&vm, 16);
    bind_notification();
    VM_LOAD(&vm, CODE, bench_cpuid);
    vm_real_mode(&vm, CODE);
    measure_exits(&vm, 2, vendor("vm_exit_cpuid_svm", "vm_exit_cpuid_vmx"),
                  "exit, handled by the VMM, resumed; the guest's two instructions included");
}

TEST_VM(vm_exit_io, "a port read, handled by a VMM in its own task")
{
    struct vm vm;
    vm_create(&vm, 16);
    bind_notification();
    VM_LOAD(&vm, CODE, bench_port);
    vm_real_mode(&vm, CODE);
    measure_exits(&vm, 2, vendor("vm_exit_io_svm", "vm_exit_io_vmx"),
                  "a port read; the guest's two instructions included");
}

/* ---- guest_ipi ------------------------------------------------------------------------------- */

/* in[0]: vCPU, in[1]: notification. Runs the receiver: halted, it waits; raised, it takes the vector. */
static void receiver(struct worker *worker)
{
    uint64_t vcpu = worker->in[0], notification = worker->in[1], event = 0;
    struct message exit = {.w = {0, 0, RECEIVER, 0}};
    for (;;) {
        exit = syscall_raw(IPC_RAX(IPC_CALL), vcpu, TAG(VCPU_SET_RIP, 3, 0), event, 0, exit.w[2], 0,
                           DEADLINE_NEVER);
        if (exit.status != STATUS_OK || vm_exit_reason(&exit) != EXIT_HLT)
            test_fail(__FILE__, __LINE__, "expected EXIT_HLT, got %u with %s",
                      (unsigned)vm_exit_reason(&exit), status_name(exit.status));
        exit.w[2] += 1; /* behind the HLT */
        worker->step++;
        message_wait(notification, DEADLINE_NEVER);
        event = VCPU_EVENT(IPI_VECTOR, VCPU_EVENT_EXTERNAL);
    }
}

TEST_VM(guest_ipi, "an interrupt from one vCPU to another that is halted, both on one CPU")
{
    struct vm vm;
    vm_create(&vm, 16);
    vm_add_vcpu(&vm, 0);
    VM_LOAD(&vm, CODE, bench_sender);
    VM_LOAD(&vm, RECEIVER, bench_receiver);
    *(volatile uint32_t *)(vm.memory + IPI_VECTOR * 4) = HANDLER; /* segment 0 */
    vm_real_mode(&vm, CODE);
    vm_select(&vm, 1);
    vm_real_mode(&vm, RECEIVER);
    vm_select(&vm, 0);
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, receiver);
    worker->in[0] = vm.vcpu[1];
    worker->in[1] = notification;
    worker_start(worker);
    EXPECT(worker->step, 1);

    volatile uint32_t *times = (volatile uint32_t *)(vm.memory + 0x3000);
    uint64_t sum = 0, deadline = far_deadline(), rip = CODE;
    struct measurement m;
    measure_begin(&m);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct message exit = syscall_raw(IPC_RAX(IPC_CALL), vm.vcpu[0], TAG(VCPU_SET_RIP, 3, 0), 0,
                                          0, rip, 0, deadline);
        EXPECT(vm_exit_reason(&exit), EXIT_MSR_WRITE);
        EXPECT(exit.w[0], 0x830);
        syscall_raw(IPC_RAX(IPC_SEND), notification, 0, 1, 0, 0, 0, 0);
        sum += times[1] - times[0];
        rip = exit.w[2] + 2;
    }
    EXPECT(worker->step, ROUNDS + 1);
    m.ticks = ticks() - sum;
    measure_end(&m, "guest_ipi", ROUNDS,
                "from the sender's write of the ICR to the first instruction of the receiver's handler");
}
