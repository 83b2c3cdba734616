/*
 * What computes with an operand in memory, of SSE3, SSSE3 and SSE4, against the processor of the host.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_vectors.h"

/* Name, prefix, opcode, W, no VEX, no other source, immediates, alignment, feature. */
static const struct vector_form sse3[] = {
    {"addsubpd", 0x66, 0xfd0, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"addsubps", 0xf2, 0xfd0, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"haddpd", 0x66, 0xf7c, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"haddps", 0xf2, 0xf7c, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"hsubpd", 0x66, 0xf7d, 0, 0, false, 0, 16, EXECUTE_SSE3},
    {"hsubps", 0xf2, 0xf7d, 0, 0, false, 0, 16, EXECUTE_SSE3},
};

static const struct vector_form ssse3[] = {
    {"pshufb mm", 0, 0xf3800, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"pshufb xmm", 0x66, 0xf3800, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"phaddw mm", 0, 0xf3801, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"phaddw xmm", 0x66, 0xf3801, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"phaddd mm", 0, 0xf3802, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"phaddd xmm", 0x66, 0xf3802, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"phaddsw mm", 0, 0xf3803, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"phaddsw xmm", 0x66, 0xf3803, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"pmaddubsw mm", 0, 0xf3804, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"pmaddubsw xmm", 0x66, 0xf3804, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"phsubw mm", 0, 0xf3805, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"phsubw xmm", 0x66, 0xf3805, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"phsubd mm", 0, 0xf3806, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"phsubd xmm", 0x66, 0xf3806, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"phsubsw mm", 0, 0xf3807, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"phsubsw xmm", 0x66, 0xf3807, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"psignb mm", 0, 0xf3808, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"psignb xmm", 0x66, 0xf3808, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"psignw mm", 0, 0xf3809, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"psignw xmm", 0x66, 0xf3809, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"psignd mm", 0, 0xf380a, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"psignd xmm", 0x66, 0xf380a, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"pmulhrsw mm", 0, 0xf380b, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"pmulhrsw xmm", 0x66, 0xf380b, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"pabsb mm", 0, 0xf381c, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"pabsb xmm", 0x66, 0xf381c, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"pabsw mm", 0, 0xf381d, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"pabsw xmm", 0x66, 0xf381d, 0, 0, false, 0, 16, EXECUTE_SSSE3},
    {"pabsd mm", 0, 0xf381e, 0, 0, false, 0, 0, EXECUTE_SSSE3},
    {"pabsd xmm", 0x66, 0xf381e, 0, 0, false, 0, 16, EXECUTE_SSSE3},
};

