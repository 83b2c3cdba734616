/* vCPUs: who may call them, what becomes of a call whose caller or vCPU goes, several vCPUs, their creation. */
#include "vcpu_spin.h"

/* ---- callers --------------------------------------------------------------------------------- */

/* Calls vCPU in[0] until in[1] ticks have passed since the start; its reply. */
static void call_vcpu(struct worker *worker)
{
    worker->message = ipc(IPC_CALL, worker->in[0], TAG(0, 3, 0), NULL, ticks() + worker->in[1]);
    worker->step = 1;
}

static void try_vcpu(struct worker *worker)
{
    await_entry(worker);
    worker->out[0] = ipc(IPC_CALL, worker->in[0], TAG(0, 3, 0), NULL, far_deadline()).status;
    worker->out[1] = sys_control(worker->in[0], CONTROL_VCPU_READ, VCPU_GROUP_RIP, 0, 0, 0).status;
    worker->out[2] = sys_control(worker->in[0], CONTROL_VCPU_WRITE_FPU, 0, 0, 0, 0).status;
    force(worker->in[0]);
}

TEST_VM(vcpu_busy, "a vCPU that runs is BUSY for a second caller and for control")
{
    struct vm vm;
    prepare_spin(&vm);
    struct worker *worker = meddler_go(&vm, 0, try_vcpu, vm.vcpu[0]);
    vm_expect(&vm, 0, EXIT_FORCED);
    worker_join(worker);
    EXPECT_STATUS(worker->out[0], STATUS_BUSY);
    EXPECT_STATUS(worker->out[1], STATUS_BUSY);
    EXPECT_STATUS(worker->out[2], STATUS_BUSY);
}

TEST_SMP(vcpu_wrong_cpu, "a vCPU can be run and read on its own CPU alone")
{
    struct vm vm;
    if (boot->virtualization == BOOT_VIRT_NONE)
        return;
    prepare_spin(&vm);
    vm_select(&vm, vm_add_vcpu(&vm, 1));
    EXPECT_STATUS(vm_run(&vm, 0, 0, 0, 0, DEADLINE_POLL).status, STATUS_WRONG_CPU);
    EXPECT_STATUS(sys_control(vm.vcpu[1], CONTROL_VCPU_READ, VCPU_GROUP_RIP, 0, 0, 0).status,
                  STATUS_WRONG_CPU);
    force(vm.vcpu[1]);
}

