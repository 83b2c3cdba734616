/*
 * Instructions on a device's memory (a plane of the VGA of a `pc`) that the VMM leaves to the guest's own processor: each must do
 * there what it does in RAM, to all registers and to memory, wherever the operand lies; so must its faults. With a second
 * vCPU, that one reads and steps meanwhile, and must never see what stands for the device. With a command line that begins
 * with "x" it uses an instruction there that is not executed.
 */
#include "step.h"
#include "vga.h"

enum {
    NOTHING,
    AVX,
    AVX2,
    F16C,
    FMA,
    BMI1,
    BMI2,
    ADX,
    ADOX,
    SSE41,
    SSE42,
    AES,
    PCLMUL,
    SHA,
    GFNI,
    SSE4A,
    AVX512,
    XSAVEOPT,
    XSAVEC,
    FEATURES
};
static const char feature_names[FEATURES][10] = {
    "",       "AVX", "AVX2",   "F16C", "FMA",  "BMI1",  "BMI2",   "ADX",      "ADOX",  "SSE4.1",
    "SSE4.2", "AES", "PCLMUL", "SHA",  "GFNI", "SSE4A", "AVX512", "XSAVEOPT", "XSAVEC"};

#define CODE_BYTES                       32u
#define CODE(name, needs, aligned, code) ".balign 32\n" code "\n ret\n"
__asm__(".balign 32\ncase_codes:\n" CASES(CODE) ".balign 32\n");
extern const uint8_t case_codes[];

#define ROW(name, needs, aligned, code) {name, needs, aligned},
static const struct {
    char name[16];
    uint8_t needs, aligned;
} cases[] = {CASES(ROW)};
#define CASE_COUNT   (sizeof cases / sizeof *cases)

#define CMD_LINE_PTR 0x228
#define PAGE         4096ul
#define PLANE        (WINDOW + 0x9000)
#define REGION       (BEFORE + region_bytes) /* of memory, around an operand */
#define REGION_MAX   (BEFORE + AREA_BYTES)
#define BEFORE       64u
#define AREA_BYTES   2816u
#define EXPONENT     0x4034000000000000ull /* 20.0 */
#define CR4_TO_SET   0x40600ul             /* OSFXSR, OSXMMEXCPT, OSXSAVE */
#define CR0_WP       0x10000ul
#define TRAP_FLAG    0x100ul

/* What an instruction leaves behind. */
struct result {
    uint8_t area[AREA_BYTES] __attribute__((aligned(64)));
    uint64_t registers[6], flags, exception, cr2;
};

uint8_t image[AREA_BYTES] __attribute__((aligned(64), used));
static uint8_t ram[3 * PAGE] __attribute__((aligned(4096)));
static uint64_t tables[3][512] __attribute__((aligned(4096)));
static struct result expected, got;
static uint8_t expected_memory[REGION_MAX] __attribute__((aligned(8)));
static unsigned region_bytes = 192;
static bool has[FEATURES], two_vcpus;
static unsigned wrong, tried;
uint64_t saved_stack, saved_cr4, traps, trap_status;

