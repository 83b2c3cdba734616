/* vCPUs: what VT-x alone can get wrong. */
#include "vm.h"

#define TEST_VMX(identifier, sentence) TEST_WITH(identifier, TEST_NEEDS_VMX, sentence)
#define CODE 0x1000u
#define HANDLER 0x2000u
#define CR4_OSXSAVE 0x40000u

TEST_VMX(vmx_deadline_without_interrupts,
         "a guest that spins with interrupts disabled is ended by its deadline")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_cli_spin);
    vm_protected_mode(&vm, CODE);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t deadline = ticks() + microseconds(2000);
        struct message exit = vm_run(&vm, 0, 0, 0, 0, deadline);
        EXPECT_STATUS(exit.status, STATUS_TIMEOUT);
        CHECK(ticks() >= deadline && ticks() < deadline + microseconds(20000));
    }
}

/*
 * In long mode with a handler that has a stack of its own each #DB is pushed to the same place; with
 * a breakpoint there, its delivery raises the next (CVE-2015-8104).
 */
TEST_VMX(vmx_debug_exception_storm,
         "a guest whose #DB handling raises #DB again does not keep the CPU beyond its deadline")
{
    enum { TSS = 0x5000, IDT = 0x6000, STACK_TOP = 0x6800 };
    static const uint8_t halt = 0xf4;
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_debug_storm);
    vm_load(&vm, HANDLER, &halt, sizeof halt);
    vm_long_mode(&vm, CODE);
    uint64_t stack = STACK_TOP, gate = HANDLER | VM_CODE64 << 16 | 1ull << 32 | 0x8eull << 40;
    vm_load(&vm, TSS + 0x24, &stack, sizeof stack);
    vm_load(&vm, IDT + 16 * 1, &gate, sizeof gate);
    struct vcpu_state *state = vm_state(&vm);
    state->idtr = (struct vcpu_table){.base = IDT, .limit = 16 * 2 - 1};
    state->segment[VCPU_TR].base = TSS;
    state->segment[VCPU_TR].limit = 0x67;
    state->dr[0] = STACK_TOP - 8;
    state->dr7 = 0x90402; /* breakpoint 0: 8 bytes, written */
    vm_write(&vm, VCPU_GROUP_TABLES | VCPU_GROUP_SEGMENTS | VCPU_GROUP_DEBUG);
    uint64_t deadline = ticks() + microseconds(2000);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, deadline);
    CHECK(exit.status == STATUS_TIMEOUT || vm_exit_reason(&exit) == EXIT_HLT);
    CHECK(ticks() < deadline + microseconds(20000));
}

TEST_VMX(vmx_osxsave_exits, "CR4.OSXSAVE is never the guest's own, and no other bit comes with it")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_osxsave);
    vm_protected_mode(&vm, CODE);
    struct message exit = vm_expect(&vm, 0, EXIT_CR_WRITE);
    EXPECT(exit.w[0], 4); /* from EAX */
    EXPECT(vm_state(&vm)->gpr[0], CR4_OSXSAVE);
    vm_state(&vm)->cr4 |= CR4_OSXSAVE;
    vm_write(&vm, VCPU_GROUP_CONTROL);
    exit = vm_continue(&vm, &exit, 3);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(vm_state(&vm)->gpr[3], CR4_OSXSAVE);
}

TEST_VMX(vmx_page_directory_pointers, "a PAE guest that loads CR3 has new page-directory pointers")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_load_cr3);
    vm_pae_mode(&vm, CODE);
    uint64_t other[4] = {(VM_TABLES + 0x1000) | 1, 0, 0, (VM_TABLES + 0x1000) | 1};
    vm_load(&vm, 0x4000, other, sizeof other);
    vm_state(&vm)->gpr[3] = 0x4000;
    vm_expect(&vm, 0, EXIT_HLT);
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(vm_state(&vm)->cr3, 0x4000);
    EXPECT(vm_state(&vm)->pdpte[0], other[0]);
    EXPECT(vm_state(&vm)->pdpte[3], other[3]);
    vm_write(&vm, VCPU_GROUP_CONTROL);
    vm_expect(&vm, 0, EXIT_HLT);
}

