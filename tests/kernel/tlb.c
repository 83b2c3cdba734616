/*
 * What must be flushed before it is used again. Emulators flush too much for any of this to fail by what
 * is seen; the TLB ledger of debug kernels (microvisor/check/tlb_ledger.c) stops the machine instead.
 */
#include "vm.h"

#define CODE 0x1000u
#define ROUNDS 80u /* more than an emulator has ASIDs */

static const uint8_t halt[] = {0xf4, 0xf4};

/* A page of the guest's goes and comes back. */
static void renew_guest_page(struct vm *vm)
{
    uint64_t how = SPACE_GUEST | UNMAP_SELF;
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, how, (vm->pages - 1) * SEPTUM_PAGE_SIZE, 1));
    vm_map(vm, (vm->pages - 1) * SEPTUM_PAGE_SIZE,
           vm->physical + (vm->pages - 1) * SEPTUM_PAGE_SIZE, 1, MAP_RIGHTS);
}

static void halting_guests(struct vm *vm, unsigned vcpus)
{
    vm_create(vm, 16);
    vm_load(vm, CODE, halt, sizeof halt);
    while (vm->vcpus < vcpus)
        vm_add_vcpu(vm, 0);
    for (unsigned i = 0; i < vcpus; i++) {
        vm_select(vm, i);
        vm_real_mode(vm, CODE);
    }
}

static void run_to_halt(struct vm *vm, unsigned vcpu)
{
    vm_select(vm, vcpu);
    struct message exit = vm_run(vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
}

TEST_VM(tlb_guest_page_taken, "two vCPUs go on after each taking of a page of their guest's memory")
{
    struct vm vm;
    halting_guests(&vm, 2);
    for (unsigned i = 0; i < ROUNDS; i++) {
        renew_guest_page(&vm);
        run_to_halt(&vm, 0);
        run_to_halt(&vm, 1);
    }
}

TEST_VM(tlb_tags_run_out_unused,
        "a vCPU that gets the first tag of a new round and is not entered spoils nobody else's")
{
    struct vm vm;
    halting_guests(&vm, 3);
    for (unsigned i = 0; i < ROUNDS; i++) {
        renew_guest_page(&vm);
        vm_select(&vm, 0);
        struct message exit = vm_run(&vm, VCPU_EXIT_NMI_WINDOW, 0, 0, 0, far_deadline());
        EXPECT(vm_exit_reason(&exit), EXIT_NMI_WINDOW);
        run_to_halt(&vm, 1 + i % 2);
        if (i % 3)
            run_to_halt(&vm, 2 - i % 2);
    }
}

TEST_WITH(tlb_tags_run_out_refused, TEST_NEEDS_VMX | TEST_NEEDS_SVM | TEST_NEEDS_DEBUG,
          "a vCPU that gets the first tag of a new round and fails to enter spoils nobody else's")
{
    struct vm vm;
    halting_guests(&vm, 3);
    for (unsigned i = 0; i < ROUNDS; i++) {
        vm_select(&vm, 0);
        vm_real_mode(&vm, CODE);
        renew_guest_page(&vm);
        EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, vm_is_svm() ? 3 : 1, 0, 0, 0).status);
        EXPECT_STATUS(vm_run(&vm, 0, 0, 0, 0, far_deadline()).status, STATUS_ENTRY_FAILED);
        run_to_halt(&vm, 1 + i % 2);
        if (i % 3)
            run_to_halt(&vm, 2 - i % 2);
    }
}

