/*
 * Moves of AVX, and those of SSE3 and SSE4, against the processor of the host, and what they fault on.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_vectors.h"

#define NO_DEVICE VCPU_EVENT(7, VCPU_EVENT_EXCEPTION)
#define UPPER     1152u /* where the tests have the upper halves of ZMM0 to ZMM15 */

/* Name, prefix, opcode, W, length, another source, immediates, alignment, feature. */
#define EITHER 48
static const struct vector_form plain[] = {
    {"vmovups load", 0, 0x0f10, -1, EITHER, false, 0, 0, 0},
    {"vmovups store", 0, 0x0f11, -1, EITHER, false, 0, 0, 0},
    {"vmovupd load", 0x66, 0x0f10, -1, EITHER, false, 0, 0, 0},
    {"vmovupd store", 0x66, 0x0f11, -1, EITHER, false, 0, 0, 0},
    {"vmovss load", 0xf3, 0x0f10, -1, EITHER, false, 0, 0, 0},
    {"vmovss store", 0xf3, 0x0f11, -1, EITHER, false, 0, 0, 0},
    {"vmovsd load", 0xf2, 0x0f10, -1, EITHER, false, 0, 0, 0},
    {"vmovsd store", 0xf2, 0x0f11, -1, EITHER, false, 0, 0, 0},
    {"vmovaps load", 0, 0x0f28, -1, EITHER, false, 0, 32, 0},
    {"vmovaps store", 0, 0x0f29, -1, EITHER, false, 0, 32, 0},
    {"vmovapd load", 0x66, 0x0f28, -1, EITHER, false, 0, 32, 0},
    {"vmovapd store", 0x66, 0x0f29, -1, EITHER, false, 0, 32, 0},
    {"vmovdqa load", 0x66, 0x0f6f, -1, EITHER, false, 0, 32, 0},
    {"vmovdqa store", 0x66, 0x0f7f, -1, EITHER, false, 0, 32, 0},
    {"vmovdqu load", 0xf3, 0x0f6f, -1, EITHER, false, 0, 0, 0},
    {"vmovdqu store", 0xf3, 0x0f7f, -1, EITHER, false, 0, 0, 0},
    {"vlddqu", 0xf2, 0x0ff0, -1, EITHER, false, 0, 0, 0},
    {"vmovntps", 0, 0x0f2b, -1, EITHER, false, 0, 32, 0},
    {"vmovntpd", 0x66, 0x0f2b, -1, EITHER, false, 0, 32, 0},
    {"vmovntdq", 0x66, 0x0fe7, -1, EITHER, false, 0, 32, 0},
    {"vmovntdqa xmm", 0x66, 0x0f382a, -1, 16, false, 0, 16, 0},
    {"vmovntdqa ymm", 0x66, 0x0f382a, -1, 32, false, 0, 32, EXECUTE_AVX2},
};

static const struct vector_form parts[] = {
    {"vmovd load", 0x66, 0x0f6e, 0, 16, false, 0, 0, 0},
    {"vmovq load", 0x66, 0x0f6e, 1, 16, false, 0, 0, 0},
    {"vmovd store", 0x66, 0x0f7e, 0, 16, false, 0, 0, 0},
    {"vmovq store", 0x66, 0x0f7e, 1, 16, false, 0, 0, 0},
    {"vmovq load", 0xf3, 0x0f7e, -1, 16, false, 0, 0, 0},
    {"vmovq store", 0x66, 0x0fd6, -1, 16, false, 0, 0, 0},
    {"vmovlps load", 0, 0x0f12, -1, 16, true, 0, 0, 0},
    {"vmovlps store", 0, 0x0f13, -1, 16, false, 0, 0, 0},
    {"vmovlpd load", 0x66, 0x0f12, -1, 16, true, 0, 0, 0},
    {"vmovlpd store", 0x66, 0x0f13, -1, 16, false, 0, 0, 0},
    {"vmovhps load", 0, 0x0f16, -1, 16, true, 0, 0, 0},
    {"vmovhps store", 0, 0x0f17, -1, 16, false, 0, 0, 0},
    {"vmovhpd load", 0x66, 0x0f16, -1, 16, true, 0, 0, 0},
    {"vmovhpd store", 0x66, 0x0f17, -1, 16, false, 0, 0, 0},
    {"vpinsrb", 0x66, 0x0f3a20, -1, 16, true, 256, 0, 0},
    {"vpinsrw", 0x66, 0x0fc4, -1, 16, true, 256, 0, 0},
    {"vpinsrd", 0x66, 0x0f3a22, 0, 16, true, 256, 0, 0},
    {"vpinsrq", 0x66, 0x0f3a22, 1, 16, true, 256, 0, 0},
    {"vpextrb", 0x66, 0x0f3a14, -1, 16, false, 256, 0, 0},
    {"vpextrw", 0x66, 0x0f3a15, -1, 16, false, 256, 0, 0},
    {"vpextrd", 0x66, 0x0f3a16, 0, 16, false, 256, 0, 0},
    {"vpextrq", 0x66, 0x0f3a16, 1, 16, false, 256, 0, 0},
    {"vextractps", 0x66, 0x0f3a17, -1, 16, false, 256, 0, 0},
    {"vinsertf128", 0x66, 0x0f3a18, 0, 32, true, 256, 0, 0},
    {"vextractf128", 0x66, 0x0f3a19, 0, 32, false, 256, 0, 0},
    {"vinserti128", 0x66, 0x0f3a38, 0, 32, true, 256, 0, EXECUTE_AVX2},
    {"vextracti128", 0x66, 0x0f3a39, 0, 32, false, 256, 0, EXECUTE_AVX2},
};

