/* Instructions of SSE and AVX with an operand in memory: built from their parts, and run on the host's processor as well
 * as in the executor's small machine. */
#ifndef EXECUTE_VECTORS_H
#define EXECUTE_VECTORS_H

#include "execute_faults.h"

#include <stdbool.h>
#include <sys/mman.h>

#define OPERAND 64u /* in the window, where no test says otherwise */

/* The parts of an XSAVE image (SDM 1, 13.4). */
enum {
    IMAGE_MXCSR = 24,
    IMAGE_STACK = 32,
    IMAGE_XMM = 160,
    IMAGE_PRESENT = 512,
    IMAGE_YMM = 576,
    IMAGE_BYTES = 2816
};
#define PRESENT_ZMM 64
#define XCR0_ALL    7u

static uint8_t *image; /* the machine's */
static unsigned taken, given;

static inline bool vectors(struct execute_world *w, bool back)
{
    (void)w;
    back ? given++ : taken++;
    return true;
}

/* A machine that has everything, with user code of 8 or 4 bytes that runs one instruction on [rdi]. */
static inline void begin(unsigned mode, const char *bytes, size_t count)
{
    start(mode, bytes, count);
    world.vectors = vectors;
    world.features = ~0ull;
    world.state->cr4 |= 1 << 18 | 3 << 9; /* OSXSAVE, OSFXSR, OSXMMEXCPT */
    world.state->xcr0 = XCR0_ALL;
    world.state->gpr[7] = WINDOW_LINEAR + OPERAND;
    image = world.state->fpu;
    for (unsigned i = 32; i < IMAGE_BYTES; i++)
        image[i] = (uint8_t)(i * 5 + i / 256);
    memcpy(image, "\x7f\x03\0\0\0\0\0\0", 8);
    memcpy(image + IMAGE_MXCSR, "\x80\x1f\0\0\xff\xff\0\0", 8);
    memset(image + IMAGE_PRESENT, 0, 64);
    image[IMAGE_PRESENT] = XCR0_ALL;
    taken = given = 0;
}
#define BEGIN(bytes) begin(8, bytes, sizeof bytes - 1)

static inline uint8_t *operand(void)
{
    return world_ram + world_window_gpa(OPERAND);
}

/* ---- The host --------------------------------------------------------------------------------- */

static inline uint32_t host_cpuid(uint32_t leaf, uint32_t subleaf, char which)
{
    uint32_t a = leaf, b, c = subleaf, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return which == 'b' ? b : which == 'c' ? c : a;
}

/* As struct execute_world's `features`; without AVX where the system does not switch its registers. */
static inline uint64_t host_features(void)
{
    uint64_t structured = host_cpuid(0, 0, 'a') < 7 ? 0 : host_cpuid(7, 0, 'b');
    uint64_t all = host_cpuid(1, 0, 'c') | structured << 32;
    return __builtin_cpu_supports("avx") ? all : all & ~(EXECUTE_AVX | EXECUTE_AVX2);
}

/* Where the upper halves of ZMM0 to ZMM15 are; 0: there are none. */
static inline unsigned host_upper_offset(void)
{
    return __builtin_cpu_supports("avx512f") ? host_cpuid(0xd, 6, 'b') : 0;
}

/* ---- Forms ------------------------------------------------------------------------------------ */

struct vector_form {
    const char *name;
    uint8_t prefix;        /* 0, 66, F3, F2 */
    unsigned opcode;       /* 0f.., 0f38.., 0f3a.. */
    int wide;              /* W; -1: either */
    unsigned vector_bytes; /* 0: without VEX; 16, 32; 48: either */
    bool second;           /* with VEX: one more source */
    unsigned choices;      /* of the immediate, which are its low bits; 0: it has none */
    unsigned align;        /* the operand lies at a multiple of it */
    uint64_t feature;
};

struct built {
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    unsigned length, offset, vector_bytes;
    bool mmx;
};

static inline unsigned pick(unsigned below)
{
    return (unsigned)(unit_random() % below);
}

