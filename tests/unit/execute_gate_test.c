/*
 * Call gates, tasks, and returns to other privilege levels: RET far, IRET.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

#define TABLE                   1024u /* of descriptors, in the window */
#define TASK                    2048u /* its segment */
#define POINTER                 64u
#define STACK_AT                512u
#define INNER                   800u
#define PROTECTION_OF(selector) (PROTECTION | (uint64_t)(selector) << 32)
#define ERROR_OF(vector, selector) \
    (VCPU_EVENT(vector, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | (uint64_t)(selector) << 32)
#define LONG_MODE (1ull << 10)
#define VM        (1ull << 17)
#define NT        (1ull << 14)

/* Of levels 0 and 3: 8 and 24 64-bit code, 16 and 32 32-bit code, 40 and 48 data, 56 conforming code; 64 a call gate to 8 in two,
 * 80 one of 32 bits to 16, with two parameters, 88 of 16 bits; 96 a task gate to 104, a task. */
static const uint64_t descriptors[14] = {0,
                                         0x00af9b000000ffff,
                                         0x00cf9b000000ffff,
                                         0x00affb000000ffff,
                                         0x00cffb000000ffff,
                                         0x00cf93000000ffff,
                                         0x00cff3000000ffff,
                                         0x00cf9f000000ffff,
                                         0x1234ec0000085678,
                                         0x00007fff,
                                         0x1234ec0200105678,
                                         0x9999e40100105678,
                                         0x0000e50000680000,
                                         0x0000e90000000067};

static void set(unsigned at, uint64_t value, unsigned count)
{
    memcpy(world_ram + world_window_gpa(at), &value, count);
}

static uint64_t stored(unsigned at, unsigned count)
{
    uint64_t value = 0;
    memcpy(&value, world_ram + world_window_gpa(at), count);
    return value;
}

/* Of level 3, on the window's stack; RDI points to a far pointer. A legacy machine is one of 32 bits. */
static void begin(unsigned mode, bool legacy, const char *bytes, size_t count)
{
    start(mode, bytes, count);
    struct vcpu_state *state = world.state;
    world_ram_is_device = true;
    memcpy(world_ram + world_window_gpa(TABLE), descriptors, sizeof descriptors);
    memset(world_ram + world_window_gpa(TASK), 0, 104);
    state->gdtr =
        (struct vcpu_table){.base = WINDOW_LINEAR + TABLE, .limit = sizeof descriptors - 1};
    state->segment[VCPU_TR] = (struct vcpu_segment){
        .selector = 0x70, .base = WINDOW_LINEAR + TASK, .limit = 103, .attributes = 0x8b};
    state->segment[VCPU_CS].selector = (mode == 8 ? 24 : 32) + 3;
    state->segment[VCPU_SS].selector = 48 + 3;
    state->gpr[7] = WINDOW_LINEAR + POINTER;
    state->gpr[4] = WINDOW_LINEAR + STACK_AT;
    set(TASK + 4, WINDOW_LINEAR + INNER, 8);
    if (!legacy)
        return;
    set(TASK + 8, 40, 4);
    state->efer &= ~LONG_MODE;
    state->cr0 &= 0x7fffffff; /* no paging */
    state->gdtr.base = world_window_gpa(TABLE);
    state->segment[VCPU_TR].base = world_window_gpa(TASK);
    state->gpr[7] = world_window_gpa(POINTER);
    state->gpr[4] = world_window_gpa(STACK_AT);
    set(TASK + 4, world_window_gpa(INNER), 4);
    state->segment[VCPU_CS].base = 0xe000 - CODE_LINEAR;
}
#define BEGIN(mode, legacy, bytes) begin(mode, legacy, bytes, sizeof bytes - 1)

static void kernel(uint16_t code)
{
    kernel_mode();
    world.state->segment[VCPU_CS].selector = code;
    world.state->segment[VCPU_SS].selector = 40;
}

static void expect_places(uint64_t rip, unsigned code, uint64_t pointer, unsigned stack)
{
    const struct vcpu_state *state = world.state;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(state->rip, rip);
    EXPECT(state->segment[VCPU_CS].selector, code);
    EXPECT(state->gpr[4], pointer);
    EXPECT(state->segment[VCPU_SS].selector, stack);
    EXPECT(state->segment[VCPU_SS].attributes >> 5 & 3, stack & 3);
}

TEST(gate_inner_long, "a call gate of long mode leads to level 0, on the stack that the task names")
{
    BEGIN(8, false, "\xff\x1f"); /* call far [rdi] */
    set(POINTER + 4, 64 + 3, 2);
    expect_places(0x7fff12345678, 8, WINDOW_LINEAR + INNER - 32, 0);
    CHECK(world.state->segment[VCPU_SS].attributes & VCPU_SEGMENT_UNUSABLE);
    EXPECT(stored(INNER - 8, 8), 48 + 3);
    EXPECT(stored(INNER - 16, 8), WINDOW_LINEAR + STACK_AT);
    EXPECT(stored(INNER - 24, 8), 24 + 3);
    EXPECT(stored(INNER - 32, 8), CODE_LINEAR + AT + 2);
}

TEST(gate_inner_parameters, "one of 32 bits copies parameters from the old stack")
{
    BEGIN(4, true, "\xff\x1f");
    set(POINTER + 4, 80 + 3, 2);
    set(STACK_AT, 0x2222222211111111, 8);
    memcpy(world_ram + 0xe000, code, 4096);
    uint64_t top = world_window_gpa(INNER);
    expect_places(0x12345678, 16, top - 24, 40);
    EXPECT(stored(INNER - 4, 4), 48 + 3);
    EXPECT(stored(INNER - 8, 4), world_window_gpa(STACK_AT));
    EXPECT(stored(INNER - 16, 8), 0x2222222211111111);
    EXPECT(stored(INNER - 20, 4), 32 + 3);
    EXPECT(stored(INNER - 24, 4), CODE_LINEAR + AT + 2);
}

TEST(gate_same_level, "one to the same level stays on its stack, and pushes as wide as the gate is")
{
    BEGIN(4, true, "\xff\x1f");
    kernel(16);
    set(POINTER + 4, 88, 2);
    memcpy(world_ram + 0xe000, code, 4096);
    expect_places(0x5678, 16, world_window_gpa(STACK_AT - 4), 40);
    EXPECT(stored(STACK_AT - 2, 2), 16);
    EXPECT(stored(STACK_AT - 4, 2), (CODE_LINEAR + AT + 2) & 0xffff);
    BEGIN(8, false, "\xff\x2f"); /* jmp far [rdi] */
    kernel(8);
    set(POINTER + 4, 64, 2);
    expect_places(0x7fff12345678, 8, WINDOW_LINEAR + STACK_AT, 40);
}

TEST(gate_faults, "a gate or its code out of reach, a stack that is none: nothing changes")
{
    BEGIN(8, false, "\xff\x1f");
    set(POINTER + 4, 64, 2);
    set(TABLE + 64 + 5, 0x8c, 1); /* the gate is level 0's */
    expect_fault(PROTECTION_OF(64));
    set(POINTER + 4, 64 + 3, 2);
    set(TABLE + 64 + 5, 0x6c, 1);
    expect_fault(ERROR_OF(11, 64));
    set(TABLE + 64 + 5, 0xec, 1);
    set(TABLE + 64 + 2, 16, 2); /* 32-bit code */
    expect_fault(PROTECTION_OF(16));
    set(TABLE + 64 + 2, 8, 2);
    world.state->segment[VCPU_TR].limit = 10;
    expect_fault(ERROR_OF(10, 0x70));
    world.state->segment[VCPU_TR].limit = 103;
    set(TASK + 4, WINDOW_LINEAR - 4096, 8);
    expect_fault(PAGE_FAULT(2));
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + STACK_AT);
    EXPECT(world.state->segment[VCPU_SS].selector, 48 + 3);
    BEGIN(8, false, "\xff\x2f"); /* a jump reaches no inner level */
    set(POINTER + 4, 64 + 3, 2);
    expect_fault(PROTECTION_OF(8));
    BEGIN(4, true, "\xff\x1f");
    memcpy(world_ram + 0xe000, code, 4096);
    set(POINTER + 4, 80 + 3, 2);
    set(TASK + 8, 48, 4);
    expect_fault(ERROR_OF(10, 48));
    set(TASK + 8, 0, 4);
    expect_fault(ERROR_OF(10, 0));
    set(TASK + 8, 40, 4);
    set(TABLE + 40 + 5, 0x13, 1);
    expect_fault(ERROR_OF(12, 40));
}