static const struct vector_form spread[] = {
    {"vmovddup", 0xf2, 0x0f12, -1, EITHER, false, 0, 0, 0},
    {"vmovsldup", 0xf3, 0x0f12, -1, EITHER, false, 0, 0, 0},
    {"vmovshdup", 0xf3, 0x0f16, -1, EITHER, false, 0, 0, 0},
    {"vbroadcastss", 0x66, 0x0f3818, 0, EITHER, false, 0, 0, 0},
    {"vbroadcastsd", 0x66, 0x0f3819, 0, 32, false, 0, 0, 0},
    {"vbroadcastf128", 0x66, 0x0f381a, 0, 32, false, 0, 0, 0},
    {"vbroadcasti128", 0x66, 0x0f385a, 0, 32, false, 0, 0, EXECUTE_AVX2},
    {"vpbroadcastb", 0x66, 0x0f3878, 0, EITHER, false, 0, 0, EXECUTE_AVX2},
    {"vpbroadcastw", 0x66, 0x0f3879, 0, EITHER, false, 0, 0, EXECUTE_AVX2},
    {"vpbroadcastd", 0x66, 0x0f3858, 0, EITHER, false, 0, 0, EXECUTE_AVX2},
    {"vpbroadcastq", 0x66, 0x0f3859, 0, EITHER, false, 0, 0, EXECUTE_AVX2},
};

static const struct vector_form masked[] = {
    {"vmaskmovps load", 0x66, 0x0f382c, 0, EITHER, true, 0, 0, 0},
    {"vmaskmovpd load", 0x66, 0x0f382d, 0, EITHER, true, 0, 0, 0},
    {"vmaskmovps store", 0x66, 0x0f382e, 0, EITHER, true, 0, 0, 0},
    {"vmaskmovpd store", 0x66, 0x0f382f, 0, EITHER, true, 0, 0, 0},
    {"vpmaskmovd load", 0x66, 0x0f388c, 0, EITHER, true, 0, 0, EXECUTE_AVX2},
    {"vpmaskmovq load", 0x66, 0x0f388c, 1, EITHER, true, 0, 0, EXECUTE_AVX2},
    {"vpmaskmovd store", 0x66, 0x0f388e, 0, EITHER, true, 0, 0, EXECUTE_AVX2},
    {"vpmaskmovq store", 0x66, 0x0f388e, 1, EITHER, true, 0, 0, EXECUTE_AVX2},
};