static inline uint8_t *build_vex(const struct vector_form *form, uint8_t *at, unsigned reg,
                                 unsigned vector_bytes, bool wide)
{
    unsigned map = form->opcode >> 8 == 0x0f ? 1 : form->opcode >> 8 == 0x0f38 ? 2 : 3;
    unsigned pp = form->prefix == 0x66 ? 1 : form->prefix == 0xf3 ? 2 : form->prefix ? 3 : 0;
    unsigned source = form->second ? pick(16) : 0;
    unsigned last = (~source & 15) << 3 | (vector_bytes == 32) << 2 | pp;
    if (map == 1 && !wide && pick(2)) {
        *at++ = 0xc5;
        *at++ = (uint8_t)((reg < 8) << 7 | last);
        return at;
    }
    *at++ = 0xc4;
    *at++ = (uint8_t)((reg < 8) << 7 | 0x60 | map);
    *at++ = (uint8_t)((unsigned)wide << 7 | last);
    return at;
}

static inline uint8_t *build_legacy(const struct vector_form *form, uint8_t *at, unsigned reg,
                                    bool wide)
{
    if (form->prefix)
        *at++ = form->prefix;
    if (reg >= 8 || wide)
        *at++ = (uint8_t)(0x40 | wide << 3 | (reg >= 8) << 2);
    *at++ = 0x0f;
    if (form->opcode > 0xffff)
        *at++ = (uint8_t)(form->opcode >> 8);
    return at;
}

/* With [rdi + displacement], so that rdi is the start of the window. */
static inline struct built build(const struct vector_form *form)
{
    struct built built = {.vector_bytes = form->vector_bytes};
    uint8_t *at = built.bytes;
    unsigned reg = pick(16);
    int32_t displacement;
    bool wide = form->wide < 0 ? pick(2) != 0 : form->wide != 0;
    if (form->vector_bytes == 48)
        built.vector_bytes = pick(2) ? 16 : 32;
    built.offset = pick(3) ? 512 + pick(4096) : 4096 - pick(33);
    if (form->align)
        built.offset &=
            ~(form->align > 16 && built.vector_bytes ? built.vector_bytes - 1 : form->align - 1);
    at = built.vector_bytes ? build_vex(form, at, reg, built.vector_bytes, wide)
                            : build_legacy(form, at, reg, wide);
    *at++ = (uint8_t)form->opcode;
    *at++ = (uint8_t)(0x87 | (reg & 7) << 3);
    displacement = (int32_t)built.offset;
    memcpy(at, &displacement, 4);
    at += 4;
    if (form->choices)
        *at++ = (uint8_t)pick(form->choices);
    built.length = (unsigned)(at - built.bytes);
    return built;
}

/* ---- Comparing -------------------------------------------------------------------------------- */

struct host_state {
    uint8_t image[4096] __attribute__((aligned(64)));
    uint64_t eax, ecx, edx, flags; /* of the instruction, in and out */
};

static uint8_t *host_page;

