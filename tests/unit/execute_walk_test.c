/*
 * The instruction executor's walks of a guest's page tables; each expectation is a sentence of the manual.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

/* ---- Pages ----------------------------------------------------------------------------------- */

TEST(walk_marks, "accessed in every level, dirty in the last one after a write")
{
    START(8, LOAD);
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(entry(WORLD_PML4, 0) & 0x60, 0x20);
    EXPECT(entry(WORLD_PDPT, 1) & 0x60, 0x20);
    EXPECT(entry(WORLD_PD, 0x80) & 0x60, 0x20);
    EXPECT(entry(WORLD_PT, 0x10) & 0x60, 0x20);
    EXPECT(entry(WORLD_PT, 0x11) & 0x60, 0);
    EXPECT(entry(WORLD_PT, 0) & 0x60, 0x20);
    START(8, STORE);
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(entry(WORLD_PT, 0x10) & 0x60, 0x60);
    EXPECT(entry(WORLD_PD, 0x80) & 0x60, 0x20);
}

TEST(walk_absent, "a missing entry at any level is a page fault, with CR2")
{
    static const struct {
        unsigned table, index;
    } levels[] = {{WORLD_PML4, 1}, {WORLD_PDPT, 1}, {WORLD_PD, 0x80}, {WORLD_PT, 0x10}};
    for (unsigned i = 0; i < 4; i++) {
        START(8, STORE);
        world.state->instruction_count = 2;
        memcpy(world.state->instruction, STORE, 2);
        world.state->gpr[7] = i ? WINDOW_LINEAR + 8 : 1ull << 39;
        set_entry(levels[i].table, levels[i].index, 0);
        expect_fault(PAGE_FAULT(6));
        EXPECT(world.state->cr2, world.state->gpr[7]);
        EXPECT(world_changed, VCPU_GROUP_CONTROL);
    }
}

TEST(walk_rights, "user, write and WP, with the error code of each")
{
    START(8, STORE);
    world.state->gpr[7] = WINDOW_LINEAR;
    set_entry(WORLD_PT, 0x10, 0x12000 | 5);
    expect_fault(PAGE_FAULT(7));
    START(8, LOAD);
    world.state->gpr[7] = WINDOW_LINEAR;
    set_entry(WORLD_PT, 0x10, 0x12000 | 3);
    expect_fault(PAGE_FAULT(5));
    EXPECT(entry(WORLD_PT, 0x10) & 0x20, 0);
    START(8, STORE);
    kernel_mode();
    world.state->gpr[7] = WINDOW_LINEAR;
    set_entry(WORLD_PT, 0x10, 0x12000 | 1);
    expect_fault(PAGE_FAULT(3));
    world.state->cr0 &= ~0x10000ull;
    EXPECT(world_execute(), EXECUTE_DONE);
    START(8, STORE);
    world.state->gpr[7] = WINDOW_LINEAR;
    set_entry(WORLD_PD, 0x80, WORLD_PT | 5); /* upper levels count too */
    expect_fault(PAGE_FAULT(7));
}

TEST(walk_supervisor_protection, "SMAP with and without AC, SMEP and NX for code")
{
    START(8, LOAD);
    kernel_mode();
    set_entry(WORLD_PT, 0, 0x20000 | 1);
    world.state->gpr[7] = WINDOW_LINEAR;
    world.state->cr4 |= 1 << 21;
    expect_fault(PAGE_FAULT(1));
    world.state->rflags |= 1 << 18;
    EXPECT(world_execute(), EXECUTE_DONE);
    START(8, LOAD);
    kernel_mode();
    world.state->cr4 |= 1 << 20;
    expect_fault(PAGE_FAULT(0x11));
    EXPECT(world.state->cr2, CODE_LINEAR + AT);
    START(8, LOAD);
    set_entry(WORLD_PT, 0, 0x20000 | 5 | 1ull << 63);
    expect_fault(PAGE_FAULT(0x15));
    world.state->efer &= ~0x800ull; /* then the bit is reserved; and there is no fetch bit */
    expect_fault(PAGE_FAULT(0xd));
}