static const struct vector_form legacy[] = {
    {"lddqu", 0xf2, 0x0ff0, 0, 0, false, 0, 0, EXECUTE_SSE3},
    {"movddup", 0xf2, 0x0f12, 0, 0, false, 0, 0, EXECUTE_SSE3},
    {"movsldup", 0xf3, 0x0f12, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"movshdup", 0xf3, 0x0f16, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"movntdqa", 0x66, 0x0f382a, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pinsrb", 0x66, 0x0f3a20, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"pinsrw", 0x66, 0x0fc4, 0, 0, false, 256, 0, 0},
    {"pinsrd", 0x66, 0x0f3a22, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"pinsrq", 0x66, 0x0f3a22, 1, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"pextrb", 0x66, 0x0f3a14, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"pextrw", 0x66, 0x0f3a15, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"pextrd", 0x66, 0x0f3a16, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"pextrq", 0x66, 0x0f3a16, 1, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"extractps", 0x66, 0x0f3a17, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
};

TEST(avx_moves, "whole vectors, plain and aligned, by all names, as the processor moves them")
{
    COMPARE(plain);
}

TEST(avx_parts, "halves and elements, between memory and a register with another source")
{
    COMPARE(parts);
}

TEST(avx_spread, "what is repeated or doubled while it is loaded")
{
    COMPARE(spread);
}

TEST(avx_masked, "elements whose mask is off are neither read nor written")
{
    COMPARE(masked);
}

TEST(avx_legacy, "moves of SSE3 and SSE4 leave the upper halves of the registers")
{
    COMPARE(legacy);
}

/* ---- Registers -------------------------------------------------------------------------------- */

static const uint8_t zeros[32];

static bool ymm_is(unsigned number, const void *low, const void *high)
{
    return memcmp(image + IMAGE_XMM + number * 16, low, 16) == 0 &&
           memcmp(image + IMAGE_YMM + number * 16, high, 16) == 0;
}

TEST(avx_addresses, "VEX extends base, index and register; without it they are the first eight")
{
    BEGIN("\xc4\x01\x7e\x6f\x4c\x5a\x08"); /* vmovdqu ymm9, [r10 + r11 * 2 + 8] */
    world.state->gpr[10] = WINDOW_LINEAR;
    world.state->gpr[11] = 20;
    EXPECT(world_execute(), EXECUTE_DONE);
    CHECK(ymm_is(9, window + 48, window + 64));
    begin(4, "\xc4\xc1\x7e\x6f\x0f", 5); /* vmovdqu ymm1, [edi], with a B that says nothing */
    EXPECT(world_execute(), EXECUTE_DONE);
    CHECK(ymm_is(1, window + 64, window + 80));
    begin(4, "\xc4\xe1\x30\x16\x1f",
          5); /* vmovhps xmm3, xmm1, [edi], with a highest bit likewise */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + IMAGE_XMM + 48, image + IMAGE_XMM + 16, 8), 0);
    EXPECT(memcmp(image + IMAGE_XMM + 56, window + 64, 8), 0);
    begin(4, "\xc4\xe1\xf9\x7e\x07", 5); /* vmovq [edi], xmm0 is vmovd there */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(operand(), image + IMAGE_XMM, 4), 0);
    EXPECT(memcmp(operand() + 4, window + 68, 4), 0);
}

TEST(avx_zeroes, "what lies beyond the vector becomes 0, and in no other register")
{
    uint8_t before[IMAGE_BYTES];
    for (unsigned present = 0; present < 2; present++) {
        BEGIN("\xc5\xf8\x10\x17"); /* vmovups xmm2, [rdi] */
        world.upper_offset = UPPER;
        image[IMAGE_PRESENT] |= present ? PRESENT_ZMM : 0;
        memcpy(before, image, sizeof before);
        memcpy(before + IMAGE_XMM + 32, window + OPERAND, 16);
        memset(before + IMAGE_YMM + 32, 0, 16);
        memset(before + UPPER + 64, present ? 0 : before[UPPER + 64], present ? 32 : 1);
        EXPECT(world_execute(), EXECUTE_DONE);
        EXPECT(memcmp(image, before, sizeof before), 0);
        EXPECT(taken + given, 2);
    }
    BEGIN("\xf2\x0f\xf0\x17"); /* lddqu xmm2, [rdi] */
    world.upper_offset = UPPER;
    image[IMAGE_PRESENT] |= PRESENT_ZMM;
    memcpy(before, image, sizeof before);
    memcpy(before + IMAGE_XMM + 32, window + OPERAND, 16);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image, before, sizeof before), 0);
}

TEST(avx_as_after_reset, "registers that have not been used are 0, whatever the image has there")
{
    BEGIN("\xc5\xfe\x7f\x17"); /* vmovdqu [rdi], ymm2 */
    image[IMAGE_PRESENT] = 1;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(operand(), zeros, 32), 0);
    EXPECT(given, 0);
    BEGIN("\xc5\xfe\x6f\x17"); /* vmovdqu ymm2, [rdi] */
    image[IMAGE_PRESENT] = 1;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(image[IMAGE_PRESENT], 7);
    CHECK(ymm_is(2, window + OPERAND, window + OPERAND + 16));
    CHECK(ymm_is(1, zeros, zeros));
    CHECK(ymm_is(3, zeros, zeros));
}

/* ---- Faults ----------------------------------------------------------------------------------- */