TEST(gate_direct, "a far branch whose pointer is in the instruction")
{
    BEGIN(4, true, "\xea\x34\x12\x00\x00\x20\x00"); /* jmp 32:0x1234 */
    memcpy(world_ram + 0xe000, code, 4096);
    expect_places(0x1234, 32 + 3, world_window_gpa(STACK_AT), 48 + 3);
    BEGIN(4, true, "\x66\x9a\x34\x12\x20\x00"); /* call 32:0x1234, of 16 bits */
    memcpy(world_ram + 0xe000, code, 4096);
    expect_places(0x1234, 32 + 3, world_window_gpa(STACK_AT - 4), 48 + 3);
    EXPECT(stored(STACK_AT - 2, 2), 32 + 3);
}

TEST(gate_task, "CALL by a task gate changes the task, and IRET with NT comes back")
{
    BEGIN(4, true, "\xff\x1f");
    memcpy(world_ram + 0xe000, code, 4096);
    set(POINTER + 4, 96 + 3, 2);
    set(TABLE + 104, 0x0000e90000000067 | (uint64_t)world_window_gpa(3072) << 16, 8);
    memset(world_ram + world_window_gpa(3072), 0, 104);
    set(3072 + 0x20, 0x4321, 4);
    set(3072 + 0x24, 2, 4);
    set(3072 + 0x38, world_window_gpa(INNER), 4);
    set(3072 + 0x4c, 16, 2);
    set(3072 + 0x50, 40, 2);
    set(TABLE + 112, 0, 8);
    world.state->gdtr.limit = 127;
    set(TABLE + 112, 0x0000eb0000000067 | (uint64_t)world_window_gpa(TASK) << 16, 8);
    world.state->segment[VCPU_TR].selector = 112;
    expect_places(0x4321, 16, world_window_gpa(INNER), 40);
    EXPECT(world.state->segment[VCPU_TR].selector, 104);
    EXPECT(stored(3072, 2), 112);
    EXPECT(stored(TASK + 0x20, 4), CODE_LINEAR + AT + 2);
    CHECK(world.state->rflags & NT);
    world.state->rip = CODE_LINEAR + AT;
    world.state->segment[VCPU_CS].base = 0xe000 - CODE_LINEAR;
    world_ram[0xe000 + AT] = 0xcf; /* iret */
    set(TASK + 0x4c, 32 + 3, 2);
    set(TASK + 0x50, 48 + 3, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_TR].selector, 112);
    EXPECT(world.state->rip, CODE_LINEAR + AT + 2);
    CHECK(world.returned);
}