static inline bool host_start(void)
{
    void *window_at;
    if (host_page)
        return true;
    host_page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    window_at = mmap((void *)WINDOW_LINEAR, WINDOW_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return host_page != MAP_FAILED && window_at == (void *)WINDOW_LINEAR;
}

static inline void run_on_host(const struct built *built, struct host_state *state)
{
    static const char before[] = "\x53\x52\x48\x89\xf3" /* push rbx, rdx; mov rbx, rsi */
                                 "\x89\xd0\x31\xd2\x48\x0f\xae\x2b" /* xrstor64 [rbx] */
                                 "\xff\xb3\x18\x10\0\0\x9d"         /* push [rbx + 1018]; popf */
                                 "\x48\x8b\x83\x00\x10\0\0"         /* mov rax, [rbx + 1000] */
                                 "\x48\x8b\x8b\x08\x10\0\0"         /* mov rcx, [rbx + 1008] */
                                 "\x48\x8b\x93\x10\x10\0\0";        /* mov rdx, [rbx + 1010] */
    static const char after[] = "\x48\x89\x83\x00\x10\0\0"          /* and back */
                                "\x48\x89\x8b\x08\x10\0\0"
                                "\x48\x89\x93\x10\x10\0\0"
                                "\x9c\x8f\x83\x18\x10\0\0"     /* pushf; pop [rbx + 1018] */
                                "\x58\x31\xd2\x48\x0f\xae\x23" /* pop rax; xsave64 [rbx] */
                                "\x5b\xc3";
    const uint32_t parts = XCR0_ALL | (host_upper_offset() ? PRESENT_ZMM : 0);
    uint8_t *at = host_page + sizeof before - 1;
    memcpy(host_page, before, sizeof before - 1);
    memcpy(at, built->bytes, built->length);
    memcpy(at + built->length, after, sizeof after - 1);
    ((void (*)(void *, struct host_state *, uint32_t))(uintptr_t)host_page)((void *)WINDOW_LINEAR,
                                                                            state, parts);
}

static inline void random_bytes(uint8_t *at, unsigned count)
{
    for (unsigned i = 0; i < count; i += 8) {
        uint64_t value = unit_random();
        memcpy(at + i, &value, 8);
    }
}

/* The same state for both; RBX, RSI and RDI apart. */
static inline void random_state(struct host_state *host)
{
    const unsigned upper = host_upper_offset();
    memset(host, 0, sizeof *host);
    memcpy(host->image, image, IMAGE_MXCSR + 4);
    host->image[3] = (uint8_t)(pick(8) << 3); /* the top of x87's stack, which MMX sets to 0 */
    random_bytes(host->image + IMAGE_STACK, 128);
    random_bytes(host->image + IMAGE_XMM, 256);
    random_bytes(host->image + IMAGE_YMM, 256);
    host->image[IMAGE_PRESENT] = XCR0_ALL;
    if (upper) {
        random_bytes(host->image + upper, 512);
        host->image[IMAGE_PRESENT] |= PRESENT_ZMM;
    }
    host->eax = unit_random();
    host->ecx = unit_random();
    host->edx = unit_random();
    host->flags = 0x202 | (unit_random() & 0x8d5);
    random_bytes((uint8_t *)WINDOW_LINEAR, WINDOW_BYTES);
}

static inline bool same_stack(const struct host_state *host)
{
    bool equal = memcmp(image, host->image, 5) == 0; /* control, status, tags */
    for (unsigned i = IMAGE_STACK; i < IMAGE_XMM; i += 16)
        equal = equal && memcmp(image + i, host->image + i, 10) == 0;
    return equal;
}

static inline bool same(const struct host_state *host)
{
    const unsigned upper = host_upper_offset();
    const uint64_t *gpr = world.state->gpr;
    return same_stack(host) && memcmp(image + IMAGE_XMM, host->image + IMAGE_XMM, 256) == 0 &&
           memcmp(image + IMAGE_YMM, host->image + IMAGE_YMM, 256) == 0 &&
           memcmp(image + IMAGE_MXCSR, host->image + IMAGE_MXCSR, 4) == 0 &&
           (!upper || memcmp(image + upper, host->image + upper, 512) == 0) &&
           gpr[0] == host->eax && gpr[1] == host->ecx && gpr[2] == host->edx &&
           ((world.state->rflags ^ host->flags) & 0x8d5) == 0 &&
           world_window_equals((const void *)WINDOW_LINEAR);
}

static inline void compare_once(const struct vector_form *form)
{
    static struct host_state host;
    struct built built = build(form);
    begin(8, (const char *)built.bytes, built.length);
    random_state(&host);
    memcpy(image, host.image, IMAGE_BYTES);
    for (unsigned i = 0; i < 2; i++)
        memcpy(world_ram + world_window_gpa(i * 4096), (uint8_t *)WINDOW_LINEAR + i * 4096, 4096);
    world_ram_is_device = pick(2);
    world.features = host_features();
    world.upper_offset = host_upper_offset();
    world.state->gpr[0] = host.eax;
    world.state->gpr[1] = host.ecx;
    world.state->gpr[2] = host.edx;
    world.state->gpr[7] = WINDOW_LINEAR;
    world.state->rflags = host.flags;
    run_on_host(&built, &host);
    enum execute_result result = world_execute();
    if (result != EXECUTE_DONE || world.state->rip != CODE_LINEAR + AT + built.length ||
        !same(&host)) {
        printf("# %s, seed %llu:", form->name, (unsigned long long)unit_seed);
        for (unsigned i = 0; i < built.length; i++)
            printf(" %02x", built.bytes[i]);
        printf("\n");
        EXPECT(result, EXECUTE_DONE);
        CHECK(same(&host));
        EXPECT(world.state->rip, CODE_LINEAR + AT + built.length);
    }
}

/* Runs forms many times here and there, each time from the same random state. What the host has not is passed over; without
 * AVX, whose registers are compared too, all are. */
static inline void compare_forms(const struct vector_form *forms, size_t count)
{
    const uint64_t features = host_features();
    CHECK(host_start());
    if (!(features & EXECUTE_AVX))
        return;
    for (size_t i = 0; i < count; i++) {
        uint64_t needed = forms[i].feature;
        for (unsigned n = 0; n < 200 && (needed & ~features) == 0; n++)
            compare_once(&forms[i]);
    }
}
#define COMPARE(forms) compare_forms(forms, sizeof forms / sizeof *(forms))

#endif
