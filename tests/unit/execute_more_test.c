/*
 * Strings that go in runs, division's faults, loads of segment registers, and the registers of MMX and SSE: each
 * expectation is a sentence of the manual or of execute.h.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

/* ---- Runs of strings ------------------------------------------------------------------------- */

static unsigned calls, most; /* of the string callbacks: how many, the longest */
static uint8_t port_bytes[16384];
static unsigned port_at, port_takes; /* at most so many elements a call */

static unsigned strings_count(unsigned count)
{
    calls++;
    most = count > most ? count : most;
    return count < port_takes ? count : port_takes;
}

static unsigned read_string(struct execute_world *w, uint16_t port, unsigned size, void *data,
                            unsigned count)
{
    (void)w;
    EXPECT(port, 0x1f0);
    count = strings_count(count);
    memcpy(data, port_bytes + port_at, (size_t)count * size);
    port_at += count * size;
    return count;
}

static unsigned write_string(struct execute_world *w, uint16_t port, unsigned size,
                             const void *data, unsigned count)
{
    (void)w;
    EXPECT(port, 0x1f0);
    count = strings_count(count);
    memcpy(port_bytes + port_at, data, (size_t)count * size);
    port_at += count * size;
    return count;
}

static void start_port(const char *bytes, unsigned count, unsigned takes)
{
    start(8, bytes, strlen(bytes));
    for (unsigned i = 0; i < sizeof port_bytes; i++)
        port_bytes[i] = (uint8_t)(i * 13 + i / 256);
    world.port_read_string = read_string;
    world.port_write_string = write_string;
    world.state->gpr[1] = count;
    world.state->gpr[2] = 0x1f0;
    world.state->gpr[6] = world.state->gpr[7] = WINDOW_LINEAR;
    calls = most = port_at = 0;
    port_takes = takes;
    world_port_limit = 2; /* the first word of a page may come by port_read */
    memcpy(world_port_data, "\x11\x22", 2);
}

TEST(runs_of_port_input, "REP INSW brings a sector in two calls of the device")
{
    start_port("\xf3\x66\x6d", 256, 1000);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(calls, 1);
    EXPECT(most, 255);
    EXPECT(world.state->gpr[1], 0);
    EXPECT(world.state->gpr[7], WINDOW_LINEAR + 512);
    EXPECT(memcmp(world_ram + world_window_gpa(2), port_bytes, 510), 0);
    EXPECT(world_ram[world_window_gpa(1)], 0x22);
}

TEST(runs_stop_where_the_device_does, "what a device has not done comes again")
{
    start_port("\xf3\x66\x6d", 256, 100);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(calls, 3);
    EXPECT(world.state->gpr[1], 0);
    EXPECT(memcmp(world_ram + world_window_gpa(2), port_bytes, 510), 0);
    start_port("\xf3\x66\x6d", 256, 0);
    EXPECT(world_execute(), EXECUTE_NOWHERE);
}

TEST(runs_of_port_output, "REP OUTSB gives runs of a page at most")
{
    start_port("\xf3\x6e", 1000, 1000);
    world.state->gpr[6] += 4000;
    world_port_limit = 64;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(most <= 512, true);
    EXPECT(calls < 6, true);
    EXPECT(port_bytes[0], window[4001]);
    EXPECT(port_at, 998);
    EXPECT(port_bytes[997], window[4999]);
}

TEST(runs_respect_limits, "a run ends at the segment's limit, and the element there faults")
{
    START(4, "\xf3\xaa"); /* rep stosb */
    world.state->segment[VCPU_ES].base = WINDOW_LINEAR;
    world.state->segment[VCPU_ES].limit = 99;
    world.state->gpr[0] = 0x5a;
    world.state->gpr[1] = 200;
    world.state->gpr[7] = 40;
    EXPECT(world_execute(), EXECUTE_FAULT);
    EXPECT(world_event, PROTECTION);
    EXPECT(world.state->gpr[7], 100);
    EXPECT(world.state->gpr[1], 140);
    EXPECT(world_ram[world_window_gpa(99)], 0x5a);
    EXPECT(world_ram[world_window_gpa(100)], window[100]);
}