TEST(walk_reserved, "reserved bits: beyond the address width, of large pages, of the top level")
{
    START(8, LOAD);
    world.state->gpr[7] = WINDOW_LINEAR;
    set_entry(WORLD_PT, 0x10, 0x12000 | 7 | 1ull << 40);
    expect_fault(PAGE_FAULT(0xd));
    START(8, LOAD);
    world.state->gpr[7] = 0x40000000;
    set_entry(WORLD_PD, 0, 0x2000 | 0x87);
    expect_fault(PAGE_FAULT(0xd));
    set_entry(WORLD_PD, 0, 0x87);
    EXPECT(world_execute(), EXECUTE_DONE);
    START(8, LOAD);
    set_entry(WORLD_PML4, 0, WORLD_PDPT | 0x87);
    expect_fault(PAGE_FAULT(0x1d));
}

TEST(walk_large_pages, "2 MiB and 1 GiB pages")
{
    uint64_t gpa, event;
    START(8, LOAD);
    set_entry(WORLD_PD, 5, 0x87);
    EXPECT(execute_translate(&world, 0x40a12345, VCPU_ACCESS_WRITE, &gpa, &event), true);
    EXPECT(gpa, 0x12345);
    EXPECT(entry(WORLD_PD, 5) & 0x60, 0x60);
    set_entry(WORLD_PDPT, 3, 0x40000087);
    EXPECT(execute_translate(&world, 0xc1234567, VCPU_ACCESS_READ, &gpa, &event), true);
    EXPECT(gpa, 0x41234567);
    EXPECT(
        execute_translate(&world, 0xc1234567, VCPU_ACCESS_READ | EXECUTE_ACCESS_USER, &gpa, &event),
        true);
    set_entry(WORLD_PDPT, 3, 0x40000083);
    EXPECT(
        execute_translate(&world, 0xc1234567, VCPU_ACCESS_READ | EXECUTE_ACCESS_USER, &gpa, &event),
        false);
    EXPECT(event, PAGE_FAULT(5));
}

TEST(walk_five_levels, "LA57 adds a level")
{
    uint64_t gpa, event;
    START(8, LOAD);
    world.state->cr4 |= 1 << 12;
    world.state->cr3 = 0x5000;
    memset(world_ram + 0x5000, 0, 4096);
    set_entry(0x5000, 1, WORLD_PML4 | 7);
    EXPECT(
        execute_translate(&world, (1ull << 48) + WINDOW_LINEAR + 5, VCPU_ACCESS_READ, &gpa, &event),
        true);
    EXPECT(gpa, 0x12005);
    EXPECT(entry(0x5000, 1) & 0x20, 0x20);
}

TEST(walk_32_bit, "two levels, 4 MiB pages with PSE, and what PSE-36 adds")
{
    uint64_t gpa, event;
    uint32_t *directory = (uint32_t *)(world_ram + 0x5000),
             *table = (uint32_t *)(world_ram + 0x6000);
    START(4, LOAD);
    world.state->efer = 0;
    world.state->cr4 = 0x10;
    world.state->cr3 = 0x5000;
    memset(directory, 0, 0x2000);
    directory[1] = 0x6000 | 7;
    table[2] = 0x13000 | 5;
    EXPECT(execute_translate(&world, 0x402123, VCPU_ACCESS_READ, &gpa, &event), true);
    EXPECT(gpa, 0x13123);
    EXPECT(directory[1], 0x6027);
    EXPECT(table[2], 0x13025);
    EXPECT(execute_translate(&world, 0x402123, VCPU_ACCESS_WRITE, &gpa, &event), false);
    EXPECT(event, PAGE_FAULT(3));
    directory[3] = 0x00c00083 | 0x5 << 13;
    EXPECT(execute_translate(&world, 0xc12345, VCPU_ACCESS_WRITE, &gpa, &event), true);
    EXPECT(gpa, 0x500c12345);
    directory[3] = 0x00c00083 | 1 << 21;
    EXPECT(execute_translate(&world, 0xc12345, VCPU_ACCESS_READ, &gpa, &event), false);
    EXPECT(event, PAGE_FAULT(9));
    world.state->cr4 = 0; /* without PSE the bit means nothing: a table */
    directory[3] = 0x6083;
    EXPECT(execute_translate(&world, 0xc02123, VCPU_ACCESS_READ, &gpa, &event), true);
    EXPECT(gpa, 0x13123);
}