TEST_VM(
    vcpu_rights,
    "running a vCPU needs RIGHT_SEND, control needs RIGHT_CONTROL, send and wait are not for it")
{
    struct vm vm;
    prepare_spin(&vm);
    cap_slot_t weak = capability_copy(vm.vcpu[0], RIGHT_CONTROL, 0);
    EXPECT_STATUS(ipc(IPC_CALL, weak, TAG(0, 3, 0), NULL, DEADLINE_POLL).status, STATUS_BAD_RIGHTS);
    weak = capability_copy(vm.vcpu[0], RIGHT_SEND, 0);
    EXPECT_STATUS(sys_control(weak, CONTROL_VCPU_READ, VCPU_GROUP_RIP, 0, 0, 0).status,
                  STATUS_BAD_RIGHTS);
    EXPECT_STATUS(ipc(IPC_CALL, weak, TAG(0, 3, 0), NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    EXPECT_STATUS(ipc(IPC_SEND, vm.vcpu[0], 0, NULL, DEADLINE_POLL).status, STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(ipc(IPC_WAIT, vm.vcpu[0], 0, NULL, DEADLINE_POLL).status, STATUS_BAD_CAPABILITY);
}

TEST_VM(vcpu_run_by_its_task,
        "a vCPU is run by threads of its own task alone: another's get BAD_RIGHTS")
{
    struct vm vm;
    struct child_task task;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_cpuid);
    vm_protected_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_CPUID); /* its registers are loaded now */
    task_new(&task);
    task_give(&task, vm.vcpu[0], RIGHT_SEND, 0);
    struct worker *worker = worker_go(&task, 0, PRIORITY_HIGH, call_once, vm.vcpu[0]);
    worker_join(worker);
    EXPECT_STATUS(worker->message.status, STATUS_BAD_RIGHTS);
    vm_expect(&vm, 0, EXIT_CPUID);
}

static void spin_a_while(struct worker *worker)
{
    await_entry(worker);
    for (unsigned i = 0; i < 5; i++) {
        sleep_ticks(microseconds(200));
        spin_ticks(microseconds(100));
        worker->step++;
    }
    force(worker->in[0]);
}

TEST_VM(vcpu_preempted, "a guest is preempted by a thread of higher priority, and its call goes on")
{
    struct vm vm;
    prepare_spin(&vm);
    struct worker *worker = meddler_go(&vm, 0, spin_a_while, vm.vcpu[0]);
    vm_expect(&vm, 0, EXIT_FORCED);
    EXPECT(worker->step, 5);
    CHECK(vm_state(&vm)->entries > 5);
    worker_join(worker);
}

TEST_VM(vcpu_shares_cpu,
        "two guests of one priority on one CPU both get on, with registers of their own")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_count_register);
    vm_add_vcpu(&vm, 0);
    struct worker *workers[2];
    for (unsigned i = 0; i < 2; i++) {
        vm_select(&vm, i);
        vm_protected_mode(&vm, CODE);
        vm_state(&vm)->gpr[3] = i * 1000000000ull;
        workers[i] = worker_new(NULL, 0, PRIORITY_LOW, call_vcpu);
        workers[i]->in[0] = vm.vcpu[i];
        workers[i]->in[1] = microseconds(60000);
        worker_start(workers[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        worker_join(workers[i]);
        EXPECT_STATUS(workers[i]->message.status, STATUS_TIMEOUT);
        uint64_t counted = vm.state[i]->gpr[3] - i * 1000000000ull;
        CHECK(counted > 0 && counted < 1000000000);
    }
}

static void stop_later(struct worker *worker)
{
    await_entry(worker);
    EXPECT_OK(sys_control(worker->in[0], CONTROL_THREAD_STOP, 0, 0, 0, 0).status);
    worker->step = 1;
}

TEST_VM(vcpu_stopped_thread,
        "a thread that is stopped while its guest runs goes on with INTERRUPTED")
{
    struct vm vm;
    prepare_spin(&vm);
    struct worker *caller = worker_new(NULL, 0, PRIORITY_LOW, call_vcpu);
    caller->in[0] = vm.vcpu[0];
    caller->in[1] = microseconds(1000000);
    worker_start(caller);
    struct worker *stopper = worker_new(NULL, 0, PRIORITY_HIGH, stop_later);
    stopper->in[0] = caller->thread.thread;
    stopper->in[1] = (uint64_t)vm_state(&vm);
    worker_start(stopper);
    worker_await_step(stopper, 1);
    sleep_ticks(microseconds(500));
    EXPECT(caller->step, 0);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, ticks() + microseconds(100));
    EXPECT_STATUS(reply.status, STATUS_TIMEOUT); /* no longer busy */
    EXPECT_OK(sys_control(caller->thread.thread, CONTROL_THREAD_RESUME, 0, 0, 0, 0).status);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_INTERRUPTED);
    worker_join(stopper);
}

TEST_VM(vcpu_destroyed_thread,
        "a thread destroyed while its guest runs leaves a vCPU that others can run")
{
    struct vm vm;
    prepare_spin(&vm);
    struct worker *caller = worker_new(NULL, 0, PRIORITY_LOW, call_vcpu);
    caller->in[0] = vm.vcpu[0];
    caller->in[1] = microseconds(1000000);
    worker_start(caller);
    while (!*(volatile uint64_t *)&vm_state(&vm)->entries)
        sleep_ticks(microseconds(500));
    child_thread_destroy(&caller->thread);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, ticks() + microseconds(100));
    expect_no_exit(&reply, STATUS_TIMEOUT);
}