TEST(runs_overlap, "REP MOVSB upwards over itself repeats the first bytes, as a processor does")
{
    START(8, "\xf3\xa4");
    world.state->gpr[1] = 300;
    world.state->gpr[6] = WINDOW_LINEAR;
    world.state->gpr[7] = WINDOW_LINEAR + 3;
    EXPECT(world_execute(), EXECUTE_DONE);
    for (unsigned i = 0; i < 303; i++)
        EXPECT(world_ram[world_window_gpa(i)], window[i % 3]);
}

/* ---- Division -------------------------------------------------------------------------------- */

TEST(divide_errors,
     "a divisor of 0 and a quotient that is too large raise #DE, and nothing changes")
{
    START(8, "\xf7\x37"); /* div dword [rdi] */
    world.state->gpr[7] = WINDOW_LINEAR;
    memset(world_ram + world_window_gpa(0), 0, 4);
    expect_fault(VCPU_EVENT(0, VCPU_EVENT_EXCEPTION));
    world_ram[world_window_gpa(0)] = 5;
    world.state->gpr[2] = 5;
    expect_fault(VCPU_EVENT(0, VCPU_EVENT_EXCEPTION));
    world.state->gpr[2] = 4;
    world.state->gpr[0] = 7;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], ((4ull << 32) + 7) / 5);
    EXPECT(world.state->gpr[2], ((4ull << 32) + 7) % 5);
    START(8, "\x48\xf7\x3f"); /* idiv qword [rdi] */
    world.state->gpr[7] = WINDOW_LINEAR;
    memset(world_ram + world_window_gpa(0), 0xff, 8);
    world.state->gpr[0] = 1ull << 63; /* -2^63 by -1 */
    world.state->gpr[2] = ~0ull;
    expect_fault(VCPU_EVENT(0, VCPU_EVENT_EXCEPTION));
    world.state->gpr[0]++;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], (1ull << 63) - 1);
}

/* ---- Segments -------------------------------------------------------------------------------- */

#define NOT_PRESENT(selector) \
    (VCPU_EVENT(11, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | (uint64_t)(selector) << 32)

/* mov es, [edi], with a table of descriptors in the window. */
static void start_segment(uint64_t descriptor, uint16_t selector)
{
    START(4, "\x8e\x07");
    world.state->gdtr.base = WINDOW_LINEAR + 64;
    world.state->gdtr.limit = 0x1f;
    world.state->gpr[7] = WINDOW_LINEAR;
    memcpy(world_ram + world_window_gpa(0), &selector, 2);
    memcpy(world_ram + world_window_gpa(64 + 0x18), &descriptor, 8);
}

TEST(segment_loads, "a descriptor is checked, marked as accessed and taken")
{
    start_segment(0x12cff2345678abcd, 0x1b);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_ES].selector, 0x1b);
    EXPECT(world.state->segment[VCPU_ES].base, 0x12345678);
    EXPECT(world.state->segment[VCPU_ES].limit, 0xfabcdfff);
    EXPECT(world.state->segment[VCPU_ES].attributes, 0xc0f3);
    EXPECT(world_ram[world_window_gpa(64 + 0x18 + 5)], 0xf3);
    EXPECT(world_changed & VCPU_GROUP_SEGMENTS, VCPU_GROUP_SEGMENTS);
    start_segment(0x12cf722345678abc, 0x1b); /* not present */
    expect_fault(NOT_PRESENT(0x18));
    start_segment(0x12cf922345678abc, 0x1b); /* the kernel's */
    expect_fault(PROTECTION | 0x18ull << 32);
    start_segment(0x12cff2345678abcd, 0x23); /* behind the table's end, where a good one stands */
    memcpy(world_ram + world_window_gpa(64 + 0x20), world_ram + world_window_gpa(64 + 0x18), 8);
    expect_fault(PROTECTION | 0x20ull << 32);
    start_segment(0, 3);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT((world.state->segment[VCPU_ES].attributes & VCPU_SEGMENT_UNUSABLE) != 0, true);
}

