/* vCPUs: every reason for an exit that a guest can bring about, and what comes with it. */
#include "vm.h"

#define CODE 0x1000u
#define DATA 0x3000u
#define UNMAPPED 0x100000u

#define RAX 0
#define RCX 1
#define RDX 2
#define RBX 3
#define RSI 6
#define RDI 7

/* A guest of one instruction in protected mode, about to run. */
#define PREPARE(vm, name)                  \
    do {                                   \
        vm_create(vm, 16);                 \
        VM_LOAD(vm, CODE, guest_##name);   \
        vm_protected_mode(vm, CODE);       \
    } while (0)

/* Runs it and expects the exit at the first instruction; then goes on behind it, to the halt. */
static struct message expect_exit(struct vm *vm, enum vcpu_exit reason, unsigned length)
{
    struct message exit = vm_expect(vm, 0, reason);
    EXPECT(exit.w[2], CODE);
    if (vm_instruction_length(&exit))
        EXPECT(vm_instruction_length(&exit), length);
    struct message next = vm_continue(vm, &exit, length);
    EXPECT_OK(next.status);
    EXPECT(vm_exit_reason(&next), EXIT_HLT);
    EXPECT(next.w[2], CODE + length);
    return exit;
}

static void intercept(struct vm *vm, uint32_t which)
{
    vm_state(vm)->intercepts = which;
    vm_write(vm, VCPU_GROUP_POLICY);
}

#define EXIT_TEST(identifier, guest, reason, length, sentence)   \
    TEST_VM(identifier, sentence)                                \
    {                                                            \
        struct vm vm;                                            \
        PREPARE(&vm, guest);                                     \
        expect_exit(&vm, reason, length);                        \
    }

EXIT_TEST(vcpu_exit_cpuid, cpuid, EXIT_CPUID, 2, "CPUID always exits")
EXIT_TEST(vcpu_exit_rdpmc, rdpmc, EXIT_RDPMC, 2, "RDPMC exits")
EXIT_TEST(vcpu_exit_monitor, monitor, EXIT_MONITOR, 3, "MONITOR exits")
EXIT_TEST(vcpu_exit_mwait, mwait, EXIT_MWAIT, 3, "MWAIT exits")

TEST_VM(vcpu_exit_invd, "INVD exits (QEMU 7.2 calls it WBINVD)")
{
    struct vm vm;
    PREPARE(&vm, invd);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_OK(exit.status);
    if (!vm_is_qemu() || vm_exit_reason(&exit) != EXIT_WBINVD)
        EXPECT(vm_exit_reason(&exit), EXIT_INVD);
}

TEST_VM(vcpu_exit_wbinvd, "WBINVD exits where the processor can do that")
{
    struct vm vm;
    PREPARE(&vm, wbinvd);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_OK(exit.status);
    if (vm_is_svm())
        EXPECT(vm_exit_reason(&exit), EXIT_WBINVD);
    else
        CHECK(vm_exit_reason(&exit) == EXIT_WBINVD || vm_exit_reason(&exit) == EXIT_HLT);
}

TEST_VM(vcpu_exit_hypercall, "the vendor's hypercall instruction exits as a hypercall")
{
    struct vm vm;
    vm_create(&vm, 16);
    if (vm_is_svm())
        VM_LOAD(&vm, CODE, guest_vmmcall);
    else
        VM_LOAD(&vm, CODE, guest_vmcall);
    vm_protected_mode(&vm, CODE);
    expect_exit(&vm, EXIT_HYPERCALL, 3);
}

TEST_VM(vcpu_exit_virtualization, "a guest's own virtualization instructions exit, or are undefined")
{
    struct vm vm;
    vm_create(&vm, 16);
    vm_protected_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->exception_exits = 1 << 6;
    vm_write(&vm, VCPU_GROUP_POLICY);
#define TRY(name)                                                                       \
    do {                                                                                \
        VM_LOAD(&vm, CODE, guest_##name);                                               \
        struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());    \
        EXPECT_OK(exit.status);                                                         \
        CHECK(vm_exit_reason(&exit) == EXIT_VIRT_INSTRUCTION ||                         \
              vm_exit_reason(&exit) == EXIT_EXCEPTION);                                 \
        if (vm_exit_reason(&exit) == EXIT_EXCEPTION)                                    \
            EXPECT(exit.w[0], 6);                                                       \
    } while (0)
    if (vm_is_svm()) {
        TRY(vmrun);
        TRY(clgi);
        TRY(stgi);
        TRY(vmload);
    } else {
        TRY(vmxon);
        TRY(vmread);
    }
#undef TRY
}

/* ---- ports ----------------------------------------------------------------------------------- */

static uint64_t port_exit(uint16_t port, unsigned size, uint64_t flags)
{
    return port | size << 16 | flags;
}

TEST_VM(vcpu_exit_io_in, "reads from ports exit with port and size, and the VMM's answer reaches the guest")
{
    struct vm vm;
    PREPARE(&vm, io_in8);
    struct message exit = vm_expect(&vm, 0, EXIT_IO);
    EXPECT(exit.w[0], port_exit(0x70, 1, VCPU_IO_IN));
    EXPECT(vm_instruction_length(&exit), 2);
    vm_state(&vm)->gpr[RAX] = 0x5a;
    exit = vm_continue(&vm, &exit, 2);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(vm_state(&vm)->gpr[RAX] & 0xff, 0x5a);

    VM_LOAD(&vm, CODE, guest_io_in16);
    vm_state(&vm)->gpr[RDX] = 0xfffe;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(exit.w[0], port_exit(0xfffe, 2, VCPU_IO_IN));
    EXPECT(vm_instruction_length(&exit), 2);

    VM_LOAD(&vm, CODE, guest_io_in32);
    vm_state(&vm)->gpr[RDX] = 0xcfc;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(exit.w[0], port_exit(0xcfc, 4, VCPU_IO_IN));
    EXPECT(vm_instruction_length(&exit), 1);
}

TEST_VM(vcpu_exit_io_out, "writes to ports exit with port and size")
{
    struct vm vm;
    PREPARE(&vm, io_out8);
    vm_state(&vm)->gpr[RDX] = 0x3f8;
    vm_state(&vm)->gpr[RAX] = 'x';
    struct message exit = vm_expect(&vm, 0, EXIT_IO);
    EXPECT(exit.w[0], port_exit(0x3f8, 1, 0));
    EXPECT(vm_state(&vm)->gpr[RAX] & 0xff, 'x');
    VM_LOAD(&vm, CODE, guest_io_out16);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(exit.w[0], port_exit(0x80, 2, 0));
    EXPECT(vm_instruction_length(&exit), 3);
    VM_LOAD(&vm, CODE, guest_io_out32);
    vm_state(&vm)->gpr[RDX] = 0;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(exit.w[0], port_exit(0, 4, 0));
}

TEST_VM(vcpu_exit_io_string, "string instructions on ports exit with REP and the address size")
{
    struct vm vm;
    PREPARE(&vm, io_ins);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RDX] = 0x1f0;
    state->gpr[RCX] = 4;
    state->gpr[RDI] = DATA;
    struct message exit = vm_expect(&vm, 0, EXIT_IO);
    uint64_t segment = 7ull << VCPU_IO_SEGMENT_SHIFT, address = 15ull << VCPU_IO_ADDRESS_SHIFT;
    EXPECT(exit.w[0] & ~segment & ~address,
           port_exit(0x1f0, 4, VCPU_IO_IN | VCPU_IO_STRING | VCPU_IO_REP));
    if (!vm_is_qemu()) /* which does not tell */
        EXPECT((exit.w[0] & address) >> VCPU_IO_ADDRESS_SHIFT, 4);
    VM_LOAD(&vm, CODE, guest_io_outs);
    state->gpr[RCX] = 4;
    state->gpr[RSI] = DATA;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(exit.w[0] & ~segment & ~address, port_exit(0x1f0, 1, VCPU_IO_STRING | VCPU_IO_REP));
    CHECK((exit.w[0] & segment) == segment ||
          (exit.w[0] & segment) >> VCPU_IO_SEGMENT_SHIFT == VCPU_DS);
}

