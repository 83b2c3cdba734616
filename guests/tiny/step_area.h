/*
 * XSAVE and its kin: name, what CPUID must show, the header of the area in front of it (XSTATE_BV and XCOMP_BV), which parts are
 * asked for, and the instruction. A header that is refused, and an area at no multiple of 64, must raise what they do in RAM.
 */
#ifndef GUESTS_TINY_STEP_AREA_H
#define GUESTS_TINY_STEP_AREA_H

#define COMPACTED  (1ull << 63)
#define AREA_PLANE (WINDOW + 0x2000) /* where no second vCPU looks */
#define SPLIT      704u              /* of an area, the bytes in its first page */

#define AREAS(C)                                                              \
    C("xsave64", NOTHING, 0x100, 0, "0xe7", "xsave64 (%rdi)")                 \
    C("xsave", NOTHING, 0, 0, "0xe7", "xsave (%rdi)")                         \
    C("xsave sse", NOTHING, 5, 0, "2", "xsave64 (%rdi)")                      \
    C("xsave avx", NOTHING, 1, 0, "6", "xsave64 (%rdi)")                      \
    C("xsave odd", NOTHING, 0, 0, "-1", "xsave64 16(%rdi)")                   \
    C("xsaveopt64", XSAVEOPT, 0, 0, "0xe7", "xsaveopt64 (%rdi)")              \
    C("xsaveopt avx", XSAVEOPT, 0, 0, "0x26", "xsaveopt (%rdi)")              \
    C("xsavec64", XSAVEC, 0, 0, "0xe7", "xsavec64 (%rdi)")                    \
    C("xsavec some", XSAVEC, 0, 0, "0xc6", "xsavec (%rdi)")                   \
    C("xrstor64", NOTHING, 0xe7, 0, "-1", "xrstor64 (%rdi)")                  \
    C("xrstor", NOTHING, 0xe7, 0, "-1", "xrstor (%rdi)")                      \
    C("xrstor some", NOTHING, 0xe7, 0, "6", "xrstor64 (%rdi)")                \
    C("xrstor init", NOTHING, 3, 0, "0xe6", "xrstor64 (%rdi)")                \
    C("xrstor none", NOTHING, 0x300000000, 0, "0xe7", "xrstor64 (%rdi)")      \
    C("xrstor wrong", NOTHING, 3, 2, "3", "xrstor64 (%rdi)")                  \
    C("xrstor comp", XSAVEC, 0xe7, COMPACTED | 0xe7, "-1", "xrstor64 (%rdi)") \
    C("xrstor part", XSAVEC, 0x26, COMPACTED | 0x26, "-1", "xrstor64 (%rdi)") \
    C("fxsave64", NOTHING, 0, 0, "0", "fxsave64 (%rdi)")                      \
    C("fxsave", NOTHING, 0, 0, "0", "fxsave (%rdi)")                          \
    C("fxrstor64", NOTHING, 0, 0, "0", "fxrstor64 (%rdi)")

#define AREA_CODE(name, needs, parts, components, mask, code) \
    ".balign 32\n mov $" mask ", %eax\n cltd\n " code "\n ret\n"
__asm__(".balign 32\narea_codes:\n" AREAS(AREA_CODE) ".balign 32\n");
extern const uint8_t area_codes[];

#define AREA_ROW(name, needs, parts, components, mask, code) {name, needs, parts, components},
struct area_case {
    char name[16];
    uint8_t needs;
    uint64_t parts, components;
};
static const struct area_case area_cases[] = {AREAS(AREA_ROW)};
#define AREA_CASE_COUNT (sizeof area_cases / sizeof *area_cases)

static const struct area_case *area_case; /* that is tried; else 0 */

/* What lies in memory in front of the instruction, so many bytes behind the area's start: other registers than there are, in
 * the standard format. In the other one they are taken for something else, which is as good. Where QEMU 7.2 differs from the manual, nothing is
 * asked: MXCSR with AVX alone, what x87 leaves free, and its last opcode. */
static uint64_t area_word(unsigned at)
{
    const uint64_t every = has[AVX512] ? ~0ull : ~0xe0ull;
    uint64_t word;
    if (at >= AREA_BYTES) /* or in front of it */
        return at * 0x0123456789abcdefull;
    __builtin_memcpy(&word, image + at, sizeof word);
    if (at == 24)
        return 0x0000ffff00001fa0;
    if (at == 512)
        return area_case->parts & every;
    if (at == 520)
        return area_case->components & every;
    return at < 32 || (at >= 512 && at < 576) || (at < 160 && at % 16) ? word : ~word;
}

#endif