/* The code, its operand, where the result goes, flags to begin with. */
void run_code(const uint8_t *code, void *operand, struct result *result, uint64_t flags);
__asm__(".globl run_code\n"
        "run_code:\n"
        "    push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "    mov %rsp, saved_stack(%rip)\n"
        "    mov %rdi, %r13\n"
        "    mov %rdx, %r12\n"
        "    mov %rcx, %r15\n"
        "    mov %rsi, %rdi\n"
        "    lea 1f(%rip), %rax\n"
        "    mov %rax, recover(%rip)\n"
        "    movq $-1, last_exception(%rip)\n"
        "    mov $-1, %eax\n"
        "    mov %eax, %edx\n"
        "    xrstor64 image(%rip)\n"
        "    movabs $0x8123456789abcdef, %rax\n"
        "    movabs $0xfedcba9876543210, %rbx\n"
        "    mov $0x0805, %ecx\n"
        "    mov $0x10, %edx\n"
        "    mov $9, %r8d\n"
        "    mov $10, %r9d\n"
        "    push %r15\n"
        "    popfq\n"
        "    call *%r13\n"
        "1:  pushfq\n"
        "    pop %r14\n"
        "    push $2\n"
        "    popfq\n"
        "    movq $0, recover(%rip)\n"
        "    mov saved_stack(%rip), %rsp\n"
        "    mov %rax, 2816(%r12)\n"
        "    mov %rbx, 2824(%r12)\n"
        "    mov %rcx, 2832(%r12)\n"
        "    mov %rdx, 2840(%r12)\n"
        "    mov %r8, 2848(%r12)\n"
        "    mov %r9, 2856(%r12)\n"
        "    mov %r14, 2864(%r12)\n"
        "    mov last_exception(%rip), %rax\n"
        "    mov %rax, 2872(%r12)\n"
        "    mov %cr2, %rax\n"
        "    mov %rax, 2880(%r12)\n"
        "    clts\n" /* as a case may have left it */
        "    mov saved_cr4(%rip), %rax\n"
        "    mov %rax, %cr4\n"
        "    mov $-1, %eax\n"
        "    mov %eax, %edx\n"
        "    xsave64 (%r12)\n"
        "    pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "    ret\n");

/* An instruction that the system has turned off. */
extern const uint8_t after_task_switch[], without_xsave[];
__asm__("after_task_switch:\n"
        "    mov %cr0, %rbx\n"
        "    or $8, %rbx\n"
        "    mov %rbx, %cr0\n"
        "    vaddps (%rdi), %ymm1, %ymm0\n"
        "    ret\n"
        "without_xsave:\n"
        "    mov %cr4, %rbx\n"
        "    btr $18, %rbx\n"
        "    mov %rbx, %cr4\n"
        "    vaddps (%rdi), %ymm1, %ymm0\n"
        "    ret\n");

/* Counts single steps, and keeps what DR6 said of them. */
extern const uint8_t trap_entry[];
__asm__("trap_entry:\n"
        "    push %rax\n"
        "    mov %dr6, %rax\n"
        "    and $0x400f, %eax\n"
        "    or %rax, trap_status(%rip)\n"
        "    incq traps(%rip)\n"
        "    mov $0xffff0ff0, %eax\n"
        "    mov %rax, %dr6\n"
        "    pop %rax\n"
        "    iretq\n");

/* ---- the processor ----------------------------------------------------------------------------- */

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "a"(leaf), "c"(subleaf));
}

static void set_cr0(uint64_t clear, uint64_t set)
{
    uint64_t cr0;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"((cr0 & ~clear) | set));
}

/* False: it has no XSAVE, by which results are compared. */
static bool turn_on(void)
{
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    uint32_t one[4], seven[4], extended[4], area[4];
    cpuid(1, 0, one);
    cpuid(7, 0, seven);
    cpuid(0x80000001, 0, extended);
    if (!(one[2] >> 26 & 1))
        return false;
    set_cr0(0xc, 0x22);
    __asm__ volatile("mov %%cr4, %0" : "=r"(saved_cr4));
    saved_cr4 |= CR4_TO_SET;
    __asm__ volatile("mov %0, %%cr4" : : "r"(saved_cr4));
    two_vcpus = (one[1] >> 16 & 0xff) > 1;
    cpuid(0xd, 0, area);
    __asm__ volatile("xsetbv" : : "a"(area[0] & 0xe7), "d"(0), "c"(0));
    has[NOTHING] = true;
    has[AVX] = one[2] >> 28 & 1;
    has[AVX2] = seven[1] >> 5 & 1;
    has[F16C] = one[2] >> 29 & 1;
    has[FMA] = one[2] >> 12 & 1;
    has[BMI1] = seven[1] >> 3 & 1;
    has[BMI2] = seven[1] >> 8 & 1;
    has[ADX] = seven[1] >> 19 & 1;
    has[ADOX] = has[ADX] && !(extended[2] >> 6 & 1); /* behind QEMU's, an AMD, RFLAGS is none */
    has[SSE41] = one[2] >> 19 & 1;
    has[SSE42] = one[2] >> 20 & 1;
    has[AES] = one[2] >> 25 & 1;
    has[PCLMUL] = one[2] >> 1 & 1;
    has[SHA] = seven[1] >> 29 & 1;
    has[GFNI] = seven[2] >> 8 & 1;
    has[SSE4A] = extended[2] >> 6 & 1;
    has[AVX512] = (seven[1] & avx512) == avx512 && (area[0] & 0xe0) == 0xe0;
    cpuid(0xd, 1, area);
    has[XSAVEOPT] = area[0] & 1;
    has[XSAVEC] = area[0] & 2;
    return true;
}

