/*
 * What the instruction executor does beside the results of instructions: segments, ports, control registers, what it
 * refuses; each expectation is a sentence of the manual.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

/* ---- Segments -------------------------------------------------------------------------------- */

TEST(segment_limits, "limits, expand-down segments and types, in 32-bit code")
{
    START(4, STORE);
    struct vcpu_segment *ds = &world.state->segment[VCPU_DS];
    ds->base = WINDOW_LINEAR;
    ds->limit = 0xfff;
    world.state->gpr[7] = 0xffd;
    expect_fault(PROTECTION);
    world.state->gpr[7] = 0xffc;
    EXPECT(world_execute(), EXECUTE_DONE);
    START(4, STORE);
    ds->base = WINDOW_LINEAR;
    ds->limit = 0xfff;
    ds->attributes = 0x40f7; /* expand-down: above the limit */
    world.state->gpr[7] = 0xfff;
    expect_fault(PROTECTION);
    world.state->gpr[7] = 0x1000;
    EXPECT(world_execute(), EXECUTE_DONE);
    START(4, STORE);
    ds->attributes = 0x40f1; /* read only */
    world.state->gpr[7] = WINDOW_LINEAR;
    expect_fault(PROTECTION);
    START(4, LOAD);
    ds->attributes = VCPU_SEGMENT_UNUSABLE;
    world.state->gpr[7] = WINDOW_LINEAR;
    expect_fault(PROTECTION);
    START(4, "\x2e" STORE);
    world.state->gpr[7] = WINDOW_LINEAR; /* code can't be written */
    expect_fault(PROTECTION);
}

TEST(segment_bases, "FS and GS have bases in 64-bit code, DS and its limit do not count there")
{
    START(8, "\x64" LOAD);
    world.state->segment[VCPU_FS].base = WINDOW_LINEAR;
    world.state->segment[VCPU_DS].attributes = VCPU_SEGMENT_UNUSABLE;
    world.state->gpr[7] = 4;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0],
           window[4] | window[5] << 8 | window[6] << 16 | (uint32_t)window[7] << 24);
    START(8, "\x3e" LOAD);
    world.state->segment[VCPU_DS].base = 0x123456;
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
}

TEST(segment_stack_default, "BP and SP address the stack's segment, whose faults are its own")
{
    START(4, "\x8b\x45\x00"); /* mov eax, [ebp] */
    world.state->segment[VCPU_SS].base = WINDOW_LINEAR;
    world.state->gpr[5] = 8;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0] & 0xff, window[8]);
    START(4, "\x8b\x45\x00");
    world.state->segment[VCPU_SS].limit = 8;
    world.state->gpr[5] = 6;
    expect_fault(STACK);
    START(8, LOAD);
    world.state->gpr[7] = 0x800000000000;
    expect_fault(PROTECTION);
    START(8, "\x8b\x45\x00");
    world.state->gpr[5] = 0x800000000000;
    expect_fault(STACK);
}

TEST(real_mode, "real mode: 16-bit addresses by segment base, limits, BP's segment")
{
    START(2, "\x8b\x46\x02"); /* mov ax, [bp + 2] */
    world.state->cr0 = 0x10;
    world.state->efer = 0;
    world.state->segment[VCPU_CS].base = 0x20000;
    world.state->segment[VCPU_SS] =
        (struct vcpu_segment){.base = 0x12000, .limit = 0xffff, .attributes = 0x93};
    world.state->gpr[5] = 0x10006;
    world.state->gpr[0] = 0xaaaaaaaa;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], 0xaaaa0000u | window[9] << 8 | window[8]);
    world.state->rip = AT;
    world.state->gpr[5] = 0xfffd;
    expect_fault(STACK); /* two bytes at ffff */
}

/* ---- Refusals -------------------------------------------------------------------------------- */