/* ---- MSRs ------------------------------------------------------------------------------------ */

TEST_VM(vcpu_exit_msr, "MSR accesses exit with index and value, whatever the index")
{
    static const uint32_t indexes[] = {0x1b,       0x8b,       0x10a,      0x2ff,
                                       0x1fff,     0x2000,     0xc0000080, 0xc0000100,
                                       0xc0001fff, 0xc0002000, 0xc0010015, 0xffffffff};
    struct vm vm;
    PREPARE(&vm, rdmsr);
    struct vcpu_state *state = vm_state(&vm);
    for (unsigned i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        VM_LOAD(&vm, CODE, guest_rdmsr);
        state->gpr[RCX] = indexes[i];
        struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
        EXPECT_OK(exit.status);
        EXPECT(vm_exit_reason(&exit), EXIT_MSR_READ);
        EXPECT(exit.w[0], indexes[i]);
        VM_LOAD(&vm, CODE, guest_wrmsr);
        state->gpr[RAX] = 0x11112222;
        state->gpr[RDX] = 0x33334444;
        exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
        EXPECT(vm_exit_reason(&exit), EXIT_MSR_WRITE);
        EXPECT(exit.w[0], indexes[i]);
        EXPECT(exit.w[1], 0x3333444411112222);
    }
}