static void put(unsigned at, unsigned size_bytes, uint64_t value)
{
    __builtin_memcpy(image + at, &value, size_bytes);
}

/* A vector's lower half, whose elements are `first`, first + step and so on. */
static void put_indices(unsigned n, unsigned size_bytes, uint64_t first, uint64_t step)
{
    uint32_t upper[4];
    cpuid(0xd, 6, upper);
    for (unsigned i = 0; i < 64 / size_bytes; i++) {
        unsigned at = i * size_bytes;
        unsigned place = at < 16   ? 160 + n * 16 + at
                         : at < 32 ? 576 + n * 16 + at - 16
                                   : upper[1] + n * 32 + at - 32;
        if (at < 32 || has[AVX512])
            put(place, size_bytes, first + step * i);
    }
}

static void fill_image(void)
{
    uint32_t masks[4];
    cpuid(0xd, 5, masks);
    for (unsigned i = 32; i < AREA_BYTES; i++)
        image[i] = (uint8_t)(i * 37 + i / 64 * 11);
    for (unsigned i = 0; i < 8; i++)
        put(32 + 16 * i + 8, 8, 0xffff);
    put(0, 8, 0x37f);
    put(8, 8, 0);
    put(16, 8, 0);
    put(24, 8, 0x0000ffff00001f80);
    for (unsigned i = 512; i < 576; i += 8)
        put(i, 8, 0);
    put(512, 8, has[AVX512] ? 0xe7 : has[AVX] ? 7 : 3);
    put_indices(2, 4, 3, 2);
    put_indices(3, 8, 1, 1);
    put_indices(5, 4, 0x80000000, 0x60000000);
    if (has[AVX512]) {
        put(masks[1] + 8, 8, 0x5aa5c33c0ff05a65);
        put(masks[1] + 16, 8, 0xa5f00d123456789a);
    }
}

/* ---- places ------------------------------------------------------------------------------------ */

/* Four pages at 512 GiB: RAM, a device, RAM, and nothing. */
#define MIXED (1ul << 39)

static void map_mixed(void)
{
    enum { PRESENT_WRITABLE = 3 };
    uint64_t *top;
    __asm__ volatile("mov %%cr3, %0" : "=r"(top));
    top[1] = (uint64_t)tables[0] | PRESENT_WRITABLE;
    tables[0][0] = (uint64_t)tables[1] | PRESENT_WRITABLE;
    tables[1][0] = (uint64_t)tables[2] | PRESENT_WRITABLE;
    tables[2][0] = (uint64_t)(ram + PAGE) | PRESENT_WRITABLE;
    tables[2][1] = (PLANE + PAGE) | PRESENT_WRITABLE;
    tables[2][2] = (uint64_t)(ram + 2 * PAGE) | PRESENT_WRITABLE;
    tables[2][3] = PLANE | PRESENT_WRITABLE;
    __asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
}

#include "step_area.h"