/* Each vCPU of two exchanges its own value for another, three times round. */
TEST_VMX(vmx_msrs_are_switched, "MSRs that are let through keep each vCPU's own values, and ours")
{
    static const uint32_t msrs[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
                                    0xc0000102, 0xc0000103, 0xc0000100, 0x174, 0x175, 0x176};
    struct vm vm;
    vm_create(&vm, 16);
    vm_add_vcpu(&vm, 0);
    VM_LOAD(&vm, CODE, guest_msr_exchange);
    for (unsigned i = 0; i < 2; i++) {
        vm_select(&vm, i);
        vm_long_mode(&vm, CODE);
        vm_state(&vm)->msr_direct = VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL | VCPU_MSR_SYSENTER |
                                    VCPU_MSR_TSC_AUX;
        vm_write(&vm, VCPU_GROUP_POLICY);
    }
    for (unsigned m = 0; m < sizeof msrs / sizeof msrs[0]; m++) {
        for (uint64_t round = 0; round < 6; round++) {
            vm_select(&vm, round % 2);
            struct vcpu_state *state = vm_state(&vm);
            state->gpr[1] = msrs[m];
            state->gpr[6] = 0x1000 * (m + 1) + 0x10 * round;
            struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
            EXPECT_OK(exit.status);
            EXPECT(vm_exit_reason(&exit), EXIT_HLT);
            if (round >= 2)
                EXPECT(state->gpr[3], 0x1000 * (m + 1) + 0x10 * (round - 2));
        }
    }
}

struct __attribute__((packed)) table_register {
    uint16_t limit;
    uint64_t base;
};

TEST_VMX(vmx_gdt_limit, "after a VM exit the GDT ends where it did before")
{
    struct table_register before, after;
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_cpuid_loop);
    vm_protected_mode(&vm, CODE);
    __asm__ volatile("sgdt %0" : "=m"(before));
    vm_expect(&vm, 0, EXIT_CPUID);
    __asm__ volatile("sgdt %0" : "=m"(after));
    CHECK(before.limit < 0x1000);
    EXPECT(after.limit, before.limit);
    EXPECT(after.base, before.base);
}

TEST_VMX(vmx_many_vcpus, "VPIDs that run out begin again, and no vCPU keeps another's")
{
    struct vm vm;
    vm_create(&vm, 16);
    vm_add_vcpu(&vm, 0);
    VM_LOAD(&vm, CODE, guest_cpuid_loop);
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 2; i++) {
            vm_select(&vm, i);
            if (round == 0)
                vm_protected_mode(&vm, CODE);
            vm_expect(&vm, 0, EXIT_CPUID);
        }
        cap_slot_t slot;
        uint64_t address = addresses_new(1, 1);
        EXPECT_OK(create_status(&slot, OBJECT_VCPU, BOOT_SLOT_TASK, 0, address, 0));
        EXPECT_OK(sys_control(slot, CONTROL_VCPU_READ, VCPU_GROUP_RIP, 0, 0, 0).status);
        slot_clear(slot);
    }
}

TEST_VMX(vmx_single_step_over_exit,
         "a guest that single-steps itself is trapped behind an instruction that the VMM has done")
{
    enum { STEPS = 6 }; /* CPUID, and what follows up to the POPF that clears TF */
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_step_over_exit);
    VM_LOAD(&vm, HANDLER, guest_handler);
    vm_real_mode(&vm, CODE);
    *(volatile uint32_t *)(vm.memory + 4) = HANDLER;
    struct message exit = vm_expect(&vm, 0, EXIT_CPUID);
    EXPECT(*(volatile uint32_t *)(vm.memory + 0x3000), 0);
    exit = vm_continue(&vm, &exit, 2);
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(*(volatile uint32_t *)(vm.memory + 0x3000), STEPS);
}

TEST_VMX(vmx_other_read_between, "reading one vCPU between two runs of another changes neither")
{
    struct vm vm;
    vm_create(&vm, 16);
    unsigned other = vm_add_vcpu(&vm, 0);
    VM_LOAD(&vm, CODE, guest_cpuid_loop);
    VM_LOAD(&vm, HANDLER, guest_cpuid_loop);
    vm_protected_mode(&vm, CODE);
    vm_select(&vm, other);
    vm_protected_mode(&vm, HANDLER);
    for (unsigned i = 0; i < 3; i++) {
        vm_select(&vm, 0);
        EXPECT(vm_expect(&vm, 0, EXIT_CPUID).w[2], CODE);
        vm_select(&vm, other);
        vm_read(&vm, VCPU_GROUP_RIP);
        EXPECT(vm_state(&vm)->rip, HANDLER);
    }
}

