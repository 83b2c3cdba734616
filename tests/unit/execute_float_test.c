/*
 * x87, MMX and SSE instructions with an operand in memory: what they do to the registers of a guest, and to nobody
 * else's.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

#define OPERAND 64u /* in the window */
#define FLOAT   VCPU_EVENT(16, VCPU_EVENT_EXCEPTION)
#define VECTOR  VCPU_EVENT(19, VCPU_EVENT_EXCEPTION)

static uint8_t *image;
static unsigned given;

static bool vectors(struct execute_world *w, bool back)
{
    (void)w;
    given += back;
    return true;
}

/* Registers as after a reset, but that all bits of the others are something. */
static void begin(const char *bytes, size_t count)
{
    start(8, bytes, count);
    world.vectors = vectors;
    world.state->cr4 |= 3 << 9; /* OSFXSR, OSXMMEXCPT */
    world.state->gpr[7] = WINDOW_LINEAR + OPERAND;
    image = world.state->fpu;
    for (unsigned i = 32; i < 416; i++)
        image[i] = (uint8_t)(i * 5);
    memcpy(image, "\x7f\x03\0\0\0\0\0\0", 8);
    memcpy(image + 24, "\x80\x1f\0\0\xff\xff\0\0", 8);
    image[512] = 3;
    given = 0;
}
#define BEGIN(bytes) begin(bytes, sizeof bytes - 1)

static void set_operand(const void *data, size_t count)
{
    memcpy(world_ram + world_window_gpa(OPERAND), data, count);
}

static const uint8_t *operand(void)
{
    return world_ram + world_window_gpa(OPERAND);
}

static unsigned word_at(unsigned at)
{
    return image[at] | (unsigned)image[at + 1] << 8;
}

TEST(float_load, "FLD converts, pushes, and says where it was in the guest")
{
    const double value = -1.5;
    uint64_t rip, data;
    BEGIN("\xdd\x07"); /* fld qword [rdi] */
    set_operand(&value, 8);
    world_ram_is_device = true;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(word_at(2) >> 11 & 7, 7);
    EXPECT(image[4], 0x80);
    EXPECT(memcmp(image + 32, "\0\0\0\0\0\0\0\xc0\xff\xbf", 10), 0);
    memcpy(&rip, image + 8, 8);
    memcpy(&data, image + 16, 8);
    EXPECT(rip, CODE_LINEAR + AT);
    EXPECT(data, WINDOW_LINEAR + OPERAND);
    EXPECT(given, 1);
}

TEST(float_store, "FISTP rounds as the guest has chosen, and pops")
{
    BEGIN("\xdb\x1f");                                    /* fistp dword [rdi] */
    memcpy(image + 32, "\0\0\0\0\0\0\0\xb0\x00\x40", 10); /* 2.75 */
    image[4] = 1;
    image[1] |= 0x0c; /* towards zero */
    world_ram_is_device = true;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(operand(), "\x02\0\0\0", 4), 0);
    EXPECT(word_at(2) >> 11 & 7, 1);
    EXPECT(image[4], 0);
}

TEST(float_store_kept_back,
     "an invalid operation that is not masked stores nothing; the next instruction faults")
{
    BEGIN("\xdb\x17"); /* fist dword [rdi] of an empty register */
    image[0] &= 0xfe;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(operand(), window + OPERAND, 4), 0);
    EXPECT(word_at(2) & 0x80, 0x80);
    world.state->rip = CODE_LINEAR + AT;
    expect_fault(FLOAT);
    memcpy(world_ram + 0x20000 + AT, "\xdd\x3f", 2); /* fnstsw [rdi] does not wait */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(operand()[0] & 0x80, 0x80);
}

TEST(float_store_faults, "a store that faults leaves the stack of registers")
{
    uint8_t before[416];
    BEGIN("\xdd\x1f"); /* fstp qword [rdi] */
    image[4] = 1;
    memcpy(before, image, sizeof before);
    set_entry(WORLD_PT, 0x10, entry(WORLD_PT, 0x10) & ~2ull);
    expect_fault(PAGE_FAULT(7));
    EXPECT(given, 0);
}

TEST(float_refusals, "CR0.EM and CR0.TS are exception 7; without NE it is not known what to do")
{
    BEGIN("\xd9\x07");
    world.state->cr0 |= 4;
    expect_fault(VCPU_EVENT(7, VCPU_EVENT_EXCEPTION));
    world.state->cr0 ^= 4 | 8;
    expect_fault(VCPU_EVENT(7, VCPU_EVENT_EXCEPTION));
    world.state->cr0 &= ~(uint64_t)(8 | 32);
    image[2] = 0x81;
    image[0] = 0x7e;
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
    EXPECT(strcmp(world_what, "fld"), 0);
    BEGIN("\xd9\x27"); /* fldenv */
    EXPECT(world_execute(), EXECUTE_UNKNOWN);
}