/* Numbers of all kinds, small ones among them; 64 bytes behind the operand what MXCSR takes, and 20.0. */
static uint64_t word_at(unsigned i)
{
    if (area_case)
        return area_word(8 * i - BEFORE);
    if (i == (BEFORE + 64) / 8)
        return 0x1fa0;
    return i % 5 == 2 ? EXPONENT + i : i * 0x0123456789abcdefull ^ 0x3f800000;
}

static void fill(uint8_t *operand)
{
    for (unsigned i = 0; i < REGION / 8; i++)
        *(volatile uint64_t *)(operand - BEFORE + 8 * i) = word_at(i);
}

static bool memory_is(const uint8_t *operand, const uint8_t *bytes)
{
    for (unsigned i = 0; i < REGION / 8; i++)
        if (*(const volatile uint64_t *)(operand - BEFORE + 8 * i) !=
            ((const uint64_t *)(const void *)bytes)[i])
            return false;
    return true;
}

/* x87 notes where its operand was: that differs. */
static bool same_results(void)
{
    const uint8_t *a = (const uint8_t *)&expected, *b = (const uint8_t *)&got;
    for (unsigned i = 0; i < __builtin_offsetof(struct result, cr2); i++)
        if (a[i] != b[i] && (i < 8 || i >= 24))
            return false;
    return true;
}

static void complain(const char *name, const char *what)
{
    say("STEP ");
    say(name);
    say(" is wrong in ");
    say(what);
    say(", exceptions ");
    say_number(expected.exception + 1);
    say(" ");
    say_number(got.exception + 1);
    say("\n");
    wrong++;
}

/* In RAM, at an address with the same low bits; what is found there. */
static void expect(const uint8_t *code, unsigned offset, uint64_t flags)
{
    uint8_t *operand = ram + offset;
    fill(operand);
    run_code(code, operand, &expected, flags);
    for (unsigned i = 0; i < REGION; i++)
        expected_memory[i] = *(operand - BEFORE + i);
}

static void compare(const char *name, const uint8_t *code, uint8_t *operand, const char *place)
{
    fill(operand);
    run_code(code, operand, &got, 2);
    tried++;
    if (!same_results())
        complain(name, place);
    else if (!memory_is(operand, expected_memory))
        complain(name, place);
}

#include "step_spread.h"

/* XSAVE areas lie at multiples of 64, and may reach into a second page. */
static void try_area(unsigned n)
{
    const uint8_t *code = area_codes + n * CODE_BYTES;
    area_case = &area_cases[n];
    region_bytes = AREA_BYTES;
    expect(code, 0x140, 2);
    compare(area_case->name, code, (uint8_t *)(AREA_PLANE + 0x140), "a page");
    expect(code, PAGE - SPLIT, 2);
    compare(area_case->name, code, (uint8_t *)(AREA_PLANE + PAGE - SPLIT), "two pages");
    compare(area_case->name, code, (uint8_t *)(MIXED + PAGE - SPLIT), "RAM and device");
    compare(area_case->name, code, (uint8_t *)(MIXED + 2 * PAGE - SPLIT), "device and RAM");
    area_case = 0;
    region_bytes = 192;
}

static void try_case(unsigned n)
{
    const uint8_t *code = case_codes + n * CODE_BYTES;
    expect(code, 0x140, 2);
    compare(cases[n].name, code, (uint8_t *)(PLANE + 0x140), "a page");
    if (cases[n].aligned)
        return;
    expect(code, PAGE - 3, 2);
    compare(cases[n].name, code, (uint8_t *)(PLANE + PAGE - 3), "two pages");
    compare(cases[n].name, code, (uint8_t *)(MIXED + PAGE - 3), "RAM and device");
    compare(cases[n].name, code, (uint8_t *)(MIXED + 2 * PAGE - 3), "device and RAM");
}

/* ---- faults ------------------------------------------------------------------------------------ */