/* ---- control and debug registers --------------------------------------------------------------- */

/* The operand of a register access: the general register, or not known. */
static void expect_operand(uint64_t w0, unsigned number, unsigned reg)
{
    EXPECT(w0 & 0xff, number);
    if ((w0 >> 8 & 0xff) != 0xff)
        EXPECT(w0 >> 8 & 0xff, reg);
}

TEST_VM(vcpu_exit_cr0_write, "a write to CR0 exits unless the guest owns what it changes")
{
    struct vm vm;
    PREPARE(&vm, cr0_write);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RBX] = 0x19; /* PE, ET, TS */
    state->cr0_guest_owned = 0;
    vm_write(&vm, VCPU_GROUP_POLICY);
    struct message exit = vm_expect(&vm, 0, EXIT_CR_WRITE);
    expect_operand(exit.w[0], 0, RBX);
    state->cr0_guest_owned = UINT64_MAX;
    exit = vm_run(&vm, 0, 0, VCPU_GROUP_POLICY, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(state->cr0 & 0x1f, 0x19);
}

TEST_VM(vcpu_exit_clts, "CLTS and LMSW exit, or do not, like writes to CR0")
{
    struct vm vm;
    PREPARE(&vm, clts);
    struct vcpu_state *state = vm_state(&vm);
    state->cr0 |= 8;
    state->cr0_guest_owned = 0;
    vm_write(&vm, VCPU_GROUP_POLICY | VCPU_GROUP_CONTROL);
    struct message exit = vm_expect(&vm, 0, EXIT_CR_WRITE);
    CHECK(exit.w[0] & (1 << 17 | 1 << 18));
    VM_LOAD(&vm, CODE, guest_lmsw);
    state->gpr[RBX] = 3;
    exit = vm_expect(&vm, 0, EXIT_CR_WRITE);
    CHECK(exit.w[0] & (1 << 16 | 1 << 18));
    if (exit.w[0] & 1 << 16)
        EXPECT(exit.w[1], 3);
    state->cr0_guest_owned = 10; /* MP, TS: enough for CLTS on both vendors */
    VM_LOAD(&vm, CODE, guest_clts);
    exit = vm_run(&vm, 0, 0, VCPU_GROUP_POLICY, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(state->cr0 & 8, 0);
}

TEST_VM(vcpu_exit_cr4_write, "a write to CR4 exits unless the guest owns what it changes")
{
    struct vm vm;
    PREPARE(&vm, cr4_write);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RBX] = 0x10; /* PSE */
    state->cr4_guest_owned = 0;
    vm_write(&vm, VCPU_GROUP_POLICY);
    struct message exit = vm_expect(&vm, 0, EXIT_CR_WRITE);
    expect_operand(exit.w[0], 4, RBX);
    state->cr4_guest_owned = UINT64_MAX;
    exit = vm_run(&vm, 0, 0, VCPU_GROUP_POLICY, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(state->cr4, 0x10);
}

TEST_VM(vcpu_exit_cr3, "accesses to CR3 exit if asked for, and only then")
{
    struct vm vm;
    PREPARE(&vm, cr3_read);
    struct message exit = vm_expect(&vm, 0, EXIT_HLT);
    intercept(&vm, VCPU_INTERCEPT_CR3);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    if (!vm_is_qemu() || vm_exit_reason(&exit) != EXIT_HLT) { /* QEMU 10 lets the read through */
        EXPECT(vm_exit_reason(&exit), EXIT_CR_READ);
        expect_operand(exit.w[0], 3, RSI);
    }
    VM_LOAD(&vm, CODE, guest_cr3_write);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_CR_WRITE);
    expect_operand(exit.w[0], 3, RSI);
}