TEST(lock_rules, "LOCK on what can't be locked is an invalid opcode")
{
    static const char *const bad[] = {"\xf0\x8b\x07", "\xf0\x89\x07",     "\xf0\x39\x07",
                                      "\xf0\x01\xc7", "\xf0\x0f\xa3\x07", "\xf0\x03\x07",
                                      "\xf0\xa4"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        start(8, bad[i], strlen(bad[i]));
        world.state->gpr[7] = world.state->gpr[6] = WINDOW_LINEAR;
        expect_fault(UNDEFINED);
    }
}

TEST(unknown_is_named, "what is not executed has its name, and nothing has changed")
{
    START(8, "\x0f\x11\x07"); /* movups [rdi], xmm0 */
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    EXPECT(strcmp(world_what, "movups"), 0);
    EXPECT(world.state->rip, CODE_LINEAR + AT);
    START(8, "\xdf\x2f"); /* fild qword [rdi] */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    EXPECT(strcmp(world_what, "fild"), 0);
    START(8, "\x06");
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    START(8, "\xc7\xf8\x00\x00\x00\x00"); /* xbegin shares its opcode with mov */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
}

TEST(too_long, "more than 15 bytes are a general-protection fault")
{
    START(8, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x8b\x07");
    expect_fault(PROTECTION);
}

TEST(misaligned_16_bytes, "cmpxchg16b wants alignment, also where it is nobody's RAM")
{
    START(8, "\x48\x0f\xc7\x0f");
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    expect_fault(PROTECTION);
}

TEST(given_bytes,
     "bytes that the processor gave are used instead of memory, and completed from there")
{
    START(8, LOAD);
    memcpy(world.state->instruction, STORE, 2);
    world.state->instruction_count = 2;
    world.state->gpr[7] = WINDOW_LINEAR;
    world.state->gpr[0] = 0x11223344;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_ram[0x12000], 0x44);
    START(8, "\xc7\x07\x78\x56\x34\x12");
    memcpy(world.state->instruction, "\xc7\x07", 2);
    world.state->instruction_count = 2;
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_ram[0x12003], 0x12);
}

TEST(known_address, "the exit's address saves the walk, but only for the access that it was about")
{
    START(8, LOAD);
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    set_entry(WORLD_PT, 0x10, 0); /* a walk would fault */
    world.fault_access = VCPU_ACCESS_READ;
    world.fault_gpa = 0x10008;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0] & 0xff, window[4096 + 8]);
    world.state->rip = CODE_LINEAR + AT;
    world.fault_gpa = 0x10009; /* not this one */
    expect_fault(PAGE_FAULT(4));
    world.fault_gpa = 0x10008;
    world.fault_access = VCPU_ACCESS_READ | VCPU_ACCESS_LINEAR;
    world.state->guest_linear = WINDOW_LINEAR + 4096 + 8;
    expect_fault(PAGE_FAULT(4));
    START(8, STORE);
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    set_entry(WORLD_PT, 0x10, 0);
    world.fault_access = VCPU_ACCESS_READ; /* and this one writes */
    world.fault_gpa = 0x10008;
    expect_fault(PAGE_FAULT(6));
}

/* ---- Flags, RIP and groups ------------------------------------------------------------------- */

TEST(changed_groups,
     "a move changes no group; flags, RSP and control registers do; RF and shadows end")
{
    START(8, STORE);
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_changed, 0);
    EXPECT(world.state->rip, CODE_LINEAR + AT + 2);
    START(8, "\x01\x07");
    world.state->gpr[7] = WINDOW_LINEAR;
    world.state->gpr[0] = 0x12345678;
    world.state->rflags |= 0x10000;
    world.state->interruptibility = VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_NMI;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_changed, VCPU_GROUP_RIP);
    EXPECT(world.state->rflags & 0x10000, 0);
    EXPECT(world.state->interruptibility, VCPU_BLOCKED_BY_NMI);
    START(8, "\x8b\x27"); /* mov esp, [rdi] */
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_changed, VCPU_GROUP_RIP);
}