/* Which case has this name. */
static const uint8_t *code_of(const char *name)
{
    for (unsigned n = 0; n < CASE_COUNT; n++) {
        unsigned i = 0;
        while (name[i] && cases[n].name[i] == name[i])
            i++;
        if (name[i] == cases[n].name[i])
            return case_codes + n * CODE_BYTES;
    }
    return case_codes;
}

/* The same exception as in RAM; nothing has changed. */
static void try_fault(const uint8_t *code, const char *what)
{
    expect(code, 0x140, 2);
    compare("a fault", code, (uint8_t *)(PLANE + 0x140), what);
    say("STEP fault ");
    say(what);
    say(": exception ");
    say_number(got.exception + 1);
    say("\n");
}

static void expect_page_fault(const char *name, uint8_t *operand, uint64_t cr2)
{
    run_code(code_of(name), operand, &got, 2);
    tried++;
    if (got.exception != 14 || got.cr2 / PAGE != cr2 / PAGE) /* which byte it is differs */
        complain(name, "a page fault");
}

static void try_faults(void)
{
    put(24, 4, 0x0f80); /* what is not exact is not masked any more */
    try_fault(code_of("cvttsd2si"), "not exact");
    put(24, 4, 0x0000);
    try_fault(code_of(has[AVX] ? "vdivpd" : "cvtpi2ps"), "all unmasked");
    put(24, 4, 0x1f80);
    if (has[AVX]) {
        try_fault(after_task_switch, "TS");
        try_fault(without_xsave, "no OSXSAVE");
    }
    expect_page_fault("fnsave", (uint8_t *)(MIXED + 4 * PAGE - 20), MIXED + 4 * PAGE);
    expect_page_fault("frstor", (uint8_t *)(MIXED + 4 * PAGE - 20), MIXED + 4 * PAGE);
    tables[2][1] &= ~2ul;
    set_cr0(0, CR0_WP);
    __asm__ volatile("invlpg (%0)" : : "r"(MIXED + PAGE) : "memory");
    expect_page_fault("fnsave", (uint8_t *)(MIXED + PAGE + 64), MIXED + PAGE + 64);
    tables[2][1] |= 2;
}

/* A guest that steps itself is trapped as often as in RAM. */
static void try_trap(const char *name)
{
    const uint8_t *code = code_of(name);
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) table;
    __asm__ volatile("sidt %0" : "=m"(table));
    uint16_t *gate = (uint16_t *)(table.base + 16);
    uint64_t entry = (uint64_t)trap_entry, in_ram, status;
    gate[0] = (uint16_t)entry, gate[3] = (uint16_t)(entry >> 16);
    traps = trap_status = 0;
    expect(code, 0x140, 2 | TRAP_FLAG);
    in_ram = traps, status = trap_status;
    traps = trap_status = 0;
    fill((uint8_t *)(PLANE + 0x140));
    run_code(code, (uint8_t *)(PLANE + 0x140), &got, 2 | TRAP_FLAG);
    tried++;
    if (traps != in_ram || trap_status != status || !same_results()) {
        complain(name, "single steps");
        say_number(in_ram);
        say(" ");
        say_number(traps);
        say(" status ");
        say_hex(status);
        say(" ");
        say_hex(trap_status);
        say("\n");
    }
}

/* ---- the second vCPU --------------------------------------------------------------------------- */

enum { CODE_AT = 0x8000, SHARED = 0x9000, ICR = 0x830, INIT = 0x4500, STARTUP = 0x4600 };
enum { MARK_AT = 0x9f00, MARK = 0x5a, STEPS_BESIDE = 1000 };

struct shared {
    volatile uint32_t rounds, stop, seen_scratch, environments_wrong, stopped;
};

/* In real mode: reads a byte of the page that the first one's operands are in, and has its own processor store x87's
 * environment in a further page. */