TEST_VM(vcpu_exit_cr8, "CR8 is the guest's own, and a write exits if asked for")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_cr8_write);
    vm_long_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RBX] = 9;
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(state->gpr[RCX], 9);
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(state->cr8, 9);
    state->cr8 = 3;
    state->gpr[RBX] = 5;
    state->rip = CODE;
    state->intercepts = VCPU_INTERCEPT_CR8;
    exit = vm_run(&vm, 0, 0, VCPU_GROUP_CONTROL | VCPU_GROUP_RIP | VCPU_GROUP_POLICY, 0,
                  far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_CR8_WRITE);
    expect_operand(exit.w[0], 8, RBX);
    VM_LOAD(&vm, CODE, guest_cr8_read);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(state->gpr[RCX], 3);
}

TEST_VM(vcpu_exit_dr, "accesses to debug registers exit if asked for, and only then")
{
    struct vm vm;
    PREPARE(&vm, dr_write);
    vm_state(&vm)->gpr[RDI] = 0x1234;
    vm_expect(&vm, 0, EXIT_HLT);
    vm_read(&vm, VCPU_GROUP_DEBUG);
    EXPECT(vm_state(&vm)->dr[1], 0x1234);
    intercept(&vm, VCPU_INTERCEPT_DR);
    struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_DR);
    expect_operand(exit.w[0] & 0xffff, 1, RDI);
    EXPECT(exit.w[0] >> 31 & 1, 0);
    VM_LOAD(&vm, CODE, guest_dr_read);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_DR);
    EXPECT(exit.w[0] >> 31 & 1, 1);
}

/* ---- what exits only if asked for --------------------------------------------------------------- */

#define ASKED_TEST(identifier, guest, which, reason, length, sentence) \
    TEST_VM(identifier, sentence)                                      \
    {                                                                  \
        struct vm vm;                                                  \
        PREPARE(&vm, guest);                                           \
        vm_expect(&vm, 0, EXIT_HLT);                                   \
        intercept(&vm, which);                                         \
        vm_protected_mode(&vm, CODE);                                  \
        expect_exit(&vm, reason, length);                              \
    }

ASKED_TEST(vcpu_exit_rdtsc, rdtsc, VCPU_INTERCEPT_RDTSC, EXIT_RDTSC, 2, "RDTSC exits if asked for")
ASKED_TEST(vcpu_exit_invlpg, invlpg, VCPU_INTERCEPT_INVLPG, EXIT_INVLPG, 7,
           "INVLPG exits if asked for")
ASKED_TEST(vcpu_exit_sgdt, sgdt, VCPU_INTERCEPT_DESCRIPTOR, EXIT_DESCRIPTOR, 7,
           "SGDT exits if asked for")