TEST(pop_fault, "a POP whose destination faults leaves the stack pointer")
{
    START(8, "\x8f\x07");
    world.state->gpr[4] = WINDOW_LINEAR;
    world.state->gpr[7] = WINDOW_LINEAR + 4096;
    set_entry(WORLD_PT, 0x11, 0);
    expect_fault(PAGE_FAULT(6));
    EXPECT(world.state->gpr[4], WINDOW_LINEAR);
}

TEST(pop_by_rsp, "a POP to an address by RSP uses the incremented one")
{
    START(8, "\x8f\x44\x24\x08"); /* pop [rsp + 8] */
    world.state->gpr[4] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(world_ram + 0x12000 + 16, window, 8), 0);
}

/* ---- Strings --------------------------------------------------------------------------------- */

TEST(string_fault,
     "iterations that were done before a fault stay done; flags are as before the instruction")
{
    START(8, "\xf3\xa4");
    world.state->gpr[6] = WINDOW_LINEAR;
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 3;
    world.state->gpr[1] = 10;
    set_entry(WORLD_PT, 0x11, 0);
    expect_fault(PAGE_FAULT(6));
    EXPECT(world.state->gpr[1], 7);
    EXPECT(world.state->gpr[6], WINDOW_LINEAR + 3);
    EXPECT(world.state->gpr[7], WINDOW_LINEAR + 4096);
    START(8, "\xf3\xa6");
    memset(world_ram + 0x12000, 5, 4096);
    world.state->gpr[6] = WINDOW_LINEAR;
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 3;
    world.state->gpr[1] = 10;
    set_entry(WORLD_PT, 0x11, 0);
    expect_fault(PAGE_FAULT(4));
    EXPECT(world.state->rflags, 0x202);
    EXPECT(world.state->gpr[1], 7);
}

TEST(string_pieces, "long repetitions come in pieces, with RIP still at the instruction")
{
    START(8, "\xf3\xaa");
    world.state->gpr[7] = WINDOW_LINEAR;
    world.state->gpr[1] = 3000;
    world.state->gpr[0] = 0x5a;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, CODE_LINEAR + AT);
    CHECK(world.state->gpr[1] > 0 && world.state->gpr[1] < 3000);
    for (unsigned i = 0; i < 10 && world.state->gpr[1]; i++)
        EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[1], 0);
    EXPECT(world.state->rip, CODE_LINEAR + AT + 2);
    EXPECT(world.state->gpr[7], WINDOW_LINEAR + 3000);
    for (unsigned i = 0; i < 3000; i++)
        EXPECT(world_ram[0x12000 + i], 0x5a);
}

TEST(string_input, "INS brings a port's data, and asks the device nothing if it has no room")
{
    START(8, "\xf3\x66\x6d"); /* rep insw */
    for (unsigned i = 0; i < sizeof world_port_data; i++)
        world_port_data[i] = (uint8_t)(0x80 + i);
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 4;
    world.state->gpr[1] = 5;
    world.state->gpr[2] = 0xffff01f0;
    set_entry(WORLD_PT, 0x11, 0);
    expect_fault(PAGE_FAULT(6));
    EXPECT(world_port_count, 4);
    set_entry(WORLD_PT, 0x11, 0x10007);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_port_count, 10);
    EXPECT(memcmp(world_ram + 0x12000 + 4092, world_port_data, 4), 0);
    EXPECT(memcmp(world_ram + 0x10000, world_port_data + 4, 6), 0);
    EXPECT(world.state->gpr[1], 0);
    EXPECT(world.state->gpr[7], WINDOW_LINEAR + 4096 + 6);
}

