/* vCPUs: guests in every mode of the processor, and going from one to the next. */
#include "vm.h"

#define CODE 0x1000u
#define DATA 0x3000u
#define EFER 0xc0000080u
#define EFER_LME 0x100u
#define RFLAGS_VM 0x20000u

static uint32_t word(const struct vm *vm, uint64_t offset)
{
    return *(volatile uint32_t *)(vm->memory + DATA + offset);
}

TEST_VM(vcpu_real_mode, "a guest in real mode writes to its memory, and its halt comes back")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_real);
    vm_real_mode(&vm, CODE);
    struct message exit = vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(TAG_ORIGIN(exit.tag), ORIGIN_VCPU_EXIT);
    EXPECT(vm_event_outcome(&exit), VCPU_EVENT_NONE);
    EXPECT(word(&vm, 0), 0x4c414552);
    EXPECT(vm_state(&vm)->gpr[0] & 0xffff, 23);
    EXPECT(exit.w[2], vm_state(&vm)->rip);
    EXPECT(vm_state(&vm)->exit_reason, EXIT_HLT);
}

TEST_VM(vcpu_protected_mode, "a guest in flat protected mode without paging")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_protected);
    vm_protected_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(word(&vm, 0), 0x544f5250);
    EXPECT(vm_state(&vm)->gpr[0], 0x12345679);
}

TEST_VM(vcpu_virtual_8086_mode, "a guest in virtual-8086 mode exits, and goes on in that mode")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_virtual_8086);
    vm_protected_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i] = (struct vcpu_segment){
            .selector = DATA >> 4, .attributes = 0xf3, .limit = 0xffff, .base = DATA};
    state->segment[VCPU_CS].selector = CODE >> 4;
    state->segment[VCPU_CS].base = CODE;
    state->rip = 0;
    state->rflags = RFLAGS_VM | 2;
    vm_write(&vm, VCPU_GROUP_RIP | VCPU_GROUP_SEGMENTS);
    struct message exit = vm_expect(&vm, 0, EXIT_CPUID);
    EXPECT(state->rflags & RFLAGS_VM, RFLAGS_VM);
    exit = vm_continue(&vm, &exit, 2);
    EXPECT(vm_exit_reason(&exit), EXIT_CPUID);
    EXPECT(state->rflags & RFLAGS_VM, RFLAGS_VM);
    EXPECT(word(&vm, 0), 0x3638);
    EXPECT(state->gpr[3] & 0xffff, 0);
}

TEST_VM(vcpu_no_task_register, "a guest whose TR is unusable can not enter, or fails by itself when it needs one")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_nested_iret);
    vm_protected_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->segment[VCPU_TR] = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    state->idtr.limit = 0;
    vm_write(&vm, VCPU_GROUP_SEGMENTS | VCPU_GROUP_TABLES);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT(exit.status, vm_is_svm() ? STATUS_OK : STATUS_ENTRY_FAILED);
    EXPECT(vm_exit_reason(&exit), vm_is_svm() ? EXIT_TRIPLE_FAULT : EXIT_ENTRY_FAILED);
}

TEST_VM(vcpu_paged_mode, "a guest in protected mode with 4 MiB pages")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_protected);
    vm_paged_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(word(&vm, 0), 0x544f5250);
}

TEST_VM(vcpu_pae_mode, "a guest in protected mode with PAE paging")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_protected);
    vm_pae_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(word(&vm, 0), 0x544f5250);
}

TEST_VM(vcpu_long_mode, "a guest in long mode uses 64-bit registers")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_long);
    vm_long_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(word(&vm, 0), 0x474e4f4c);
    EXPECT(vm_state(&vm)->gpr[0], 0x123456789abcdef1);
}