TEST_VM(vcpu_exit_pause, "PAUSE exits if asked for, perhaps only when it spins")
{
    struct vm vm;
    PREPARE(&vm, pause);
    vm_expect(&vm, 0, EXIT_HLT);
    intercept(&vm, VCPU_INTERCEPT_PAUSE);
    struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    CHECK(vm_exit_reason(&exit) == EXIT_PAUSE || vm_exit_reason(&exit) == EXIT_HLT);
}

TEST_VM(vcpu_exit_rdtscp, "RDTSCP exits with RDTSC (not on QEMU)")
{
    struct vm vm;
    PREPARE(&vm, rdtscp);
    intercept(&vm, VCPU_INTERCEPT_RDTSC);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    if (vm_is_qemu()) /* it asks for the intercept of RDTSC */
        CHECK(vm_exit_reason(&exit) == EXIT_RDTSCP || vm_exit_reason(&exit) == EXIT_RDTSC);
    else
        EXPECT(vm_exit_reason(&exit), EXIT_RDTSCP);
}

TEST_VM(vcpu_exit_descriptor, "an exit for a descriptor table says which, and whether it is loaded")
{
    struct vm vm;
    PREPARE(&vm, lidt);
    intercept(&vm, VCPU_INTERCEPT_DESCRIPTOR);
    struct message exit = vm_expect(&vm, 0, EXIT_DESCRIPTOR);
    EXPECT(exit.w[0], 1 | 4);
    VM_LOAD(&vm, CODE, guest_sldt);
    exit = vm_expect(&vm, 0, EXIT_DESCRIPTOR);
    EXPECT(exit.w[0], 2);
}

TEST_VM(vcpu_exit_xsetbv, "XSETBV exits (not on QEMU 7.2)")
{
    struct vm vm;
    PREPARE(&vm, xsetbv);
    struct vcpu_state *state = vm_state(&vm);
    state->cr4 = 1 << 18;
    if (sys_control(vm.vcpu[0], CONTROL_VCPU_WRITE, VCPU_GROUP_CONTROL, 0, 0, 0).status)
        test_skip("this processor has no XSAVE");
    state->gpr[RAX] = 3;
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_OK(exit.status);
    if (vm_is_qemu() && vm_exit_reason(&exit) == EXIT_HLT) {
        vm_read(&vm, VCPU_GROUP_CONTROL);
        EXPECT(state->xcr0, 3); /* it was not seen, but is kept for the guest */
    } else {
        EXPECT(vm_exit_reason(&exit), EXIT_XSETBV);
    }
}

/* ---- faults ---------------------------------------------------------------------------------- */

TEST_VM(vcpu_exit_guest_fault, "an access to memory that is not mapped says what was accessed, and how")
{
    struct vm vm;
    PREPARE(&vm, store);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RBX] = UNMAPPED + 0x124;
    struct message exit = vm_expect(&vm, 0, EXIT_GUEST_FAULT);
    EXPECT(exit.w[0] & (7 | VCPU_ACCESS_PRESENT | VCPU_ACCESS_PAGE_WALK), VCPU_ACCESS_WRITE);
    EXPECT(exit.w[1], UNMAPPED + 0x124);
    EXPECT(exit.w[2], CODE);
    EXPECT(vm_instruction_length(&exit), 0);
    VM_LOAD(&vm, CODE, guest_load);
    exit = vm_expect(&vm, 0, EXIT_GUEST_FAULT);
    EXPECT(exit.w[0] & (7 | VCPU_ACCESS_PRESENT | VCPU_ACCESS_PAGE_WALK), VCPU_ACCESS_READ);
    VM_LOAD(&vm, CODE, guest_jump);
    exit = vm_expect(&vm, 0, EXIT_GUEST_FAULT);
    EXPECT(exit.w[0] & (4 | VCPU_ACCESS_PRESENT | VCPU_ACCESS_PAGE_WALK), VCPU_ACCESS_EXECUTE);
    EXPECT(exit.w[1], UNMAPPED + 0x124);
}