TEST(string_output, "OUTS with a segment override, downwards, of every size")
{
    static const char *const forms[] = {"\x64\xf3\x6e", "\x64\xf3\x66\x6f", "\x64\xf3\x6f"};
    for (unsigned i = 0; i < 3; i++) {
        unsigned size = 1u << i;
        start(4, forms[i], strlen(forms[i]));
        world.state->segment[VCPU_FS].base = WINDOW_LINEAR;
        world.state->gpr[6] = 0x100;
        world.state->gpr[1] = 4;
        world.state->gpr[2] = 0x1f0;
        world.state->rflags |= 0x400;
        EXPECT(world_execute(), EXECUTE_DONE);
        EXPECT(world_port_count, 4 * size);
        EXPECT(world.state->gpr[6], 0x100 - 4 * size);
        for (unsigned n = 0; n < 4; n++)
            EXPECT(memcmp(world_port_data + n * size, window + 0x100 - n * size, size), 0);
    }
    START(8, "\x6e");
    world.state->gpr[6] = WINDOW_LINEAR;
    world.state->gpr[2] = 0x999;
    EXPECT(world_execute(), EXECUTE_NOWHERE);
    EXPECT(world.state->gpr[6], WINDOW_LINEAR);
}

/* ---- Control registers ----------------------------------------------------------------------- */

TEST(control_moves,
     "MOV to and from control registers: privileged, all 64 bits, the policy's refusal faults")
{
    START(8, "\x0f\x20\xd8"); /* mov rax, cr3 */
    expect_fault(PROTECTION);
    kernel_mode();
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], WORLD_PML4);
    EXPECT(world_changed, 0);
    START(8, "\x44\x0f\x22\xc3"); /* mov cr8, rbx */
    kernel_mode();
    world.state->gpr[3] = 7;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->cr8, 7);
    EXPECT(world_changed, VCPU_GROUP_CONTROL);
    START(8, "\x0f\x22\xc3");
    kernel_mode();
    world_refuse = true;
    expect_fault(PROTECTION);
    START(4, "\x0f\x20\xc0");
    kernel_mode();
    world.state->gpr[0] = ~0ull;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], 0x80010033);
}

TEST(status_word, "LMSW sets four bits and can't clear PE; SMSW; CLTS")
{
    START(8, "\x0f\x01\xf0"); /* lmsw ax */
    kernel_mode();
    world.state->gpr[0] = 0xfff8;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->cr0, 0x80010039);
    START(8, "\x0f\x06");
    kernel_mode();
    world.state->cr0 |= 8;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->cr0, 0x80010033);
    START(8, "\x0f\x01\x27"); /* smsw [rdi] */
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world_ram[0x12000], 0x33);
    EXPECT(world_ram[0x12002], window[2]);
    START(8, "\x0f\x01\x27");
    world.state->cr4 |= 1 << 11;
    expect_fault(PROTECTION);
}

TEST(execute_garbage, "random bytes in random states never leave the machine, in all three modes")
{
    for (unsigned i = 0; i < 60000; i++) {
        unsigned mode = 2u << unit_random() % 3;
        for (unsigned n = 0; n < 16; n++)
            code[AT + n] = (uint8_t)unit_random();
        world_start(mode, code, window);
        world.state->rip = (mode == 2 ? 0 : CODE_LINEAR) + AT;
        for (unsigned n = 0; n < 16; n++)
            world.state->gpr[n] =
                unit_random() & 1 ? WINDOW_LINEAR + unit_random() % WINDOW_BYTES : unit_random();
        if (unit_random() & 1)
            kernel_mode();
        world.state->cr4 |= unit_random() & 0x301000;
        world.physical_bits = 36 + unit_random() % 17;
        enum execute_result result = world_execute();
        CHECK(result <= EXECUTE_NOWHERE);
        CHECK((result == EXECUTE_FAULT) == ((world_event & VCPU_EVENT_VALID) != 0));
        CHECK(result == EXECUTE_DONE || result == EXECUTE_FAULT || world_what != NULL);
    }
}
