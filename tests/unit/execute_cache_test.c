/*
 * Walks and instructions that the executor remembers: used only while all that they came from is as it was.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

#define OTHER_CODE_GPA 0x30000u
#define CODE_GPA       0x20000u

static void *(*plain_ram_at)(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                             bool write);
static unsigned looks; /* at RAM: for the bytes alone when the walk is remembered */
static unsigned needs;

static void *counting_ram_at(struct execute_world *w, uint64_t gpa, unsigned size_bytes, bool write)
{
    looks++;
    return plain_ram_at(w, gpa, size_bytes, write);
}

static void counting_need(const struct execute_world *w, uint32_t groups)
{
    (void)w, (void)groups;
    needs++;
}

/* The instruction once more, at the same place, as the exit for an access to the window's first page. */
static enum execute_result again(void)
{
    looks = 0;
    world.state->rip = CODE_LINEAR + AT;
    world.state->gpr[0] = 0;
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    world.fault_gpa = world_window_gpa(8);
    return world_execute();
}

static void begin(void)
{
    START(8, LOAD);
    plain_ram_at = world.ram_at;
    world.ram_at = counting_ram_at;
    world.need = counting_need;
    world.fault_access = VCPU_ACCESS_READ;
    needs = 0;
    EXPECT(again(), EXECUTE_DONE);
    EXPECT(looks > 1, true);
    EXPECT(again(), EXECUTE_DONE); /* the first walk has marked its entries as accessed */
}

static void expect_remembered(bool remembered)
{
    EXPECT(again(), EXECUTE_DONE);
    EXPECT(looks == 1, remembered);
}

/* What is remembered is made to load EBX instead: where the result is shows whether it was used. */
static void mark_decoded(void)
{
    for (unsigned i = 0; i < EXECUTE_DECODED; i++)
        world.decoded[i].in.reg = 3;
}

TEST(cache_hit, "a remembered instruction does what it did; RAM is looked at for its bytes alone")
{
    uint32_t expected;
    begin();
    memcpy(&expected, window + 8, sizeof expected);
    expect_remembered(true);
    EXPECT(world.state->gpr[0], expected);
    EXPECT(world.state->rip, CODE_LINEAR + AT + 2);
    EXPECT(needs, 0);
    mark_decoded();
    expect_remembered(true);
    EXPECT(world.state->gpr[0], 0);
    EXPECT(world.state->gpr[3], expected);
}

TEST(cache_bytes,
     "bytes that have changed are decoded anew, any of those that an instruction may have")
{
    for (unsigned i = 2; i < INSTRUCTION_BYTES_MAX; i++) {
        begin();
        mark_decoded();
        world_ram[CODE_GPA + AT + i] ^= 1;
        expect_remembered(true);
        EXPECT(world.state->gpr[0] != 0, true);
    }
    begin();
    memcpy(world_ram + CODE_GPA + AT, "\x8a\x07", 2); /* mov al, [rdi] */
    expect_remembered(true);
    EXPECT(world.state->gpr[0], window[8]);
}

TEST(cache_tables, "an entry that has changed, at any level, sends the walk its way")
{
    static const struct {
        unsigned table, index;
    } levels[] = {{WORLD_PML4, 0}, {WORLD_PDPT, 1}, {WORLD_PD, 0x80}, {WORLD_PT, 0}};
    for (unsigned i = 0; i < 4; i++) {
        begin();
        set_entry(levels[i].table, levels[i].index,
                  entry(levels[i].table, levels[i].index) | 1ull << 9);
        expect_remembered(false); /* a bit that is software's */
        expect_remembered(true);
        set_entry(levels[i].table, levels[i].index, 0);
        expect_fault(PAGE_FAULT(0x14));
        EXPECT(needs > 0, true); /* CR2 goes into the page */
    }
    begin();
    memcpy(world_ram + OTHER_CODE_GPA, world_ram + CODE_GPA, 4096);
    memcpy(world_ram + OTHER_CODE_GPA + AT, "\x8a\x07", 2);
    set_entry(WORLD_PT, 0, OTHER_CODE_GPA | 0x25);
    expect_remembered(false);
    EXPECT(world.state->gpr[0], window[8]);
}

TEST(cache_mode, "another mode, address space or privilege is another instruction")
{
    begin();
    world.state->cr4 |= 1 << 16; /* FSGSBASE: of no meaning for the walk */
    expect_remembered(false);
    expect_remembered(true);
    world.state->cr0 ^= 1 << 1;
    expect_remembered(false);
    world.state->efer ^= 1 << 0;
    expect_remembered(false);
    memcpy(world_ram + 0x5000, world_ram + WORLD_PML4, 4096);
    world.state->cr3 = 0x5000;
    expect_remembered(false);
    kernel_mode();
    expect_remembered(false);
    world.state->cr4 |= 1 << 20; /* SMEP: the code is a user's page */
    EXPECT(again(), EXECUTE_FAULT);
}

TEST(cache_need,
     "segments with a base of their own, and code that is not 64-bit, ask for the whole state")
{
    START(8, "\x65\x8b\x07"); /* mov eax, gs:[rdi] */
    world.need = counting_need;
    needs = 0;
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(needs, 1);
    START(4, LOAD);
    world.need = counting_need;
    world.state->gpr[7] = WINDOW_LINEAR;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(needs, 2);
}

TEST(cache_marks_again, "a page whose accessed bit the guest clears is marked at its next access")
{
    begin();
    for (unsigned i = 0; i < 3; i++) {
        set_entry(WORLD_PT, 0, entry(WORLD_PT, 0) & ~0x20ull); /* the code's page */
        EXPECT(again(), EXECUTE_DONE);
        EXPECT(entry(WORLD_PT, 0) & 0x20, 0x20);
    }
}