static const struct vector_form sse4[] = {
    {"ptest", 0x66, 0xf3817, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmuldq", 0x66, 0xf3828, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pcmpeqq", 0x66, 0xf3829, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"packusdw", 0x66, 0xf382b, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pminsb", 0x66, 0xf3838, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pminsd", 0x66, 0xf3839, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pminuw", 0x66, 0xf383a, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pminud", 0x66, 0xf383b, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmaxsb", 0x66, 0xf383c, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmaxsd", 0x66, 0xf383d, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmaxuw", 0x66, 0xf383e, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmaxud", 0x66, 0xf383f, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmulld", 0x66, 0xf3840, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"phminposuw", 0x66, 0xf3841, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pblendvb", 0x66, 0xf3810, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"blendvps", 0x66, 0xf3814, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"blendvpd", 0x66, 0xf3815, 0, 0, false, 0, 16, EXECUTE_SSE4_1},
    {"pmovsxbw", 0x66, 0xf3820, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovzxbw", 0x66, 0xf3830, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovsxbd", 0x66, 0xf3821, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovzxbd", 0x66, 0xf3831, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovsxbq", 0x66, 0xf3822, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovzxbq", 0x66, 0xf3832, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovsxwd", 0x66, 0xf3823, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovzxwd", 0x66, 0xf3833, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovsxwq", 0x66, 0xf3824, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovzxwq", 0x66, 0xf3834, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovsxdq", 0x66, 0xf3825, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pmovzxdq", 0x66, 0xf3835, 0, 0, false, 0, 0, EXECUTE_SSE4_1},
    {"pcmpgtq", 0x66, 0xf3837, 0, 0, false, 0, 16, EXECUTE_SSE4_2},
};

static const struct vector_form immediate[] = {
    {"pshufw", 0, 0xf70, 0, 0, false, 256, 0, 0},
    {"pshufd", 0x66, 0xf70, 0, 0, false, 256, 16, 0},
    {"pshufhw", 0xf3, 0xf70, 0, 0, false, 256, 16, 0},
    {"pshuflw", 0xf2, 0xf70, 0, 0, false, 256, 16, 0},
    {"shufps", 0, 0xfc6, 0, 0, false, 256, 16, 0},
    {"shufpd", 0x66, 0xfc6, 0, 0, false, 256, 16, 0},
    {"palignr mm", 0, 0xf3a0f, 0, 0, false, 256, 0, EXECUTE_SSSE3},
    {"palignr xmm", 0x66, 0xf3a0f, 0, 0, false, 256, 16, EXECUTE_SSSE3},
    {"blendps", 0x66, 0xf3a0c, 0, 0, false, 256, 16, EXECUTE_SSE4_1},
    {"blendpd", 0x66, 0xf3a0d, 0, 0, false, 256, 16, EXECUTE_SSE4_1},
    {"pblendw", 0x66, 0xf3a0e, 0, 0, false, 256, 16, EXECUTE_SSE4_1},
    {"insertps", 0x66, 0xf3a21, 0, 0, false, 256, 0, EXECUTE_SSE4_1},
    {"cmpps", 0, 0xfc2, 0, 0, false, 8, 16, 0},
    {"cmppd", 0x66, 0xfc2, 0, 0, false, 8, 16, 0},
    {"cmpss", 0xf3, 0xfc2, 0, 0, false, 8, 0, 0},
    {"cmpsd", 0xf2, 0xfc2, 0, 0, false, 8, 0, 0},
    {"roundps", 0x66, 0xf3a08, 0, 0, false, 16, 16, EXECUTE_SSE4_1},
    {"roundpd", 0x66, 0xf3a09, 0, 0, false, 16, 16, EXECUTE_SSE4_1},
    {"roundss", 0x66, 0xf3a0a, 0, 0, false, 16, 0, EXECUTE_SSE4_1},
    {"roundsd", 0x66, 0xf3a0b, 0, 0, false, 16, 0, EXECUTE_SSE4_1},
};

TEST(sse_horizontal, "SSE3 adds and subtracts across, as the processor does")
{
    COMPARE(sse3);
}

TEST(sse_ssse3, "SSSE3 in the registers of MMX and of SSE, as the processor does it")
{
    COMPARE(ssse3);
}

TEST(sse_sse4, "SSE4 compares, widens, blends by register 0, as the processor does")
{
    COMPARE(sse4);
}

TEST(sse_immediate, "what is shuffled, aligned, compared or rounded as an immediate says")
{
    COMPARE(immediate);
}

TEST(sse_refusals, "what CPUID does not show is undefined, and is not run; an operand is aligned")
{
    static const struct {
        const char *bytes;
        size_t count;
        uint64_t feature;
    } forms[] = {
        {"\xf2\x0f\xd0\x07", 4, EXECUTE_SSE3},
        {"\x0f\x38\x00\x07", 4, EXECUTE_SSSE3},
        {"\x66\x0f\x38\x00\x07", 5, EXECUTE_SSSE3},
        {"\x66\x0f\x38\x10\x07", 5, EXECUTE_SSE4_1},
        {"\x66\x0f\x38\x20\x07", 5, EXECUTE_SSE4_1},
        {"\x66\x0f\x38\x37\x07", 5, EXECUTE_SSE4_2},
        {"\xf2\x0f\x38\xf1\x07", 5, EXECUTE_SSE4_2},
        {"\x66\x0f\x3a\x0f\x07\0", 6, EXECUTE_SSSE3},
        {"\x66\x0f\x3a\x0c\x07\0", 6, EXECUTE_SSE4_1},
        {"\x66\x0f\x3a\x08\x07\0", 6, EXECUTE_SSE4_1},
    };
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
        begin(8, forms[i].bytes, forms[i].count);
        world.features = ~forms[i].feature;
        expect_fault(UNDEFINED);
        EXPECT(taken, 0);
    }
    BEGIN("\x66\x0f\x38\x10\x07"); /* pblendvb xmm0, [rdi] */
    world.state->gpr[7] += 8;
    expect_fault(PROTECTION);
    EXPECT(given, 0);
}