extern const uint8_t second_start[], second_end[];
__asm__("    .code16\n"
        "second_start:\n"
        "    cli\n"
        "    xor %ax, %ax\n"
        "    mov %ax, %ds\n"
        "    mov %ax, %ss\n"
        "    mov $0x7000, %sp\n"
        "    mov $0xa000, %ax\n"
        "    mov %ax, %es\n"
        "    fninit\n"
        "1:  .rept 16\n"
        "    cmpb $0x5a, %es:0x9f00\n"
        "    je 2f\n"
        "    incl 0x9008\n"
        "2:\n"
        "    .endr\n"
        "    fnstenv %es:0xd000\n"
        "    cmpw $0x37f, %es:0xd000\n"
        "    je 2f\n"
        "    incl 0x900c\n"
        "2:  incl 0x9000\n"
        "    cmpl $0, 0x9004\n"
        "    je 1b\n"
        "    incl 0x9010\n"
        "2:  hlt\n"
        "    jmp 2b\n"
        "second_end:\n"
        "    .code64\n");

static bool start_second(struct shared *shared)
{
    if (!two_vcpus || !apic_enable())
        return false;
    *shared = (struct shared){0};
    *(volatile uint8_t *)(WINDOW + MARK_AT) = MARK;
    for (const uint8_t *from = second_start; from < second_end; from++)
        write_byte(CODE_AT + (uint64_t)(from - second_start), *from);
    write_msr(ICR, 1ull << 32 | INIT);
    write_msr(ICR, 1ull << 32 | STARTUP | CODE_AT / PAGE);
    while (!shared->rounds)
        __asm__ volatile("pause");
    return true;
}

/* What its steps may have seen is seldom: so there are many more of ours, on the page that it reads. */
static void stop_second(struct shared *shared)
{
    for (unsigned i = 0; i < STEPS_BESIDE; i++)
        run_code(code_of("cvtsi2sd"), (uint8_t *)(PLANE + 0x140), &got, 2);
    shared->stop = 1;
    while (!shared->stopped)
        __asm__ volatile("pause");
    say("STEP second vCPU: scratch seen ");
    say_number(shared->seen_scratch);
    say(" environments wrong ");
    say_number(shared->environments_wrong);
    say("\n");
}

/* ---- the whole --------------------------------------------------------------------------------- */

static void try_all(void)
{
    for (unsigned f = 0; f < FEATURES; f++) {
        if (has[f])
            continue;
        say("STEP without ");
        say(feature_names[f]);
        say("\n");
    }
    for (unsigned n = 0; n < CASE_COUNT; n++)
        if (has[cases[n].needs])
            try_case(n);
    for (unsigned n = 0; n < AREA_CASE_COUNT; n++)
        if (has[area_cases[n].needs])
            try_area(n);
    map_spread();
    if (has[AVX2])
        try_spread("vpgatherdd", gather_spread);
    if (has[AVX512])
        try_spread("vpscatterdd", scatter_spread);
    try_faults();
    if (has[AVX])
        try_trap("vaddps");
    try_trap("fnsave");
    try_trap("cvtsi2sd");
}

void tiny_main(const uint8_t *boot_params)
{
    struct shared *shared = (struct shared *)(uintptr_t)SHARED;
    const uint8_t *command_line =
        (const uint8_t *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    say("SEPTUM-GUEST-UP step\n");
    if (!turn_on()) {
        say("STEP needs XSAVE\n");
        return;
    }
    fill_image();
    map_mixed();
    into_planes(0x04);
    set(GRAPHICS, 4, 0x02); /* the plane that is read */
    if (command_line[0] == 'x') {
        __asm__ volatile(".byte 0x66; jmp *(%0)" : : "r"(PLANE) : "memory");
        say("STEP: a jump of 16 bits was executed\n");
    }
    bool second = start_second(shared);
    try_all();
    if (second)
        stop_second(shared);
    say("STEP tried ");
    say_number(tried);
    say(" wrong ");
    say_number(wrong);
    say("\n");
}