TEST(walk_pae, "PAE: four pointers without rights, then two levels")
{
    uint64_t gpa, event;
    START(4, LOAD);
    world.state->efer = 0x800;
    world.state->cr3 = 0x5020;
    memset(world_ram + 0x5000, 0, 0x3000);
    set_entry(0x5020, 1, 0x6001);
    set_entry(0x6000, 0x80, 0x7007);
    set_entry(0x7000, 0x10, 0x12003);
    EXPECT(execute_translate(&world, WINDOW_LINEAR + 9, VCPU_ACCESS_WRITE, &gpa, &event), true);
    EXPECT(gpa, 0x12009);
    EXPECT(entry(0x5020, 1), 0x6001);
    set_entry(0x5020, 1, 0x6021); /* as QEMU 7.2 leaves it */
    EXPECT(execute_translate(&world, WINDOW_LINEAR + 9, VCPU_ACCESS_WRITE, &gpa, &event), true);
    EXPECT(entry(0x7000, 0x10), 0x12063);
    set_entry(0x5020, 1, 0x6007);
    EXPECT(execute_translate(&world, WINDOW_LINEAR + 9, VCPU_ACCESS_READ, &gpa, &event), false);
    EXPECT(event, PAGE_FAULT(9));
    set_entry(0x5020, 1, 0x6001);
    set_entry(0x7000, 0x10, 0x12003 | 1ull << 52);
    EXPECT(execute_translate(&world, WINDOW_LINEAR + 9, VCPU_ACCESS_READ, &gpa, &event), false);
    EXPECT(event, PAGE_FAULT(9));
}

TEST(walk_off, "without paging a linear address is a physical one, of 32 bits")
{
    uint64_t gpa, event;
    START(4, LOAD);
    world.state->cr0 = 0x11;
    EXPECT(execute_translate(&world, 0x12345, VCPU_ACCESS_WRITE, &gpa, &event), true);
    EXPECT(gpa, 0x12345);
}

TEST(walk_outside, "tables outside RAM are nowhere, not a crash")
{
    START(8, LOAD);
    world.state->cr3 = 0xfffffff000;
    EXPECT(world_execute(), EXECUTE_NOWHERE);
    CHECK(world_what != NULL);
    START(8, LOAD);
    world.state->gpr[7] = WINDOW_LINEAR;
    set_entry(WORLD_PT, 0x10, 0xff000000 | 7);
    EXPECT(world_execute(), EXECUTE_NOWHERE);
}

TEST(crossing_faults, "an access over two pages faults on the second, and changes nothing")
{
    START(8, STORE);
    world.state->gpr[7] = WINDOW_LINEAR + 4094;
    set_entry(WORLD_PT, 0x11, 0);
    expect_fault(PAGE_FAULT(6));
    EXPECT(world.state->cr2, WINDOW_LINEAR + 4096);
    CHECK(world_window_equals(window));
}

TEST(fetch_two_pages,
     "an instruction over two pages is fetched from both, and the second can fault")
{
    static const char bytes[] = "\xc7\x07\x78\x56\x34\x12"; /* mov dword [rdi], imm32 */
    START(8, LOAD);
    set_entry(WORLD_PT, 1, 0x21000 | 5);
    memcpy(world_ram + 0x20000 + 4093, bytes, 6);
    world.state->rip = CODE_LINEAR + 4093;
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rip, CODE_LINEAR + 4099);
    EXPECT(world_ram[0x12000], 0x78);
    world.state->rip = CODE_LINEAR + 4093;
    set_entry(WORLD_PT, 1, 0);
    expect_fault(PAGE_FAULT(0x14));
    EXPECT(world.state->cr2, CODE_LINEAR + 4096);
    memcpy(world_ram + 0x20000 + 4094, LOAD, 2); /* the second page is not looked at in vain */
    world.state->rip = CODE_LINEAR + 4094;
    EXPECT(world_execute(), EXECUTE_DONE);
}