TEST(avx_refusals, "CR4.OSXSAVE, XCR0 and CPUID forbid, before CR0.TS does; CR0.EM does not")
{
    for (unsigned i = 0; i < 6; i++) {
        BEGIN("\xc4\xe2\x7d\x5a\x17"); /* vbroadcasti128 ymm2, [rdi] */
        world.state->cr0 |= 8;
        switch (i) {
        case 0: world.state->cr4 &= ~(1ull << 18); break;
        case 1: world.state->xcr0 = 3; break;
        case 2: world.state->xcr0 = 5; break;
        case 3: world.features = ~EXECUTE_AVX; break;
        case 4: world.features = ~EXECUTE_AVX2; break;
        case 5: world.features = 0; break;
        }
        expect_fault(UNDEFINED);
    }
    BEGIN("\xc5\xfe\x6f\x17");
    world.features = EXECUTE_AVX;
    world.state->cr0 |= 8;
    expect_fault(NO_DEVICE);
    EXPECT(taken, 0);
    world.state->cr0 ^= 8 | 4;
    world.state->cr4 &= ~(1ull << 9);
    EXPECT(world_execute(), EXECUTE_DONE);
}

TEST(avx_real_mode, "in real and virtual-8086 mode there is no VEX")
{
    begin(2, "\xc5\xfa\x6f\x0d", 4); /* vmovdqu xmm1, [di] */
    world.state->gpr[7] = OPERAND;
    EXPECT(world_execute(), EXECUTE_DONE);
    begin(2, "\xc5\xfa\x6f\x0d", 4);
    world.state->rflags |= 1 << 17;
    expect_fault(UNDEFINED);
    world.state->rflags ^= 1 << 17;
    world.state->cr0 &= ~1ull;
    expect_fault(UNDEFINED);
}

TEST(avx_legacy_refusals, "what CPUID does not show is undefined, and so are CR0.EM and no OSFXSR")
{
    BEGIN("\xf2\x0f\xf0\x17"); /* lddqu */
    world.features = ~EXECUTE_SSE3;
    expect_fault(UNDEFINED);
    world.features = EXECUTE_SSE3;
    world.state->cr0 |= 8;
    expect_fault(NO_DEVICE);
    world.state->cr0 ^= 8 | 4;
    expect_fault(UNDEFINED);
    BEGIN("\x66\x0f\x38\x2a\x17"); /* movntdqa */
    world.features = ~EXECUTE_SSE4_1;
    expect_fault(UNDEFINED);
    world.features = EXECUTE_SSE4_1;
    world.state->xcr0 = 1;
    EXPECT(world_execute(), EXECUTE_DONE);
    world.state->cr4 &= ~(1ull << 9);
    world.state->rip = CODE_LINEAR + AT;
    expect_fault(UNDEFINED);
}

static void expect_aligned(const char *bytes, size_t count, unsigned multiple)
{
    begin(8, bytes, count);
    world.state->gpr[7] += multiple / 2;
    expect_fault(PROTECTION);
    EXPECT(given, 0);
    begin(8, bytes, count);
    world.state->gpr[7] += multiple;
    EXPECT(world_execute(), EXECUTE_DONE);
}

TEST(avx_alignment, "aligned moves fault off a multiple of their size")
{
    expect_aligned("\xc5\xfc\x28\x07", 4, 32);     /* vmovaps ymm0, [rdi] */
    expect_aligned("\xc5\xf8\x28\x07", 4, 16);     /* xmm0 */
    expect_aligned("\xc5\xfd\x7f\x07", 4, 32);     /* vmovdqa [rdi], ymm0 */
    expect_aligned("\xc5\xfd\xe7\x07", 4, 32);     /* vmovntdq */
    expect_aligned("\xc5\xfc\x2b\x07", 4, 32);     /* vmovntps */
    expect_aligned("\xc4\xe2\x7d\x2a\x07", 5, 32); /* vmovntdqa ymm0 */
    expect_aligned("\xf3\x0f\x16\x07", 4, 16);     /* movshdup xmm0 */
    expect_aligned("\x66\x0f\x38\x2a\x07", 5, 16); /* movntdqa */
    BEGIN("\xc5\xfe\x16\x07");                     /* vmovshdup ymm0 */
    world.state->gpr[7]++;
    EXPECT(world_execute(), EXECUTE_DONE);
}

TEST(avx_segments, "a vector that does not end in canonical space, or in its segment, is a fault")
{
    BEGIN("\xc5\xfe\x6f\x07");
    world.state->gpr[7] = 0x7fffffffffe1;
    expect_fault(PROTECTION);
    begin(4, "\xc5\xfe\x6f\x07", 4);
    world.state->segment[VCPU_DS].limit = WINDOW_LINEAR + OPERAND + 30;
    expect_fault(PROTECTION);
    world.state->segment[VCPU_DS].limit++;
    EXPECT(world_execute(), EXECUTE_DONE);
}