TEST(segment_loads_real_mode, "LES in real mode: base sixteen times the number, the limit stays")
{
    START(2, "\xc4\x3f"); /* les di, [bx] */
    world.state->cr0 &= ~1ull;
    world.state->gpr[3] = 16;
    memcpy(world_ram + world_window_gpa(16), "\x34\x12\xcd\xab", 4);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[7] & 0xffff, 0x1234);
    EXPECT(world.state->segment[VCPU_ES].selector, 0xabcd);
    EXPECT(world.state->segment[VCPU_ES].base, 0xabcd0);
    EXPECT(world.state->segment[VCPU_ES].limit, 0xffff);
}

/* ---- Vectors --------------------------------------------------------------------------------- */

static unsigned taken, given;

static bool vectors(struct execute_world *w, bool back)
{
    (void)w;
    back ? given++ : taken++;
    return true;
}

static void start_vector(const char *bytes, size_t count)
{
    start(8, bytes, count);
    world.vectors = vectors;
    world.state->cr4 |= 1 << 9; /* OSFXSR */
    world.state->gpr[7] = WINDOW_LINEAR + 32;
    for (unsigned i = 0; i < sizeof world.state->fpu; i++)
        world.state->fpu[i] = (uint8_t)(i * 3);
    world.state->fpu[512] = 3;
    taken = given = 0;
}
#define START_VECTOR(bytes) start_vector(bytes, sizeof bytes - 1)

TEST(vector_moves, "MOVUPS, MOVDQA and MOVQ in both directions")
{
    uint8_t *image;
    START_VECTOR("\x66\x44\x0f\x7f\x0f"); /* movdqa [rdi], xmm9 */
    image = world.state->fpu;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(world_ram + world_window_gpa(32), image + 160 + 9 * 16, 16), 0);
    EXPECT(given, 0);
    START_VECTOR("\x0f\x10\x17"); /* movups xmm2, [rdi] */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 160 + 32, window + 32, 16), 0);
    EXPECT(taken + given, 2);
    START_VECTOR("\xf3\x0f\x7e\x17"); /* movq xmm2, [rdi]: the rest becomes 0 */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 160 + 32, window + 32, 8), 0);
    EXPECT(memcmp(image + 160 + 40, "\0\0\0\0\0\0\0\0", 8), 0);
    START_VECTOR("\x66\x0f\x6f\x07");
    world.state->gpr[7]++; /* not aligned */
    expect_fault(PROTECTION);
}

TEST(vector_refusals, "CR0.EM, CR0.TS and CR4.OSFXSR forbid, in this order")
{
    START_VECTOR("\x0f\x10\x17");
    world.state->cr0 |= 8;
    expect_fault(VCPU_EVENT(7, VCPU_EVENT_EXCEPTION));
    world.state->cr0 |= 4;
    expect_fault(UNDEFINED);
    START_VECTOR("\x0f\x10\x17");
    world.state->cr4 &= ~(1ull << 9);
    expect_fault(UNDEFINED);
    EXPECT(taken, 0);
}

TEST(vector_mmx, "MOVQ of an MMX register makes all valid and the first the top of the stack")
{
    START_VECTOR("\x0f\x6f\x1f"); /* movq mm3, [rdi] */
    uint8_t *image = world.state->fpu, fifth[8];
    image[3] = 6 << 3; /* top 6: ST(7) is the register 5 */
    memcpy(fifth, image + 32 + 7 * 16, 8);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 32 + 3 * 16, window + 32, 8), 0);
    EXPECT(image[32 + 3 * 16 + 8], 0xff);
    EXPECT(memcmp(image + 32 + 5 * 16, fifth, 8), 0);
    EXPECT(image[3] & 0x38, 0);
    EXPECT(image[4], 0xff);
    EXPECT(given, 1);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

TEST(frames, "ENTER makes a frame with room, LEAVE takes it away")
{
    START(8, "\xc8\x20\x00\x00");
    world.state->gpr[4] = WINDOW_LINEAR + 256;
    world.state->gpr[5] = 0x1122334455667788;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[5], WINDOW_LINEAR + 248);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + 248 - 32);
    memcpy(world_ram + 0x20000 + AT, "\xc9", 1);
    world.state->rip = CODE_LINEAR + AT;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[5], 0x1122334455667788);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + 256);
}