TEST(return_outer,
     "RET far to level 3 takes the stack too, and drops segments that level may not have")
{
    BEGIN(8, false, "\x48\xca\x10\x00"); /* ret far 16 */
    kernel(8);
    world.state->segment[VCPU_DS].attributes = 0x4093;
    set(STACK_AT, 0x1234, 8);
    set(STACK_AT + 8, 24 + 3, 8);
    set(STACK_AT + 32, 0x5000, 8);
    set(STACK_AT + 40, 48 + 3, 8);
    expect_places(0x1234, 24 + 3, 0x5010, 48 + 3);
    CHECK(world.state->segment[VCPU_DS].attributes & VCPU_SEGMENT_UNUSABLE);
    CHECK(!(world.state->segment[VCPU_ES].attributes & VCPU_SEGMENT_UNUSABLE));
    BEGIN(8, false, "\x48\xcb");
    kernel(8);
    set(STACK_AT, 0x1234, 8);
    set(STACK_AT + 8, 24 + 3, 8);
    set(STACK_AT + 16, 0x5000, 8);
    set(STACK_AT + 24, 40, 8); /* level 0's stack */
    expect_fault(PROTECTION_OF(40));
    set(STACK_AT + 24, 0, 8);
    expect_fault(PROTECTION);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + STACK_AT);
    EXPECT(world.state->segment[VCPU_CS].selector, 8);
}

