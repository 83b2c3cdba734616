/*
 * Far branches, and the instructions that look at descriptors or load system segments.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

#define TABLE                   1024u /* of descriptors, in the window */
#define OPERAND                 64u
#define ZF                      64u
#define PROTECTION_OF(selector) (PROTECTION | (uint64_t)(selector) << 32)
#define ABSENT_OF(selector) \
    (VCPU_EVENT(11, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | (uint64_t)(selector) << 32)

/* Descriptors: selector 8 is 64-bit code, 16 32-bit code, 24 data, 32 an LDT with a base above 4 GiB in two, 48 a task's
 * segment in two, 64 a call gate, 72 absent code; all of level 0. */
static const uint64_t descriptors[10] = {0,
                                         0x00af9b000000ffff,
                                         0x00cf9b000000ffff,
                                         0x008f93000000ffff,
                                         0x0000820012340fff,
                                         0x12,
                                         0x008b89005678ffff,
                                         0,
                                         0x00008c0000080000,
                                         0x00af1b000000ffff};

static void begin(unsigned mode, const char *bytes, size_t count)
{
    start(mode, bytes, count);
    memcpy(world_ram + world_window_gpa(TABLE), descriptors, sizeof descriptors);
    world.state->gdtr =
        (struct vcpu_table){.base = WINDOW_LINEAR + TABLE, .limit = sizeof descriptors - 1};
    world.state->gpr[7] = WINDOW_LINEAR + OPERAND;
    world.state->gpr[4] = WINDOW_LINEAR + 512;
    kernel_mode();
}
#define BEGIN(mode, bytes) begin(mode, bytes, sizeof bytes - 1)

static void operand(unsigned at, uint64_t value, unsigned count)
{
    memcpy(world_ram + world_window_gpa(at), &value, count);
}

static uint64_t stored(unsigned at, unsigned count)
{
    uint64_t value = 0;
    memcpy(&value, world_ram + world_window_gpa(at), count);
    return value;
}

static void expect_zero(unsigned selector, bool set)
{
    world.state->rip = CODE_LINEAR + AT;
    operand(OPERAND, selector, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT((world.state->rflags & ZF) != 0, set);
}

TEST(far_rights, "LAR and LSL give what a program may see, and leave the register if it may not")
{
    BEGIN(8, "\x0f\x02\x07"); /* lar eax, [rdi] */
    expect_zero(24, true);
    EXPECT(world.state->gpr[0], 0x00809300);
    expect_zero(64, true);
    EXPECT(world.state->gpr[0], 0x00008c00);
    expect_zero(0, false);
    expect_zero(80, false); /* behind the table */
    expect_zero(24 + 3, false);
    EXPECT(world.state->gpr[0], 0x00008c00);
    BEGIN(8, "\x0f\x03\x07"); /* lsl eax, [rdi] */
    expect_zero(16, true);
    EXPECT(world.state->gpr[0], 0xffffffff);
    expect_zero(32, true);
    EXPECT(world.state->gpr[0], 0xfff);
    expect_zero(64, false);
}

TEST(far_verify, "VERR and VERW know code from data")
{
    BEGIN(8, "\x0f\x00\x27"); /* verr [rdi] */
    expect_zero(8, true);
    expect_zero(24, true);
    expect_zero(32, false);
    BEGIN(8, "\x0f\x00\x2f"); /* verw [rdi] */
    expect_zero(8, false);
    expect_zero(24, true);
    expect_zero(0, false);
}

TEST(far_system_segments,
     "LLDT and LTR take descriptors of 16 bytes in 64-bit code; a task becomes busy")
{
    BEGIN(8, "\x0f\x00\x17"); /* lldt [rdi] */
    operand(OPERAND, 32, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_LDTR].base, 0x1200001234);
    EXPECT(world.state->segment[VCPU_LDTR].limit, 0xfff);
    world.state->rip = CODE_LINEAR + AT;
    operand(OPERAND, 48, 2);
    expect_fault(PROTECTION_OF(48));
    operand(OPERAND, 0, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    CHECK(world.state->segment[VCPU_LDTR].attributes & VCPU_SEGMENT_UNUSABLE);
    BEGIN(8, "\x0f\x00\x1f"); /* ltr [rdi] */
    operand(OPERAND, 48, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_TR].attributes & 0xff, 0x8b);
    EXPECT(stored(TABLE + 48 + 5, 1), 0x8b);
    world.state->rip = CODE_LINEAR + AT;
    expect_fault(PROTECTION_OF(48)); /* it is busy now */
    operand(OPERAND, 48 + 4, 2);
    expect_fault(PROTECTION_OF(48 + 4)); /* not in the local table */
    START(8, "\x0f\x00\x1f");
    world.state->gpr[7] = WINDOW_LINEAR;
    expect_fault(PROTECTION); /* a program */
    BEGIN(4, "\x0f\x00\x17");
    operand(OPERAND, 32, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_LDTR].base, 0x1234);
}

TEST(far_branches, "JMP, CALL and RET between segments of one level")
{
    BEGIN(8, "\xff\x2f"); /* jmp far [rdi] */
    operand(OPERAND, 0x1234, 4);
    operand(OPERAND + 4, 16, 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, 0x1234);
    EXPECT(world.state->segment[VCPU_CS].selector, 16);
    EXPECT(world.state->segment[VCPU_CS].attributes & 0x6000, 0x4000);
    BEGIN(8, "\xff\x1f"); /* call far [rdi] */
    operand(OPERAND, 0x1234, 4);
    operand(OPERAND + 4, 8, 2);
    world.state->segment[VCPU_CS].selector = 0x88;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, 0x1234);
    EXPECT(stored(512 - 4, 4), 0x88);
    EXPECT(stored(512 - 8, 4), CODE_LINEAR + AT + 2);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + 504);
    BEGIN(8, "\x48\xca\x10\x00"); /* ret far 16, of 64 bits */
    operand(512, 0x7fff12345678, 8);
    operand(520, 8, 8);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, 0x7fff12345678);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + 512 + 32);
}

TEST(far_refusals,
     "what is no code, absent or out of reach faults; a call from 64-bit to other code is reported")
{
    BEGIN(8, "\xff\x1f"); /* call far [rdi] */
    operand(OPERAND, 0x1234, 4);
    operand(OPERAND + 4, 24, 2);
    expect_fault(PROTECTION_OF(24));
    operand(OPERAND + 4, 72, 2);
    expect_fault(ABSENT_OF(72));
    operand(OPERAND + 4, 0, 2);
    expect_fault(PROTECTION);
    operand(OPERAND + 4, 8 + 3, 2);
    expect_fault(PROTECTION_OF(8));
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + 512);
    operand(OPERAND + 4, 32, 2); /* a system segment that is neither gate nor task */
    expect_fault(PROTECTION_OF(32));
    operand(OPERAND + 4, 48, 2); /* a task, in long mode */
    expect_fault(PROTECTION_OF(48));
    operand(OPERAND + 4, 16, 2); /* to 32-bit code */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    EXPECT(strcmp(world_what, "call"), 0);
}

TEST(far_plain, "in virtual-8086 mode there are no descriptors to look at")
{
    BEGIN(2, "\x0f\x02\x05");       /* lar ax, [di] */
    world.state->rflags |= 1 << 17; /* VM */
    expect_fault(UNDEFINED);
}