/* A vCPU is refused because of that rule, and then runs again. */
static void refused_once(struct vm *vm, unsigned vcpu, unsigned rule)
{
    vm_select(vm, vcpu);
    EXPECT_OK(sys_control(vm->vcpu[vcpu], CONTROL_VCPU_VIOLATE, rule, 0, 0, 0).status);
    EXPECT_STATUS(vm_run(vm, 0, 0, 0, 0, far_deadline()).status, STATUS_ENTRY_FAILED);
    EXPECT(vm_state(vm)->failed_rule_number, rule);
    if (!vm_is_svm())
        EXPECT_OK(sys_control(vm->vcpu[vcpu], CONTROL_VCPU_VIOLATE, 0, 0, 0, 0).status);
    vm_real_mode(vm, CODE);
    run_to_halt(vm, vcpu);
}

TEST_WITH(tlb_refused_tags_hold_nothing, TEST_NEEDS_VMX | TEST_NEEDS_SVM | TEST_NEEDS_DEBUG,
          "entries that fail by the very tag of their translations spoil nobody's")
{
    static const uint8_t svm_rules[] = {15}, vmx_rules[] = {17, 18, 18, 19, 19, 20, 20};
    const uint8_t *rules = vm_is_svm() ? svm_rules : vmx_rules;
    unsigned count = vm_is_svm() ? sizeof svm_rules : sizeof vmx_rules;
    struct vm vm;
    halting_guests(&vm, 2);
    for (unsigned i = 0; i < count; i++) {
        renew_guest_page(&vm);
        run_to_halt(&vm, 0);
        run_to_halt(&vm, 1);
        refused_once(&vm, 0, rules[i]);
        refused_once(&vm, 1, rules[i]);
    }
}

/* in[0]: the vm, whose vCPU 1 is on this CPU; runs it again and again, until in[1] says that it is enough. */
static void halt_on_and_on(struct worker *worker)
{
    struct vm *vm = (struct vm *)worker->in[0];
    vm_real_mode(vm, CODE);
    while (!*(volatile uint64_t *)&worker->in[1]) {
        struct message exit = vm_run(vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
        worker->out[0] += exit.status != STATUS_OK || vm_exit_reason(&exit) != EXIT_HLT;
        worker->step++;
    }
}

#define SHARERS 10u /* more than the kernel flushes one by one */
#define SHARED_PAGES 200u
#define SHARED_AT 0x100000u

TEST_WITH(tlb_page_of_many_guests, TEST_NEEDS_VMX | TEST_NEEDS_SVM | TEST_NEEDS_TWO_CPUS,
          "pages that many tasks' guests have are taken from all while one of them runs on another CPU")
{
    struct child_task tasks[SHARERS];
    struct vm vm;
    uint64_t frames;
    pages_new(SHARED_PAGES, 1, &frames);
    halting_guests(&vm, 1);
    vm_select(&vm, vm_add_vcpu(&vm, 1));
    for (unsigned i = 0; i < SHARERS; i++)
        task_new(&tasks[i]);
    struct worker *worker = worker_new(NULL, 1, PRIORITY_HIGH, halt_on_and_on);
    worker->in[0] = (uint64_t)&vm;
    worker_start(worker);
    for (unsigned round = 0; round < 20; round++) {
        EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, frames, SHARED_PAGES));
        vm_map(&vm, SHARED_AT, frames, SHARED_PAGES, MAP_RIGHTS); /* what was mapped first is taken last */
        for (unsigned i = 0; i < SHARERS; i++)
            EXPECT_OK(memory_map_at(tasks[i].task, SPACE_GUEST, SHARED_AT, frames, 1, MAP_READ));
        worker_await_step(worker, worker->step + 1);
    }
    worker->in[1] = 1;
    worker_join(worker);
    EXPECT(worker->out[0], 0);
}

TEST_VM(tlb_many_vcpus, "vCPUs are made, run and destroyed, more than a processor has tags")
{
    struct vm vm;
    halting_guests(&vm, 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        vm.vcpus = 1;
        vm_select(&vm, vm_add_vcpu(&vm, 0));
        vm_real_mode(&vm, CODE);
        run_to_halt(&vm, 1);
        run_to_halt(&vm, 0);
        slot_clear(vm.vcpu[1]);
    }
}