TEST_WITH(vmx_event_after_failure, TEST_NEEDS_VMX | TEST_NEEDS_DEBUG,
          "an event of an entry that failed is not delivered by the next")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_nops);
    VM_LOAD(&vm, HANDLER, guest_handler);
    vm_real_mode(&vm, CODE);
    *(volatile uint32_t *)(vm.memory + 4 * 0x40) = HANDLER;
    vm_state(&vm)->rflags = 0x202;
    vm_write(&vm, VCPU_GROUP_RIP);
    EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, 260, 0, 0, 0).status);
    uint64_t event = VCPU_EVENT(0x40, VCPU_EVENT_EXTERNAL);
    struct message exit = vm_run(&vm, 0, event, 0, 0, far_deadline());
    EXPECT_STATUS(exit.status, STATUS_ENTRY_FAILED);
    EXPECT(vm_event_outcome(&exit), VCPU_EVENT_NOT_TRIED);
    EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, 0, 0, 0, 0).status);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(*(volatile uint32_t *)(vm.memory + 0x3000), 0);
}

TEST_WITH(vmx_violation_ends_with_vcpu, TEST_NEEDS_VMX | TEST_NEEDS_DEBUG,
          "what a violation changed in a vCPU is not put back into another that has its place in memory")
{
    struct vm vm;
    vm_create(&vm, 16);
    for (unsigned i = 1; i < 20; i++) {
        vm.vcpus = 1;
        vm_select(&vm, vm_add_vcpu(&vm, 0));
        EXPECT_OK(sys_control(vm.vcpu[1], CONTROL_VCPU_VIOLATE, 0, 0, 0, 0).status);
        vm_state(&vm)->lstar = i;
        vm_write(&vm, VCPU_GROUP_SYSCALL);
        EXPECT_OK(sys_control(vm.vcpu[1], CONTROL_VCPU_VIOLATE, 19, 0, 0, 0).status);
        slot_clear(vm.vcpu[1]);

        vm.vcpus = 1;
        vm_select(&vm, vm_add_vcpu(&vm, 0));
        vm_state(&vm)->lstar = 1000;
        vm_write(&vm, VCPU_GROUP_SYSCALL);
        EXPECT_OK(sys_control(vm.vcpu[1], CONTROL_VCPU_VIOLATE, 0, 0, 0, 0).status);
        vm_read(&vm, VCPU_GROUP_SYSCALL);
        EXPECT(vm_state(&vm)->lstar, 1000);
        slot_clear(vm.vcpu[1]);
    }
}

TEST_VMX(vmx_cut_nmi_does_not_block, "an NMI whose delivery an exit has cut does not block NMIs")
{
    static const uint8_t halt = 0xf4;
    struct vm vm;
    vm_create(&vm, 16);
    vm_load(&vm, CODE, &halt, sizeof halt);
    vm_load(&vm, HANDLER, &halt, sizeof halt);
    vm_real_mode(&vm, CODE);
    *(volatile uint32_t *)(vm.memory + 4 * 2) = HANDLER;
    vm_state(&vm)->segment[VCPU_SS].base = 0x80000; /* where there is no memory */
    vm_write(&vm, VCPU_GROUP_SEGMENTS);
    struct message exit = vm_run(&vm, 0, VCPU_EVENT(2, VCPU_EVENT_NMI), 0, 0, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_GUEST_FAULT);
    EXPECT(vm_event_outcome(&exit), VCPU_EVENT_PENDING);
    EXPECT(vm_interruptibility(&exit) & VCPU_BLOCKED_BY_NMI, 0);
    vm_state(&vm)->segment[VCPU_SS].base = 0;
    exit = vm_expect(&vm, VCPU_GROUP_SEGMENTS, EXIT_HLT);
    EXPECT(exit.w[2], HANDLER);
    EXPECT(vm_interruptibility(&exit) & VCPU_BLOCKED_BY_NMI, VCPU_BLOCKED_BY_NMI);
}

TEST_VMX(vmx_shadow_ends_with_rip, "the shadow of STI ends with the instruction that the VMM has done")
{
    static const uint8_t code[] = {0xfb, 0x0f, 0xa2, 0xf4}; /* sti; cpuid; hlt */
    struct vm vm;
    vm_create(&vm, 16);
    vm_load(&vm, CODE, code, sizeof code);
    vm_real_mode(&vm, CODE);
    struct message exit = vm_expect(&vm, 0, EXIT_CPUID);
    EXPECT(vm_interruptibility(&exit), VCPU_BLOCKED_BY_STI | VCPU_IF);
    exit = vm_run(&vm, VCPU_SET_RIP | VCPU_EXIT_INTERRUPTIBLE, 0, 0, CODE + 3, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_INTERRUPTIBLE);
    EXPECT(exit.w[2], CODE + 3);
}