/* Answers the guest's accesses to EFER until it halts. */
static struct message run_with_efer(struct vm *vm)
{
    struct vcpu_state *state = vm_state(vm);
    struct message exit = vm_run(vm, 0, 0, 0, 0, far_deadline());
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_OK(exit.status);
        if (vm_exit_reason(&exit) == EXIT_HLT)
            return exit;
        EXPECT(exit.w[0], EFER);
        vm_read(vm, VCPU_GROUP_CONTROL);
        if (vm_exit_reason(&exit) == EXIT_MSR_READ) {
            state->gpr[0] = (uint32_t)state->efer;
            state->gpr[2] = state->efer >> 32;
        } else {
            EXPECT(vm_exit_reason(&exit), EXIT_MSR_WRITE);
            EXPECT(exit.w[1], EFER_LME);
            state->efer = exit.w[1];
            vm_write(vm, VCPU_GROUP_CONTROL);
        }
        exit = vm_continue(vm, &exit, 2);
    }
    return exit;
}

TEST_VM(vcpu_mode_changes, "a guest goes from real mode to protected, to PAE, to long mode by itself")
{
    struct vm vm;
    static const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) gdtr = {0x2f, VM_GDT};
    vm_create(&vm, 16);
    vm_long_mode(&vm, CODE); /* makes the tables and the GDT */
    VM_LOAD(&vm, CODE, guest_climb);
    vm_load(&vm, 0x3100, &gdtr, sizeof gdtr);
    vm_real_mode(&vm, CODE);
    struct message exit = run_with_efer(&vm);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(*(uint64_t *)(vm.memory + DATA), 0xfedcba9876543210);
    vm_read(&vm, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    struct vcpu_state *state = vm_state(&vm);
    EXPECT(state->efer, 0x500);
    EXPECT(state->cr0 & 0x80000001, 0x80000001);
    EXPECT(state->cr4, 0x20);
    EXPECT(state->cr4, state->gpr[1]); /* as the guest sees it */
    EXPECT(state->segment[VCPU_CS].selector, VM_CODE64);
    EXPECT(state->segment[VCPU_CS].attributes & 0x2000, 0x2000);
}

TEST_VM(vcpu_after_init, "a new vCPU is as INIT leaves a processor")
{
    struct vm vm;
    vm_create(&vm, 16);
    vm_read(&vm, VCPU_GROUP_ALL);
    struct vcpu_state *state = vm_state(&vm);
    EXPECT(state->rip, 0xfff0);
    EXPECT(state->rflags, 2);
    EXPECT(state->cr0, 0x60000010);
    EXPECT(state->cr3, 0);
    EXPECT(state->cr4, 0);
    EXPECT(state->efer, 0);
    EXPECT(state->xcr0, 1);
    EXPECT(state->segment[VCPU_CS].selector, 0xf000);
    EXPECT(state->segment[VCPU_CS].base, 0xffff0000);
    EXPECT(state->segment[VCPU_CS].limit, 0xffff);
    EXPECT(state->segment[VCPU_DS].base, 0);
    EXPECT(state->segment[VCPU_TR].attributes & 0xf, 0xb);
    EXPECT(state->gdtr.limit, 0xffff);
    EXPECT(state->idtr.limit, 0xffff);
    EXPECT(state->dr6, 0xffff0ff0);
    EXPECT(state->dr7, 0x400);
    EXPECT(state->pat, 0x0007040600070406);
    EXPECT(state->pending_event, 0);
    EXPECT(state->intercepts, 0);
    EXPECT(state->exception_exits, 0);
    EXPECT(state->activity, VCPU_ACTIVITY_ACTIVE);
}

TEST_VM(vcpu_reset_vector, "a guest that starts at the reset vector runs the code that is mapped there")
{
    static const uint8_t code[] = {0xb8, 0x34, 0x12, 0xf4}; /* mov $0x1234, %ax; hlt */
    struct vm vm;
    uint64_t physical;
    uint8_t *top = pages_new(1, 1, &physical);
    vm_create(&vm, 16);
    memcpy(top + 0xff0, code, sizeof code);
    vm_map(&vm, 0xfffff000, physical, 1, MAP_READ | MAP_EXECUTE);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(vm_state(&vm)->gpr[0] & 0xffff, 0x1234);
}