static void clear_later(struct worker *worker)
{
    await_entry(worker);
    slot_clear(worker->in[0]);
}

TEST_VM(vcpu_destroyed, "a vCPU destroyed while its guest runs ends the call with PEER_GONE")
{
    struct vm vm;
    prepare_spin(&vm);
    struct worker *worker = meddler_go(&vm, 0, clear_later, vm.vcpu[0]);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_STATUS(reply.status, STATUS_PEER_GONE);
    worker_join(worker);
    EXPECT_STATUS(vm_run(&vm, 0, 0, 0, 0, DEADLINE_POLL).status, STATUS_BAD_CAPABILITY);
}

TEST_SMP(vcpu_destroyed_from_afar, "the same from another CPU")
{
    struct vm vm;
    if (boot->virtualization == BOOT_VIRT_NONE)
        return;
    prepare_spin(&vm);
    struct worker *worker = meddler_go(&vm, 1, clear_later, vm.vcpu[0]);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_STATUS(reply.status, STATUS_PEER_GONE);
    worker_join(worker);
}

/* ---- creation -------------------------------------------------------------------------------- */

TEST_VM(vcpu_create_refused, "a vCPU needs a free address for its state page and a CPU that exists")
{
    EXPECT_STATUS(create_status(NULL, OBJECT_VCPU, BOOT_SLOT_TASK, 0, 0x1001, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_VCPU, BOOT_SLOT_TASK, 0, SEPTUM_USER_END, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(
        create_status(NULL, OBJECT_VCPU, BOOT_SLOT_TASK, BOOT_CPUS_MAX, addresses_new(1, 1), 0),
        STATUS_BAD_ARGUMENT);
    uint64_t used = (uint64_t)pages_new(1, 1, NULL);
    uint64_t before = quota_used();
    CHECK(create_status(NULL, OBJECT_VCPU, BOOT_SLOT_TASK, 0, used, 0) != STATUS_OK);
    EXPECT(quota_used(), before);
}

TEST_VM(vcpu_create_no_quota,
        "a vCPU that the quota does not suffice for is refused, with nothing charged")
{
    struct child_task task;
    unsigned refused = 0;
    for (uint64_t pages = 0; pages < 96; pages++) {
        if (child_create(&task, pages, 64, CHILD_DATA_SHARED) != STATUS_OK)
            continue;
        struct message before = sys_inspect(INSPECT_QUOTA, task.task, 0, 0);
        cap_slot_t vcpu;
        uint64_t status = create_status(&vcpu, OBJECT_VCPU, task.task, 0, 0x7000000000, 0);
        if (status == STATUS_OK) {
            CHECK(refused >= 4);
            return;
        }
        EXPECT_STATUS(status, STATUS_NO_QUOTA);
        refused++;
        EXPECT_BETWEEN(sys_inspect(INSPECT_QUOTA, task.task, 0, 0).w[1], before.w[1],
                       before.w[1] + 8); /* tables and port permissions of its spaces may stay */
        child_destroy(&task);
    }
    CHECK(false);
}

TEST_VM(vcpu_many, "more vCPUs than a processor has address-space tags for run in turn")
{
    struct vm vm;
    cap_slot_t vcpus[24];
    vm_create(&vm, 16);
    for (unsigned i = 0; i < 24; i++) {
        vm.vcpus = 1; /* each takes the place of the last */
        vm_select(&vm, vm_add_vcpu(&vm, 0));
        vm_real_mode(&vm, CODE);
        vm_state(&vm)->gpr[3] = i;
        vcpus[i] = vm.vcpu[1];
    }
    VM_LOAD(&vm, CODE, guest_bump);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < 24; i++) {
            const uint64_t w[4] = {0, 0, CODE, 0};
            struct message exit =
                ipc(IPC_CALL, vcpus[i], TAG(VCPU_SET_RIP, 3, 0), w, far_deadline());
            EXPECT_OK(exit.status);
            EXPECT(vm_exit_reason(&exit), EXIT_HLT);
        }
        EXPECT(word(&vm, DATA), round * 24);
    }
}