static void set_frame(unsigned size, uint64_t rip, uint64_t selector, uint64_t flags,
                      uint64_t pointer, uint64_t stack)
{
    const uint64_t words[] = {rip, selector, flags, pointer, stack};
    for (unsigned i = 0; i < 5; i++)
        set(STACK_AT + i * size, words[i], size);
}

TEST(return_interrupt_long, "IRETQ always takes a stack; flags as the level may change them")
{
    BEGIN(8, false, "\x48\xcf");
    kernel(8);
    set_frame(8, 0x1234, 8, 0x10246, 0x5000, 0);
    expect_places(0x1234, 8, 0x5000, 0);
    EXPECT(world.state->rflags, 0x10246);
    CHECK(world.returned);
    BEGIN(8, false, "\x48\xcf");
    kernel(8);
    set_frame(8, 0x1234, 32 + 3, 0x3202, 0x100005000, 48 + 3);
    expect_places(0x1234, 32 + 3, 0x5000, 48 + 3);
    EXPECT(world.state->rflags, 0x3202);
    BEGIN(8, false, "\xcf"); /* a program: of 32 bits, and neither IF nor IOPL */
    set_frame(4, 0x1234, 24 + 3, 0x3cd7, 0x5000, 48 + 3);
    expect_places(0x1234, 24 + 3, 0x5000, 48 + 3);
    EXPECT(world.state->rflags, 0xed7);
    BEGIN(8, false, "\x48\xcf");
    world.state->rflags |= NT;
    expect_fault(PROTECTION);
    world.state->rflags &= ~NT;
    set_frame(8, 0x1234, 8, 2, 0x5000, 40);
    expect_fault(PROTECTION_OF(8)); /* to an inner level */
    CHECK(!world.returned);
}

TEST(return_interrupt_virtual, "IRET of level 0 to virtual-8086 mode takes all segments")
{
    BEGIN(4, true, "\xcf");
    kernel(16);
    memcpy(world_ram + 0xe000, code, 4096);
    set_frame(4, 0x1234, 0x1000, VM | 0x3202, 0xfff0, 0x2000);
    set(STACK_AT + 20, 0x400000003000, 8);
    set(STACK_AT + 28, 0x600000005000, 8);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, 0x1234);
    EXPECT(world.state->segment[VCPU_CS].base, 0x10000);
    EXPECT(world.state->segment[VCPU_SS].base, 0x20000);
    EXPECT(world.state->segment[VCPU_ES].base, 0x30000);
    EXPECT(world.state->segment[VCPU_DS].base, 0x40000);
    EXPECT(world.state->segment[VCPU_FS].base, 0x50000);
    EXPECT(world.state->segment[VCPU_GS].base, 0x60000);
    EXPECT(world.state->segment[VCPU_GS].attributes, 0xf3);
    EXPECT(world.state->gpr[4], 0xfff0);
    EXPECT(world.state->rflags, VM | 0x3202);
}

TEST(return_interrupt_plain, "real mode's IRET loads three words; virtual-8086 mode's needs IOPL 3")
{
    BEGIN(2, false, "\xcf");
    world.state->cr0 &= ~1ull;
    world.state->segment[VCPU_SS] = world.state->segment[VCPU_DS];
    world.state->gpr[4] = STACK_AT;
    set_frame(2, 0x1234, 0x4000, 0x7cd7, 0, 0);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, 0x1234);
    EXPECT(world.state->segment[VCPU_CS].base, 0x40000);
    EXPECT(world.state->gpr[4], STACK_AT + 6);
    EXPECT(world.state->rflags, 0x7cd7);
    BEGIN(2, false, "\xcf");
    world.state->rflags |= VM;
    expect_fault(PROTECTION);
}