TEST_VM(vcpu_guest_fault_mapped, "memory mapped at the fault is there when the guest runs again")
{
    struct vm vm;
    uint64_t physical;
    volatile uint32_t *page = pages_new(1, 1, &physical);
    PREPARE(&vm, store);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RBX] = UNMAPPED + 8;
    state->gpr[RAX] = 0xabcd;
    vm_expect(&vm, 0, EXIT_GUEST_FAULT);
    vm_map(&vm, UNMAPPED, physical, 1, MAP_READ | MAP_WRITE);
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(page[2], 0xabcd);
}

TEST_VM(vcpu_guest_fault_rights, "a page that is mapped with fewer rights faults for the missing ones alone")
{
    struct vm vm;
    uint64_t physical;
    volatile uint8_t *page = pages_new(1, 1, &physical);
    page[0] = 0xf4; /* hlt */
    PREPARE(&vm, load);
    struct vcpu_state *state = vm_state(&vm);
    vm_map(&vm, UNMAPPED, physical, 1, MAP_READ);
    state->gpr[RBX] = UNMAPPED;
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(state->gpr[RAX] & 0xff, 0xf4);
    VM_LOAD(&vm, CODE, guest_store);
    struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_GUEST_FAULT);
    EXPECT(exit.w[0] & 15, VCPU_ACCESS_WRITE | VCPU_ACCESS_PRESENT);
    VM_LOAD(&vm, CODE, guest_jump);
    exit = vm_expect(&vm, 0, EXIT_GUEST_FAULT);
    EXPECT(exit.w[0] & 12, VCPU_ACCESS_EXECUTE | VCPU_ACCESS_PRESENT);
}

TEST_VM(vcpu_guest_fault_page_walk, "a guest's page table outside its memory is told as such")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_load);
    vm_long_mode(&vm, CODE);
    *(uint64_t *)(vm.memory + VM_TABLES + 8) = UNMAPPED | 0x27; /* the second 512 GiB */
    vm_state(&vm)->gpr[RBX] = 1ull << 39;
    VM_LOAD(&vm, CODE, guest_load);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_GUEST_FAULT);
    EXPECT(exit.w[1] & ~0xfffull, UNMAPPED);
    EXPECT(exit.w[0] & VCPU_ACCESS_PAGE_WALK, VCPU_ACCESS_PAGE_WALK);
}

TEST_VM(vcpu_exit_unmapped, "memory that is taken back from a guest is gone at its next access")
{
    struct vm vm;
    uint64_t physical;
    pages_new(1, 1, &physical);
    PREPARE(&vm, load);
    vm_map(&vm, UNMAPPED, physical, 1, MAP_READ);
    vm_state(&vm)->gpr[RBX] = UNMAPPED;
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_GUEST | UNMAP_SELF, UNMAPPED, 1));
    struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_GUEST_FAULT);
}

TEST_VM(vcpu_exit_triple_fault, "an exception without a handler ends in a triple fault")
{
    struct vm vm;
    PREPARE(&vm, ud2);
    vm_state(&vm)->idtr.limit = 0;
    vm_write(&vm, VCPU_GROUP_TABLES);
    vm_expect(&vm, 0, EXIT_TRIPLE_FAULT);
}

TEST_VM(vcpu_exit_exception, "exceptions that the VMM asked for exit with vector, error code and address")
{
    struct vm vm;
    PREPARE(&vm, ud2);
    struct vcpu_state *state = vm_state(&vm);
    state->exception_exits = 1 << 0 | 1 << 3 | 1 << 6 | 1 << 13 | 1 << 14;
    vm_write(&vm, VCPU_GROUP_POLICY);
    struct message exit = vm_expect(&vm, 0, EXIT_EXCEPTION);
    EXPECT(exit.w[0], 6);
    EXPECT(exit.w[2], CODE);
    VM_LOAD(&vm, CODE, guest_divide);
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT(exit.w[0], 0);
    VM_LOAD(&vm, CODE, guest_int3);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(exit.w[0], vm_is_qemu() ? 13 | 0x1aull << 32 : 3); /* no intercept of INT3: #GP */
    VM_LOAD(&vm, CODE, guest_int80);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_EXCEPTION); /* no such vector in the table: #GP */
    EXPECT(exit.w[0], 13 | (0x80ull << 3 | 2) << 32);
}

