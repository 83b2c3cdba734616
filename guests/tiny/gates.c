/*
 * Far branches, gates and returns whose pointer, tables or stacks are on a device's memory (a plane of the VGA of a `pc`): a trip by
 * IRET to level 3, by a call gate to level 0, back by RET far, and home by a second gate. First all of it is in RAM, then
 * each part on the device, then all.
 */
#include "vga.h"

enum {
    CODE = 0x10, /* as the loader has it, which the IDT's gates name */
    USER_CODE_32 = 0x20,
    USER_DATA = 0x28,
    USER_CODE = 0x30,
    TASK = 0x38,
    GATE = 0x48,
    GATE_HOME = 0x58,
    GDT_WORDS = 13,
    USER_LEVEL = 3,
    ALL = 31, /* parts: stack of the return, of level 3, of the gate, pointers, tables */
    PART_BYTES = 512
};

/* RSP at a gate's code, and what it found there: RIP, CS, RSP, SS. */
struct visit {
    uint64_t pointer, words[4];
};

struct visit visits[2];
uint64_t saved_stack;
static uint8_t ram[5 * PART_BYTES] __attribute__((aligned(4096)));
static unsigned tried, wrong;

/* To where `frame` leads, with RDI = pointers. */
void depart(void *frame, void *pointers);
/* CALL by `pointers` on another stack. */
void call_on(void *stack, void *pointers);
extern const uint8_t user_code[], gate_code[], gate_home[];
__asm__("depart:\n"
        "    push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "    mov %rsp, saved_stack(%rip)\n"
        "    mov $0x2b, %eax\n"
        "    mov %eax, %ds\n mov %eax, %es\n"
        "    mov %rdi, %rsp\n"
        "    mov %rsi, %rdi\n"
        "    iretq\n"
        "user_code:\n"         /* in 32-bit code the same */
        "    lcall *(%rdi)\n"  /* two bytes */
        "    lcall *8(%rdi)\n" /* three */
        "gate_code:\n"
        "    mov %rsp, visits(%rip)\n"
        "    mov (%rsp), %rax\n mov %rax, visits+8(%rip)\n"
        "    mov 8(%rsp), %rax\n mov %rax, visits+16(%rip)\n"
        "    mov 16(%rsp), %rax\n mov %rax, visits+24(%rip)\n"
        "    mov 24(%rsp), %rax\n mov %rax, visits+32(%rip)\n"
        "    lretq\n"
        "gate_home:\n"
        "    mov %rsp, visits+40(%rip)\n"
        "    mov (%rsp), %rax\n mov %rax, visits+48(%rip)\n"
        "    mov 8(%rsp), %rax\n mov %rax, visits+56(%rip)\n"
        "    mov 16(%rsp), %rax\n mov %rax, visits+64(%rip)\n"
        "    mov 24(%rsp), %rax\n mov %rax, visits+72(%rip)\n"
        "    mov saved_stack(%rip), %rsp\n"
        "    mov $0x18, %eax\n"
        "    mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n"
        "    pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "    ret\n"
        "call_on:\n"
        "    push %rbx\n"
        "    mov %rsp, %rbx\n"
        "    mov %rdi, %rsp\n"
        "    lcall *(%rsi)\n"
        "    mov %rbx, %rsp\n"
        "    pop %rbx\n"
        "    ret\n");

/* ---- the parts ----------------------------------------------------------------------------------- */

static uint64_t *part(unsigned which, unsigned n)
{
    return (uint64_t *)(which >> n & 1 ? WINDOW + n * PART_BYTES
                                       : (unsigned long)(ram + n * PART_BYTES));
}

/* The end of a stack. */
static uint64_t *stack_of(unsigned which, unsigned n)
{
    return part(which, n) + PART_BYTES / 8;
}

static void put(uint64_t *at, uint64_t value)
{
    *(volatile uint64_t *)at = value;
}

static void put_gate(uint64_t *at, const uint8_t *code)
{
    uint64_t to = (uint64_t)code;
    put(at, (to & 0xffff) | (uint64_t)CODE << 16 | 0xec0000000000 | (to & 0xffff0000) << 32);
    put(at + 1, to >> 32);
}

