/*
 * XSAVE and its kin on device memory, against the host's processor and by hand.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_vectors.h"

#define AREA      64u
#define MASK_ALL  0xe7u
#define MXCSR     0x1f80u
#define COMPACTED (1ull << 63)
#define XCR0_PKRU 0x200u

/* Instructions on [rdi]: XSAVE, XSAVEOPT, XSAVEC, XRSTOR, each with addresses of 64 and of 32 bits. */
extern const uint8_t host_forms[];
__asm__("host_forms:\n"
        ".irp form, xsave, xsaveopt, xsavec, xrstor\n"
        " .balign 8\n \\form\\()64 (%rdi)\n ret\n"
        " .balign 8\n \\form (%rdi)\n ret\n"
        ".endr\n");
#define FORM_BYTES 8u
enum { XSAVE, XSAVEOPT, XSAVEC, XRSTOR, FORMS };

struct area {
    uint8_t bytes[4096] __attribute__((aligned(64)));
};

static uint64_t word(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void set_word(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}

static uint32_t parts_of_host(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low & MASK_ALL;
}

/* Loads the registers from `from`, notes what is in use in `before`, does it, and stores what is then. */
static void run_form(const uint8_t *form, uint32_t parts, uint32_t mask, const struct area *from,
                     struct area *before, struct area *behind)
{
    uint32_t control = MXCSR;
    __asm__ volatile("xor %%edx, %%edx\n"
                     "mov %[parts], %%eax\n xrstor64 %[from]\n xsaveopt64 %[before]\n"
                     "mov %[mask], %%eax\n call *%[form]\n"
                     "mov %[parts], %%eax\n xsave64 %[behind]\n"
                     "ldmxcsr %[control]\n fninit\n"
                     : [before] "+m"(*before), [behind] "+m"(*behind)
                     : [parts] "r"(parts), [mask] "r"(mask), [from] "m"(*from),
                       [control] "m"(control), [form] "r"(form), "D"(WINDOW_LINEAR + AREA)
                     : "rax", "rdx", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",
                       "st(7)");
}

static void set_offsets(void)
{
    world.mask_offset = host_cpuid(0xd, 5, 'b'), world.upper_offset = host_cpuid(0xd, 6, 'b');
    world.high_offset = host_cpuid(0xd, 7, 'b');
    world.compacts = host_cpuid(0xd, 1, 'a') & 2;
}

/* An area of random registers, of which `parts` are there; some x87 and MXCSR that can be loaded. */
static void random_area(uint8_t *at, uint64_t parts)
{
    random_bytes(at, 2752);
    memcpy(at, "\x7f\x03\0\0\xff\0\0\0", 8);
    set_word(at + 8, unit_random() & 0x7fffffff);
    set_word(at + 16, unit_random() & 0x7fffffff);
    at[3] = (uint8_t)(pick(8) << 3);
    set_word(at + IMAGE_MXCSR, pick(3) ? MXCSR : MXCSR | pick(64));
    for (unsigned i = IMAGE_STACK; i < IMAGE_XMM; i += 16)
        memset(at + i + 10, 0, 6);
    memset(at + IMAGE_PRESENT, 0, 64);
    set_word(at + IMAGE_PRESENT, parts);
}

static bool same_registers(const uint8_t *ours, const uint8_t *host, unsigned at, unsigned count,
                           unsigned part)
{
    static const uint8_t nothing[1024];
    bool have = ours[IMAGE_PRESENT] >> part & 1, there = host[IMAGE_PRESENT] >> part & 1;
    return memcmp(have ? ours + at : nothing, there ? host + at : nothing, count) == 0;
}

static bool same_image(const uint8_t *host, uint32_t parts)
{
    bool have = image[IMAGE_PRESENT] & 1;
    static const uint8_t reset[24] = {0x7f, 3};
    bool same = memcmp(have ? image : reset, host, 24) == 0 &&
                same_registers(image, host, IMAGE_STACK, 128, 0) &&
                memcmp(image + IMAGE_MXCSR, host + IMAGE_MXCSR, 4) == 0 &&
                same_registers(image, host, IMAGE_XMM, 256, 1) &&
                same_registers(image, host, IMAGE_YMM, 256, 2);
    if (same && parts & 0xe0)
        same = same_registers(image, host, world.mask_offset, 64, 5) &&
               same_registers(image, host, world.upper_offset, 512, 6) &&
               same_registers(image, host, world.high_offset, 1024, 7);
    return same;
}

/* XRSTOR is tried with both formats, if the host has the other. */
static void prepare_header(uint8_t *area, uint32_t parts)
{
    uint64_t components = unit_random() & parts;
    random_area(area, unit_random() & parts);
    if (world.compacts && pick(2)) {
        set_word(area + IMAGE_PRESENT, unit_random() & components);
        set_word(area + IMAGE_PRESENT + 8, COMPACTED | components);
    }
}

static void compare_with_host(unsigned which)
{
    static struct area from, before, behind;
    const uint32_t parts = parts_of_host(), mask = (uint32_t)unit_random() & MASK_ALL;
    bool narrow = pick(2);
    const uint8_t *form = host_forms + (2 * which + narrow) * FORM_BYTES;
    uint8_t *area = (uint8_t *)WINDOW_LINEAR + AREA;
    begin(8, (const char *)form, FORM_BYTES);
    world_ram_is_device = pick(2);
    set_offsets();
    world.state->xcr0 = parts;
    random_area(from.bytes, unit_random() & parts);
    random_bytes((uint8_t *)WINDOW_LINEAR, WINDOW_BYTES);
    if (which == XRSTOR)
        prepare_header(area, parts);
    for (unsigned i = 0; i < 2; i++)
        memcpy(world_ram + world_window_gpa(i * 4096), (uint8_t *)WINDOW_LINEAR + i * 4096, 4096);
    memset(&before, 0, sizeof before);
    run_form(form, parts, mask, &from, &before, &behind);
    memcpy(image, before.bytes, IMAGE_BYTES);
    world.state->gpr[0] = 0xffffffff00000000 | mask, world.state->gpr[2] = 0;
    world.state->gpr[7] = WINDOW_LINEAR + AREA;
    enum execute_result result = world_execute();
    bool same = world_window_equals((const void *)WINDOW_LINEAR) &&
                (which != XRSTOR || same_image(behind.bytes, parts));
    if (result != EXECUTE_DONE || !same)
        printf("# form %u, mask 0x%x, header 0x%llx 0x%llx, image 0x%llx, seed %llu\n",
               2 * which + narrow, mask, (unsigned long long)word(area + IMAGE_PRESENT),
               (unsigned long long)word(area + IMAGE_PRESENT + 8),
               (unsigned long long)word(image + IMAGE_PRESENT), (unsigned long long)unit_seed);
    EXPECT(result, EXECUTE_DONE);
    CHECK(same);
}

TEST(xsave_as_the_host, "the area and the registers are as the host's processor makes them")
{
    CHECK(host_start());
    if (!(host_features() & EXECUTE_AVX) || !(host_cpuid(0xd, 1, 'a') & 1))
        return; /* run_form needs XSAVEOPT */
    for (unsigned which = 0; which < FORMS; which++) {
        if (which == XSAVEC && !(host_cpuid(0xd, 1, 'a') & 2))
            continue;
        for (unsigned i = 0; i < 300; i++)
            compare_with_host(which);
    }
}

/* ---- By hand ------------------------------------------------------------------------------------ */

static uint8_t *area(void)
{
    return world_ram + world_window_gpa(AREA);
}

static void set_up(unsigned mode, const char *bytes, size_t count, uint32_t mask)
{
    begin(mode, bytes, count);
    world_ram_is_device = true;
    world.mask_offset = 1088, world.upper_offset = 1152, world.high_offset = 1664;
    world.pkru_offset = 2688;
    world.compacts = true;
    world.state->xcr0 = MASK_ALL | XCR0_PKRU;
    world.state->gpr[0] = mask, world.state->gpr[2] = 0;
    set_word(image + IMAGE_PRESENT, MASK_ALL | XCR0_PKRU);
    memset(area(), 0xaa, 2752);
    memset(area() + IMAGE_PRESENT, 0, 64);
}
#define SET_UP(mode, bytes, mask) set_up(mode, bytes, sizeof bytes - 1, mask)

TEST(xsave_pkru_compacted, "in the compacted format parts follow each other"
                           "where the processor says so")
{
    SET_UP(8, "\x48\x0f\xc7\x27", 0x224); /* xsavec64 [rdi] */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(word(area() + 512), 0x224);
    EXPECT(word(area() + 520), COMPACTED | 0x224);
    CHECK(memcmp(area() + 576, image + IMAGE_YMM, 256) == 0);
    CHECK(memcmp(area() + 832, image + 1088, 64) == 0);
    CHECK(memcmp(area() + 896, image + 2688, 8) == 0);
    EXPECT(area()[904], 0xaa);
    EXPECT(area()[24], 0xaa); /* MXCSR is SSE's alone there */
    SET_UP(8, "\x48\x0f\xc7\x27", 0x220);
    set_word(image + IMAGE_PRESENT, MASK_ALL);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(word(area() + 512), 0x20);
    EXPECT(area()[640], 0xaa); /* not in use */
}

TEST(xsave_narrow_code,
     "outside 64-bit code half of the vector registers are neither saved nor loaded")
{
    SET_UP(4, "\x0f\xae\x27", 0xe6); /* xsave [edi] */
    EXPECT(world_execute(), EXECUTE_DONE);
    CHECK(memcmp(area() + IMAGE_XMM, image + IMAGE_XMM, 128) == 0);
    EXPECT(area()[IMAGE_XMM + 128], 0xaa);
    EXPECT(area()[IMAGE_YMM + 127], image[IMAGE_YMM + 127]);
    EXPECT(area()[IMAGE_YMM + 128], 0xaa);
    EXPECT(area()[1152 + 256], 0xaa);
    EXPECT(area()[1664], 0xaa);
    EXPECT(word(area() + 512), 0xe6);
    SET_UP(4, "\x0f\xae\x2f", 0xe6); /* xrstor [edi] */
    set_word(area() + 512, 4);
    set_word(area() + IMAGE_MXCSR, MXCSR);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(image[IMAGE_XMM + 127], 0);
    EXPECT(image[IMAGE_XMM + 128], (uint8_t)((IMAGE_XMM + 128) * 5 + (IMAGE_XMM + 128) / 256));
    EXPECT(image[IMAGE_YMM], 0xaa);
    EXPECT(image[IMAGE_YMM + 128], (uint8_t)((IMAGE_YMM + 128) * 5 + (IMAGE_YMM + 128) / 256));
    EXPECT(image[1664], (uint8_t)(1664 * 5 + 1664 / 256));
    EXPECT(word(image + 512), (MASK_ALL | XCR0_PKRU) & ~0x20u);
    EXPECT(given, 1);
}

TEST(xsave_supervisor, "XSAVES and XRSTORS are the kernel's, and know the compacted format alone")
{
    SET_UP(8, "\x48\x0f\xc7\x2f", 7); /* xsaves64 [rdi] */
    expect_fault(PROTECTION);
    kernel_mode();
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(word(area() + 520), COMPACTED | 7);
    SET_UP(8, "\x48\x0f\xc7\x1f", 7); /* xrstors64 [rdi] */
    kernel_mode();
    set_word(area() + IMAGE_MXCSR, MXCSR);
    expect_fault(PROTECTION);
    EXPECT(given, 0);
    set_word(area() + 520, COMPACTED | 2);
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(given, 1);
}

static void expect_refused(unsigned at, uint64_t value)
{
    uint64_t old = word(area() + at);
    set_word(area() + at, value);
    world.state->rip = CODE_LINEAR + AT;
    expect_fault(PROTECTION);
    EXPECT(given, 0);
    set_word(area() + at, old);
}

TEST(xsave_bad_headers, "XRSTOR loads nothing if header or MXCSR have what must be 0")
{
    SET_UP(8, "\x48\x0f\xae\x2f", 7);
    set_word(area() + IMAGE_MXCSR, MXCSR);
    expect_refused(512, 8);         /* a part that XCR0 has not */
    expect_refused(520, 4);         /* of the other format */
    expect_refused(528, 1);         /* reserved */
    expect_refused(24, 0x80001f80); /* MXCSR */
    set_word(area() + 536, 1);      /* ignored in the standard format */
    world.state->rip = CODE_LINEAR + AT;
    EXPECT(world_execute(), EXECUTE_DONE);
    given = 0;
    set_word(area() + 520, COMPACTED | 3);
    expect_refused(536, 1);
    set_word(area() + 536, 0);
    expect_refused(512, 4);             /* not among the components */
    expect_refused(520, COMPACTED | 8); /* which XCR0 has not */
    world.compacts = false;
    expect_refused(520, COMPACTED | 3);
}

TEST(xsave_faults,
     "what is off, an area that does not lie at a multiple of 64, and pages that are not there")
{
    SET_UP(8, "\x48\x0f\xae\x27", 0xe7);
    world.state->gpr[7] += 32;
    expect_fault(PROTECTION);
    world.state->gpr[7] -= 32;
    world.state->cr0 |= 8;
    expect_fault(VCPU_EVENT(7, VCPU_EVENT_EXCEPTION));
    world.state->cr4 &= ~(1ull << 18);
    expect_fault(UNDEFINED);
    SET_UP(8, "\x48\x0f\xae\x27", 0xe7);
    world.state->gpr[7] = WINDOW_LINEAR + 4096 - 1152;
    memset(world_ram + world_window_gpa(0), 0, 4096);
    set_entry(WORLD_PT, 0x11, 0);
    expect_fault(PAGE_FAULT(6));
    EXPECT(world.state->cr2, WINDOW_LINEAR + 4096);
    for (unsigned i = 0; i < 4096; i++)
        EXPECT(world_ram[world_window_gpa(i)], 0);
    world.state->gpr[0] = 0x27; /* what lies there is not asked for */
    EXPECT(world_execute(), EXECUTE_DONE);
    EXPECT(word(world_ram + world_window_gpa(4096 - 1152 + 512)), 0x27);
}
