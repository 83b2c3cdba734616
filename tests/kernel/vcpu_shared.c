/* A vCPU that several threads want: one at a time, on its own CPU. */
#include "vm.h"

static void run_vcpu(struct worker *worker)
{
    worker->step = 1;
    worker->message = message_call(worker->in[0], 0, NULL, worker->in[1]);
    worker->step = 2;
}

/* A guest that spins in real mode: jmp to itself. */
static void spinning_guest(struct vm *vm)
{
    static const uint8_t spin[] = {0xeb, 0xfe};
    vm_create(vm, 16);
    vm_load(vm, 0x1000, spin, sizeof spin);
    vm_real_mode(vm, 0x1000);
}

/* A thread that runs the vCPU until the deadline, and is in the guest by now. */
static struct worker *runner_go(struct vm *vm, uint64_t deadline, uint64_t wait)
{
    struct worker *runner = worker_new(NULL, 0, PRIORITY_LOW, run_vcpu);
    runner->in[0] = vm->vcpu[0];
    runner->in[1] = deadline;
    worker_start(runner);
    worker_await_step(runner, 1);
    sleep_ticks(wait);
    return runner;
}

TEST_VM(vcpu_second_caller,
        "while a thread runs a vCPU, another's call says BUSY, and so does control")
{
    struct vm vm;
    spinning_guest(&vm);
    struct worker *runner = runner_go(&vm, far_deadline(), A_WHILE);
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_STATUS(vm_run(&vm, 0, 0, 0, 0, far_deadline()).status, STATUS_BUSY);
        EXPECT_STATUS(sys_control(vm.vcpu[0], CONTROL_VCPU_READ, VCPU_GROUP_ALL, 0, 0, 0).status,
                      STATUS_BUSY);
    }
    EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_FORCE_EXIT, 0, 0, 0, 0).status);
    worker_join(runner);
    EXPECT_OK(runner->message.status);
    EXPECT(vm_exit_reason(&runner->message), EXIT_FORCED);
    EXPECT_STATUS(vm_run(&vm, 0, 0, 0, 0, ticks() + A_WHILE).status, STATUS_TIMEOUT);
}

TEST_VM(vcpu_runner_dies,
        "a vCPU whose runner was destroyed in the guest can be run by another thread")
{
    struct vm vm;
    spinning_guest(&vm);
    for (unsigned i = 0; i < 5; i++) {
        struct worker *runner = runner_go(&vm, DEADLINE_NEVER, 20000);
        slot_clear(runner->thread.thread);
        EXPECT_STATUS(vm_run(&vm, 0, 0, 0, 0, ticks() + A_WHILE).status, STATUS_TIMEOUT);
    }
}

TEST_VM(vcpu_destroyed_running,
        "a vCPU destroyed while its guest runs ends the call with PEER_GONE")
{
    struct vm vm;
    spinning_guest(&vm);
    struct worker *runner = runner_go(&vm, far_deadline(), A_WHILE);
    slot_clear(vm.vcpu[0]);
    worker_join(runner);
    CHECK(runner->message.status == STATUS_PEER_GONE ||
          runner->message.status == STATUS_INTERRUPTED);
}

TEST_VM(vcpu_violate_needs_debug,
        "breaking rules of VM entry on purpose is for debug kernels: NOT_SUPPORTED")
{
    struct vm vm;
    spinning_guest(&vm);
    if (!boot->debug)
        EXPECT_STATUS(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, 1, 0, 0, 0).status,
                      STATUS_NOT_SUPPORTED);
}

/* in[0]: the machine, in[1]: which vCPU; it lives on this worker's CPU, so only here it can be set
 * up. */
static void set_up_and_run(struct worker *worker)
{
    struct vm *vm = (struct vm *)worker->in[0];
    vm_select(vm, (unsigned)worker->in[1]);
    vm_real_mode(vm, 0x1000);
    worker->message = vm_run(vm, 0, 0, 0, 0, ticks() + 4 * A_WHILE);
}

TEST_WITH(vcpu_other_cpu, TEST_NEEDS_TWO_CPUS | TEST_NEEDS_VMX | TEST_NEEDS_SVM,
          "a vCPU of another CPU says WRONG_CPU here, and runs there")
{
    struct vm vm;
    spinning_guest(&vm);
    unsigned other = vm_add_vcpu(&vm, 1);
    EXPECT_STATUS(message_call(vm.vcpu[other], 0, NULL, DEADLINE_POLL).status, STATUS_WRONG_CPU);
    EXPECT_STATUS(sys_control(vm.vcpu[other], CONTROL_VCPU_READ, VCPU_GROUP_ALL, 0, 0, 0).status,
                  STATUS_WRONG_CPU);
    struct worker *runner = worker_new(NULL, 1, PRIORITY_LOW, set_up_and_run);
    runner->in[0] = (uint64_t)&vm;
    runner->in[1] = other;
    worker_start(runner);
    worker_join(runner);
    EXPECT_STATUS(runner->message.status, STATUS_TIMEOUT);
}

TEST_VM(vcpu_long_mode_enabled_alone,
        "a guest with EFER.LME, but neither PAE nor paging, runs, exits, and reads what it wrote")
{
    struct vm vm;
    static const uint8_t halt[] = {0xf4};
    vm_create(&vm, 16);
    vm_load(&vm, 0x1000, halt, sizeof halt);
    vm_real_mode(&vm, 0x1000);
    vm_state(&vm)->efer = 0x100;
    vm_write(&vm, VCPU_GROUP_CONTROL);
    vm_expect(&vm, 0, EXIT_HLT);
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(vm_state(&vm)->cr4, 0);
    EXPECT(vm_state(&vm)->efer, 0x100);
}