/* Descriptors, and behind them the task's segment. */
static void load_tables(unsigned which)
{
    static const uint64_t plain[] = {0,
                                     0,
                                     0x00af9b000000ffff,
                                     0x00cf93000000ffff,
                                     0x00cffb000000ffff,
                                     0x00cff3000000ffff,
                                     0x00affb000000ffff};
    uint64_t *gdt = part(which, 4), *task = gdt + GDT_WORDS, base = (uint64_t)task;
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) table = {GDT_WORDS * 8 - 1, (uint64_t)gdt};
    for (unsigned i = 0; i < sizeof plain / sizeof *plain; i++)
        put(gdt + i, plain[i]);
    put(gdt + TASK / 8, 103 | (base & 0xffffff) << 16 | 0x890000000000 | (base >> 24 & 0xff) << 56);
    put(gdt + TASK / 8 + 1, base >> 32);
    put_gate(gdt + GATE / 8, gate_code);
    put_gate(gdt + GATE_HOME / 8, gate_home);
    for (unsigned i = 0; i < PART_BYTES / 8 - GDT_WORDS; i++)
        put(task + i, 0);
    uint64_t inner = (uint64_t)stack_of(which, 2);
    *(volatile uint32_t *)((uint8_t *)task + 4) = (uint32_t)inner;
    *(volatile uint32_t *)((uint8_t *)task + 8) = (uint32_t)(inner >> 32);
    __asm__ volatile("lgdt %0\n ltr %w1" : : "m"(table), "r"(TASK) : "memory");
}

/* Level 3 may use all memory. */
static void open_memory(void)
{
    enum { USER = 4, LARGE = 0x80, ENTRIES = 512 };
    const uint64_t address = 0xffffffffff000;
    uint64_t *top, *table;
    __asm__ volatile("mov %%cr3, %0" : "=r"(top));
    top[0] |= USER;
    table = (uint64_t *)(top[0] & address);
    for (unsigned i = 0; i < 4; i++) {
        table[i] |= USER;
        for (unsigned n = 0; !(table[i] & LARGE) && n < ENTRIES; n++)
            ((uint64_t *)(table[i] & address))[n] |= USER;
    }
    __asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
}

/* ---- trips --------------------------------------------------------------------------------------- */

static void complain(const char *what, unsigned which)
{
    say("GATES wrong: ");
    say(what);
    say(", device has ");
    say_number(which);
    say("\n");
    wrong++;
}

static bool visit_is(const struct visit *visit, const uint64_t *stack, const uint8_t *rip,
                     unsigned code, const uint64_t *user)
{
    return visit->pointer == (uint64_t)(stack - 4) && visit->words[0] == (uint64_t)rip &&
           visit->words[1] == code && visit->words[2] == (uint64_t)user &&
           visit->words[3] == (USER_DATA | USER_LEVEL);
}

static void try_trip(unsigned which, unsigned code)
{
    uint64_t *frame = stack_of(which, 0) - 5, *user = stack_of(which, 1) - 2;
    uint64_t *inner = stack_of(which, 2), *pointers = part(which, 3);
    load_tables(which);
    code |= USER_LEVEL;
    put(frame, (uint64_t)user_code);
    put(frame + 1, code);
    put(frame + 2, 2);
    put(frame + 3, (uint64_t)user);
    put(frame + 4, USER_DATA | USER_LEVEL);
    put(pointers, (uint64_t)(GATE | USER_LEVEL) << 32);
    put(pointers + 1, (uint64_t)(GATE_HOME | USER_LEVEL) << 32);
    visits[0] = visits[1] = (struct visit){0};
    depart(frame, pointers);
    tried++;
    if (!visit_is(&visits[0], inner, user_code + 2, code, user))
        complain("the first gate", which);
    if (!visit_is(&visits[1], inner, user_code + 5, code, user))
        complain("the second gate", which);
}

/* A gate to the level where one is, and back. */
static void try_call(unsigned which)
{
    uint64_t *stack = stack_of(which, 0) - 2, *pointers = part(which, 3);
    load_tables(which);
    put(pointers, (uint64_t)GATE << 32);
    call_on(stack, pointers);
    tried++;
    if (visits[0].pointer != (uint64_t)(stack - 2) || visits[0].words[1] != CODE)
        complain("a gate to the same level", which);
}

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP gates\n");
    into_planes(0x04);
    set(GRAPHICS, 4, 0x02); /* the plane that is read */
    open_memory();
    for (unsigned which = 0; which <= ALL; which++) {
        try_trip(which, USER_CODE);
        try_trip(which, USER_CODE_32);
        try_call(which);
    }
    say("GATES tried ");
    say_number(tried);
    say(" wrong ");
    say_number(wrong);
    say("\n");
}