TEST(sse_unknown, "what is not done here is told by its name")
{
    BEGIN("\x66\x0f\x38\xdc\x07"); /* aesenc xmm0, [rdi] */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    CHECK(strcmp(world_what, "aesenc") == 0);
    EXPECT(taken, 0);
    BEGIN("\x66\x0f\x3a\x40\x07\x31"); /* dpps xmm0, [rdi], 0x31 */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    CHECK(strcmp(world_what, "dpps") == 0);
    BEGIN("\x66\x0f\x38\x10\xc1"); /* pblendvb xmm0, xmm1 */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
}

TEST(sse_exceptions, "an invalid comparison that is not masked is exception 19; the register stays")
{
    uint8_t before[256];
    BEGIN("\x0f\xc2\x07\x01");            /* cmpltps xmm0, [rdi] */
    memset(operand(), 0xff, 16);          /* quiet NaNs */
    image[IMAGE_MXCSR] &= (uint8_t)~0x80; /* IM */
    memcpy(before, image + IMAGE_XMM, sizeof before);
    expect_fault(VCPU_EVENT(19, VCPU_EVENT_EXCEPTION));
    EXPECT(memcmp(image + IMAGE_XMM, before, sizeof before), 0);
    EXPECT(image[IMAGE_MXCSR] & 1, 1);
}

/* The check value of the catalogue: of the digits from 1 to 9, begun with ones and turned over at the end. */
TEST(sse_checksum, "CRC32 sums the Castagnoli polynomial over 1, 2, 4 and 8 bytes")
{
    BEGIN("\xf2\x4c\x0f\x38\xf1\x07"); /* crc32 r8, qword [rdi] */
    memcpy(operand(), "123456789", 9);
    world.state->gpr[8] = ~0ull;
    EXPECT(world_execute(), EXECUTE_DONE);
    memcpy(world_ram + 0x20000 + AT, "\xf2\x44\x0f\x38\xf0\x47\x08", 7); /* r8d, byte [rdi + 8] */
    world.state->rip = CODE_LINEAR + AT;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[8], (uint32_t)~0xe3069283u);
    BEGIN("\x66\xf2\x0f\x38\xf1\x07"); /* crc32 eax, word [rdi] */
    memcpy(operand(), "123456789", 9);
    world.state->gpr[0] = ~0ull;
    for (unsigned i = 0; i < 3; i++) { /* the third is of four bytes */
        if (i == 2)
            memcpy(world_ram + 0x20000 + AT, "\xf2\x0f\x38\xf1\x07\x90", 6);
        world.state->rip = CODE_LINEAR + AT;
        EXPECT(world_execute(), EXECUTE_DONE);
        world.state->gpr[7] += 2;
    }
    memcpy(world_ram + 0x20000 + AT, "\xf2\x0f\x38\xf0\x47\x02", 6); /* eax, byte [rdi + 2] */
    world.state->rip = CODE_LINEAR + AT;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->gpr[0], (uint32_t)~0xe3069283u);
}