TEST(cache_code_size,
     "the same bytes at the same place are another instruction in code of another size")
{
    START(2, "\x8b\x07"); /* mov ax, [bx] */
    world.state->gpr[3] = 16;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], window[16] | window[17] << 8);
    world.state->segment[VCPU_CS].attributes |= 1u << 14; /* mov eax, [edi] */
    world.state->rip = AT;
    world.state->gpr[7] = 32;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0],
           window[32] | window[33] << 8 | window[34] << 16 | (uint32_t)window[35] << 24);
}

/* ---- The same access again ------------------------------------------------------------------- */

static unsigned device_reads, device_writes;
static uint32_t memory_changed;

static bool device_read(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t *value)
{
    device_reads++;
    return world.memory_read(w, gpa, size, value);
}

static bool device_write(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t value)
{
    device_writes++;
    return world.memory_write(w, gpa, size, value);
}

static uint32_t memory_changes(struct execute_world *w)
{
    (void)w;
    return memory_changed;
}

static bool once_more(uint64_t value)
{
    uint32_t changed = 0;
    world.state->rip = CODE_LINEAR + AT;
    world.state->gpr[0] = value;
    world.state->gpr[7] = WINDOW_LINEAR + 8;
    world.fault_gpa = world_window_gpa(8);
    return execute_again(&world, &changed);
}

static void begin_again(const char *bytes, unsigned access)
{
    start(8, bytes, strlen(bytes));
    world_ram_is_device = true;
    world.device_read = device_read;
    world.device_write = device_write;
    world.memory_changes = memory_changes;
    world.fault_access = access;
    device_reads = device_writes = 0;
    EXPECT(once_more(0), false); /* the first time it is not known */
    EXPECT(world_execute(), EXECUTE_DONE);
}

TEST(again_reads, "a MOV from a device is done at once the second time, in all its width")
{
    begin_again(LOAD, VCPU_ACCESS_READ);
    EXPECT(once_more(~0ull), true);
    EXPECT(device_reads, 1);
    EXPECT(world.state->gpr[0],
           window[8] | window[9] << 8 | window[10] << 16 | (uint32_t)window[11] << 24);
    EXPECT(world.state->rip, CODE_LINEAR + AT + 2);
    begin_again("\x66\x8b\x07", VCPU_ACCESS_READ);
    EXPECT(once_more(~0ull), true);
    EXPECT(world.state->gpr[0], (~0ull << 16 | window[8] | window[9] << 8));
    begin_again("\x8a\x27", VCPU_ACCESS_READ); /* mov ah, [rdi] goes the long way */
    EXPECT(once_more(0), false);
}

TEST(again_writes, "and one to a device, of a register or a constant")
{
    begin_again(STORE, VCPU_ACCESS_READ | VCPU_ACCESS_WRITE);
    EXPECT(once_more(0x1122334455667788), true);
    EXPECT(device_writes, 1);
    EXPECT(memcmp(world_ram + world_window_gpa(8), "\x88\x77\x66\x55", 4), 0);
    EXPECT(world_ram[world_window_gpa(12)], window[12]);
    begin_again("\xc6\x07\x5a", VCPU_ACCESS_READ | VCPU_ACCESS_WRITE);
    EXPECT(once_more(1), true);
    EXPECT(world_ram[world_window_gpa(8)], 0x5a);
}

static bool at_second_page(uint64_t address)
{
    uint32_t changed = 0;
    world.state->rip = CODE_LINEAR + AT;
    world.state->gpr[7] = address;
    world.fault_gpa = world_window_gpa(4096);
    return execute_again(&world, &changed);
}

TEST(again_begins, "what faults where a page begins is done at once only if it begins there itself")
{
    begin_again(LOAD, VCPU_ACCESS_READ);
    EXPECT(at_second_page(WINDOW_LINEAR + 4094), false);
    EXPECT(device_reads, 0);
    EXPECT(at_second_page(WINDOW_LINEAR + 4096), true);
    EXPECT(device_reads, 1);
    begin_again("\x64\x8b\x07", VCPU_ACCESS_READ); /* mov eax, fs:[rdi] */
    world.state->segment[VCPU_FS].base = 2;
    EXPECT(at_second_page(WINDOW_LINEAR + 4096), false);
    begin_again("\x8b\x44\xb7\x04", VCPU_ACCESS_READ); /* mov eax, [rdi + rsi * 4 + 4] */
    world.state->gpr[6] = 3;
    EXPECT(at_second_page(WINDOW_LINEAR + 4096 - 16), true);
    EXPECT(at_second_page(WINDOW_LINEAR + 4096 - 17), false);
}

TEST(again_not, "it is not done at once if code, tables, memory or mode are not what they were")
{
    begin_again(LOAD, VCPU_ACCESS_READ);
    world_ram[0x20000 + AT + 1] = 0x0f;
    EXPECT(once_more(0), false);
    begin_again(LOAD, VCPU_ACCESS_READ);
    set_entry(WORLD_PT, 0, entry(WORLD_PT, 0) ^ 0x1000);
    EXPECT(once_more(0), false);
    begin_again(LOAD, VCPU_ACCESS_READ);
    memory_changed++;
    EXPECT(once_more(0), false);
    begin_again(LOAD, VCPU_ACCESS_READ);
    world.state->segment[VCPU_CS].attributes &= ~(1u << 13);
    EXPECT(once_more(0), false);
    begin_again(LOAD, VCPU_ACCESS_READ);
    world.fault_access = VCPU_ACCESS_WRITE;
    EXPECT(once_more(0), false);
    EXPECT(device_reads + device_writes, 0);
}