TEST(vector_computes, "ADDPS and PADDB in the register that is named; the others stay")
{
    const float ones[4] = {1, 2, 3, 4};
    float sums[4];
    uint8_t before[416];
    BEGIN("\x44\x0f\x58\x0f"); /* addps xmm9, [rdi] */
    memcpy(image + 160 + 9 * 16, ones, 16);
    set_operand(ones, 16);
    memcpy(before, image, sizeof before);
    world_ram_is_device = true;
    EXPECT(world_execute(), EXECUTE_DONE);
    memcpy(sums, image + 160 + 9 * 16, 16);
    EXPECT(sums[0] == 2 && sums[1] == 4 && sums[2] == 6 && sums[3] == 8, true);
    EXPECT(memcmp(image + 160, before + 160, 9 * 16), 0);
    EXPECT(memcmp(image + 160 + 10 * 16, before + 160 + 10 * 16, 6 * 16), 0);
    BEGIN("\x0f\xfc\x1f"); /* paddb mm3, [rdi] */
    memcpy(before, image, sizeof before);
    EXPECT(world_execute(), EXECUTE_DONE);
    for (unsigned i = 0; i < 8; i++)
        EXPECT(image[32 + 48 + i], (uint8_t)(before[32 + 48 + i] + window[OPERAND + i]));
    EXPECT(image[4], 0xff);
    EXPECT(memcmp(image + 32, before + 32, 10), 0);
}

TEST(vector_compares, "UCOMISD sets the flags of the guest")
{
    const double two = 2, three = 3;
    BEGIN("\x66\x0f\x2e\x17"); /* ucomisd xmm2, [rdi] */
    memcpy(image + 160 + 32, &two, 8);
    set_operand(&three, 8);
    world.state->rflags = 0x8d6; /* all but CF, and what is not of it */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(world.state->rflags, 0x003);
}

TEST(vector_exceptions,
     "a division by zero that is not masked is exception 19, or 6; the register stays")
{
    const float zeros[4] = {0}, ones[4] = {1, 1, 1, 1};
    BEGIN("\x0f\x5e\x07"); /* divps xmm0, [rdi] */
    set_operand(zeros, 16);
    memcpy(image + 160, ones, 16);
    image[25] &= (uint8_t)~2; /* ZM */
    expect_fault(VECTOR);
    EXPECT(memcmp(image + 160, ones, 16), 0);
    EXPECT(image[24], 0x84);
    image[24] = 0x80;
    world.state->cr4 &= ~(1ull << 10);
    expect_fault(UNDEFINED);
    image[25] |= 2;
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 160, "\0\0\x80\x7f", 4), 0);
}

TEST(vector_underflow,
     "a tiny result that is exact is exception 19 where that is not masked, flushed to zero or not")
{
    for (unsigned flush = 0; flush < 2; flush++) {
        BEGIN("\xf3\x0f\x58\x07"); /* addss xmm0, [rdi]: 1.5 * 2^-126 - 2^-126 */
        set_operand("\0\0\x80\x80", 4);
        memcpy(image + 160, "\0\0\xc0\0", 4);
        image[25] |= (uint8_t)(flush << 7);
        image[25] &= (uint8_t)~8; /* UM */
        expect_fault(VECTOR);
        EXPECT(memcmp(image + 160, "\0\0\xc0\0", 4), 0);
        EXPECT(image[24], 0x90);
    }
    BEGIN("\xf3\x0f\x58\x07");
    set_operand("\0\0\x80\x80", 4);
    memcpy(image + 160, "\0\0\xc0\0", 4);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 160, "\0\0\x40\0", 4), 0);
    EXPECT(image[24], 0x80);
}

TEST(vector_alignment, "packed operands of SSE are aligned")
{
    BEGIN("\x0f\x58\x07");
    world.state->gpr[7] += 8;
    expect_fault(PROTECTION);
}

TEST(vector_state, "FXSAVE and FXRSTOR move all, LDMXCSR and FXRSTOR refuse what MXCSR has not")
{
    uint8_t before[416];
    BEGIN("\x48\x0f\xae\x07"); /* fxsave64 [rdi] */
    memcpy(before, image, sizeof before);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(operand(), before, 416), 0);
    EXPECT(memcmp(operand() + 416, window + OPERAND + 416, 96), 0);
    BEGIN("\x0f\xae\x0f"); /* fxrstor [rdi] */
    set_operand(before, 416);
    memset(image + 32, 0, 384);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 32, before + 32, 384), 0);
    BEGIN("\x0f\xae\x0f");
    memset(before + 24, 0xff, 4);
    set_operand(before, 416);
    expect_fault(PROTECTION);
    world.state->gpr[7] += 8;
    expect_fault(PROTECTION);
    BEGIN("\x0f\xae\x17"); /* ldmxcsr [rdi] */
    set_operand("\0\0\1\0", 4);
    expect_fault(PROTECTION);
    set_operand("\x80\x3f\0\0", 4);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(memcmp(image + 24, "\x80\x3f\0\0", 4), 0);
}

TEST(float_ours, "our own registers are as before")
{
    uint8_t before[512] __attribute__((aligned(16))), after[512] __attribute__((aligned(16)));
    BEGIN("\xd9\x07"); /* fld dword [rdi] */
    image[0] = 0x40;   /* nothing is masked */
    image[25] = 0;
    image[24] = 0;
    set_operand("\1\0\x80\x7f", 4); /* a signalling NaN */
    __asm__ volatile("fxsave64 %0" : "=m"(before));
    EXPECT(world_execute(), EXECUTE_DONE);
    __asm__ volatile("fxsave64 %0" : "=m"(after));
    EXPECT(word_at(2) & 0x81, 0x81);
    EXPECT(memcmp(before, after, 6), 0);
    EXPECT(memcmp(before + 24, after + 24, 4), 0);
}