static unsigned accesses;
static bool (*plain_read)(struct execute_world *, uint64_t, unsigned, uint64_t *);

static bool counted_read(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t *value)
{
    accesses++;
    return plain_read(w, gpa, size, value);
}

TEST(avx_second_page, "where the second page faults nothing of the first is read or written")
{
    BEGIN("\xc5\xfe\x7f\x07"); /* vmovdqu [rdi], ymm0 */
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 16;
    set_entry(WORLD_PT, 0x11, entry(WORLD_PT, 0x11) & ~2ull);
    expect_fault(PAGE_FAULT(7));
    EXPECT(world.state->cr2, WINDOW_LINEAR + 4096);
    CHECK(world_window_equals(window));
    BEGIN("\xc5\xfe\x6f\x07"); /* vmovdqu ymm0, [rdi] */
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 16;
    set_entry(WORLD_PT, 0x11, 0);
    accesses = 0;
    plain_read = world.memory_read;
    world.memory_read = counted_read;
    expect_fault(PAGE_FAULT(4));
    EXPECT(accesses + given, 0);
}

TEST(avx_masked_pages,
     "an element that is not moved does not fault; if another does, none is moved")
{
    BEGIN("\xc4\xe2\x75\x2e\x17"); /* vmaskmovps [rdi], ymm1, ymm2 */
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 16;
    set_entry(WORLD_PT, 0x11, 0);
    memset(image + IMAGE_XMM + 16, 0x80, 16);
    memset(image + IMAGE_YMM + 16, 0x7f, 16);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(world_ram + world_window_gpa(4096 - 16), image + IMAGE_XMM + 32, 16), 0);
    BEGIN("\xc4\xe2\x75\x2e\x17");
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 16;
    set_entry(WORLD_PT, 0x11, 0);
    memset(image + IMAGE_XMM + 16, 0xff, 16);
    memset(image + IMAGE_YMM + 16, 0, 16);
    image[IMAGE_YMM + 31] = 0x80; /* the last */
    expect_fault(PAGE_FAULT(6));
    EXPECT(world.state->cr2, WINDOW_LINEAR + 4096 + 12);
    CHECK(memcmp(world_ram + world_window_gpa(4096 - 16), window + 4096 - 16, 16) == 0);
}

TEST(avx_wraps, "outside 64-bit code a vector goes on at address 0")
{
    begin(4, "\xc5\xfe\x6f\x07", 4);
    set_entry(WORLD_PDPT, 3, WORLD_PD | 7);
    set_entry(WORLD_PDPT, 0, WORLD_PD | 7);
    set_entry(WORLD_PD, 511, WORLD_PT | 7);
    set_entry(WORLD_PD, 0, WORLD_PT | 7);
    set_entry(WORLD_PT, 511, world_window_gpa(0) | 7);
    world.state->segment[VCPU_DS].base = 0xfffff000;
    world.state->gpr[7] = 4096 - 16;
    memcpy(world_ram + 0x20000, window + 512, 16); /* where address 0 leads */
    EXPECT(world_execute(), EXECUTE_DONE);
    CHECK(ymm_is(0, window + 4096 - 16, window + 512));
}

TEST(avx_unknown, "what is not done here is told by its name, and changes nothing")
{
    static const struct {
        const char *name, *bytes;
        size_t count;
    } forms[] = {
        {"vaddps", "\xc5\xfc\x58\x07", 4},
        {"vpgatherdd", "\xc4\xe2\x75\x90\x14\x1f", 6},
        {"vinsertps", "\xc4\xe3\x79\x21\x07\x00", 6},
        {"vpermilps", "\xc4\xe3\x7d\x04\x07\x00", 6},
        {"andn", "\xc4\xe2\x78\xf2\x07", 5},
        {"vldmxcsr", "\xc5\xf8\xae\x17", 4},
    };
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
        begin(8, forms[i].bytes, forms[i].count);
        EXPECT(world_execute(), EXECUTE_UNKNOWN);
        if (strcmp(world_what, forms[i].name) != 0)
            printf("# %s, not %s\n", world_what, forms[i].name);
        CHECK(strcmp(world_what, forms[i].name) == 0);
        EXPECT(taken, 0);
    }
    BEGIN("\xc5\xfc\x12\x07"); /* vmovlps of 256 bits */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    BEGIN("\xc5\xfe\x6f\xc1"); /* vmovdqu ymm0, ymm1 */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
}