TEST_VM(vcpu_exit_page_fault, "an intercepted page fault comes with its address and error code")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_store);
    vm_long_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->exception_exits = 1 << 14;
    state->gpr[RBX] = 0x4000000000;
    struct message exit = vm_run(&vm, 0, 0, VCPU_GROUP_POLICY, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_EXCEPTION);
    EXPECT(exit.w[0], 14 | 2ull << 32);
    EXPECT(exit.w[1], 0x4000000000);
}

/* ---- the reply ------------------------------------------------------------------------------- */

TEST_VM(vcpu_subscription, "an exit fills only the groups that were subscribed for its reason")
{
    struct vm vm;
    PREPARE(&vm, cpuid);
    struct vcpu_state *state = vm_state(&vm);
    state->subscription[EXIT_CPUID] = VCPU_GROUP_SEGMENTS;
    state->rip = 0x1111;
    state->cr3 = 0x2222;
    state->segment[VCPU_CS].limit = 0x3333;
    struct message exit = vm_expect(&vm, 0, EXIT_CPUID);
    EXPECT(exit.w[2], CODE);
    EXPECT(state->rip, 0x1111);
    EXPECT(state->cr3, 0x2222);
    EXPECT(state->segment[VCPU_CS].limit, 0xffffffff);
    exit = vm_continue(&vm, &exit, 2);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(state->rip, CODE + 2); /* the others' subscription is as vm_create made it */
}

TEST_VM(vcpu_subscription_instruction, "INSTRUCTION alone shows what it takes to execute one, as "
                                       "the whole groups have it, and nothing else")
{
    static struct vcpu_state seen;
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_store);
    vm_long_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->subscription[EXIT_GUEST_FAULT] = VCPU_GROUP_INSTRUCTION;
    memset(state, 0x5a, offsetof(struct vcpu_state, subscription));
    state->gpr[RBX] = UNMAPPED + 0x124;
    struct message exit = vm_expect(&vm, 0, EXIT_GUEST_FAULT);
    EXPECT(exit.w[1], UNMAPPED + 0x124);
    EXPECT(exit.w[2], CODE);
    seen = *state;
    vm_read(&vm, VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    EXPECT(seen.gpr[4], state->gpr[4]);
    EXPECT(seen.gpr[4], VM_STACK);
    EXPECT(seen.rip, CODE);
    EXPECT(seen.rflags, state->rflags);
    EXPECT(seen.cr0, state->cr0);
    EXPECT(seen.cr3, state->cr3);
    EXPECT(seen.cr4, state->cr4);
    EXPECT(seen.efer, state->efer);
    EXPECT(seen.segment[VCPU_CS].attributes, state->segment[VCPU_CS].attributes);
    EXPECT(seen.segment[VCPU_SS].attributes, state->segment[VCPU_SS].attributes);
    EXPECT(seen.instruction_count <= 15, true);
    EXPECT(seen.cr2, 0x5a5a5a5a5a5a5a5a);
    EXPECT(seen.interruptibility, 0x5a5a5a5a);
    EXPECT(seen.segment[VCPU_DS].attributes, 0x5a5a5a5a);
    /* Read by itself it is the same. */
    memset(state, 0x5a, offsetof(struct vcpu_state, subscription));
    vm_read(&vm, VCPU_GROUP_INSTRUCTION);
    EXPECT(state->gpr[4], VM_STACK);
    EXPECT(state->cr0, seen.cr0);
    EXPECT(state->segment[VCPU_CS].attributes, seen.segment[VCPU_CS].attributes);
    EXPECT(state->segment[VCPU_DS].attributes, 0x5a5a5a5a);
}

TEST_VM(vcpu_counters, "entries are counted in the state page")
{
    struct vm vm;
    PREPARE(&vm, cpuid);
    uint64_t before = vm_state(&vm)->entries;
    expect_exit(&vm, EXIT_CPUID, 2);
    EXPECT(vm_state(&vm)->entries - before, 2 + vm_state(&vm)->kernel_exits);
}
