/*
 * Switches tasks by hardware in each way that there is (SDM 3A, 8.3), and says what each task finds: by CALL and IRET, by
 * JMP, by gates for INT n, for exceptions with and without an error code and for interrupts, to 16-bit and to virtual-8086
 * tasks, to other page tables, and to tasks that are wrong.
 */
#include "../../lib/port.h"

#include <stdbool.h>
#include <stdint.h>

#define ENTRIES     16u
#define STACK_BYTES 4096u
#define PAGES_4M    4u
#define WINDOW      0x800000u /* reads 0xa in the first address space, and 0xb in the second */
#define NOWHERE     0x40000000u
#define PLAIN       0x7000u /* where virtual-8086 code lies */
#define POWER       0x600
#define POWER_OFF   0x34
#define VECTORS     0x81u
#define NT          (1u << 14)
#define VM          (1u << 17)
#define IOPL_3      (3u << 12)
#define CR0_TS      8u
#define APIC_BASE   0x1bu
#define X2APIC      0xc00u

enum selector {
    CODE = 0x08,
    DATA = 0x10,
    MAIN = 0x18,
    OTHER = 0x20,
    TRAP = 0x28,
    FAULT = 0x30,
    NARROW = 0x38,
    NARROW_CODE = 0x40,
    PLAIN_TASK = 0x48,
    BROKEN = 0x50,
    LOCAL = 0x58,
    SHORT = 0x60,
};

struct task {
    uint32_t link, stacks[6], cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt, trap;
};
struct narrow_task {
    uint16_t link, stacks[6], ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};
struct table {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

void tasks(void);
void fault_taken(void);
extern void fault_entry(void);
extern const uint8_t narrow_code[], plain_code[], plain_code_end[];
uint32_t fault_error;
uint16_t narrow_ax, narrow_sp;

static uint64_t gdt[ENTRIES], idt[VECTORS], local[2];
static uint32_t first_pages[1024] __attribute__((aligned(4096)));
static uint32_t second_pages[1024] __attribute__((aligned(4096)));
static struct task first, other, trap, fault, plain, broken;
static struct narrow_task narrow;
static uint8_t stacks[5][STACK_BYTES] __attribute__((aligned(16)));
static uint32_t resume, trap_link;
static volatile uint32_t trap_count;
static bool interrupts_on;

/* ---- What is said ---------------------------------------------------------------------------- */

static void say(const char *text)
{
    for (; *text; text++)
        port_write8(0x3f8, (uint8_t)*text);
}

static void say_hex(const char *what, uint32_t value)
{
    bool begun = false;
    say(what);
    say(" 0x");
    for (int shift = 28; shift >= 0; shift -= 4) {
        unsigned digit = value >> shift & 15;
        begun |= digit || shift == 0;
        if (begun)
            port_write8(0x3f8, (uint8_t) "0123456789abcdef"[digit]);
    }
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static uint64_t segment(uint32_t base, uint32_t limit, uint64_t attributes)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (attributes & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (attributes >> 8 & 15) << 52 |
           (uint64_t)(base >> 24) << 56;
}

static uint64_t task_gate(enum selector task)
{
    return (uint64_t)task << 16 | 0xe5ull << 40; /* for programs too */
}

static void set_task(enum selector selector, struct task *task, void (*entry)(void), unsigned stack)
{
    gdt[selector / 8] = segment((uint32_t)task, sizeof *task - 1, 0x89);
    task->cr3 = (uint32_t)first_pages;
    task->eip = (uint32_t)entry;
    task->eflags = 2;
    task->esp = (uint32_t)stacks[stack] + STACK_BYTES;
    task->cs = CODE;
    task->es = task->ss = task->ds = DATA;
}

static unsigned busy(enum selector selector)
{
    return gdt[selector / 8] >> 41 & 1;
}

static uint32_t flags(void)
{
    uint32_t value;
    __asm__ volatile("pushf; pop %0" : "=r"(value));
    return value;
}

static uint32_t control_0(void)
{
    uint32_t value;
    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static uint16_t own_task(void)
{
    uint16_t value;
    __asm__ volatile("str %0" : "=r"(value));
    return value;
}

static void write_msr(uint32_t index, uint32_t low)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"(low), "d"(0));
}

/* ---- The tasks ------------------------------------------------------------------------------- */

static uint32_t debug_control(void)
{
    uint32_t value;
    __asm__ volatile("mov %%dr7, %0" : "=r"(value));
    return value;
}

/* By CALL it finds its caller's number and goes back by IRET; by JMP, without one, by JMP. */
static void other_entry(void)
{
    for (;;) {
        uint16_t fs;
        __asm__ volatile("mov %%fs, %0" : "=r"(fs));
        say_hex("TASKS other: task", own_task());
        say_hex(" nested", (flags() & NT) != 0);
        say_hex(" link", flags() & NT ? other.link & 0xffff : 0);
        say_hex(" switched", (control_0() & CR0_TS) != 0);
        say_hex(" window", *(volatile uint32_t *)WINDOW);
        say_hex(" local", debug_control() & 0x155);
        say_hex(" fs", fs);
        say_hex(" busy", busy(MAIN) << 4 | busy(OTHER));
        say("\n");
        if (flags() & NT)
            __asm__ volatile("iret" : : : "memory");
        else
            __asm__ volatile("ljmp %0, $0" : : "i"(MAIN) : "memory");
    }
}

static void trap_entry(void)
{
    for (;;) {
        trap_count++;
        trap_link = trap.link & 0xffff;
        if (trap_link == PLAIN_TASK) {
            trap.link = MAIN;
            gdt[PLAIN_TASK / 8] &= ~(2ull << 40);
        }
        if (interrupts_on)
            write_msr(0x80b, 0); /* the end of the interrupt */
        __asm__ volatile("iret" : : : "memory");
    }
}

void fault_taken(void)
{
    uint32_t address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    say_hex("TASKS fault: error", fault_error);
    say_hex(" in", fault.link & 0xffff);
    say_hex(" address", address);
    say_hex(" stack", (uint32_t)stacks[2] + STACK_BYTES - fault.esp);
    say("\n");
    if ((fault.link & 0xffff) != MAIN) {
        gdt[(fault.link & 0xffff) / 8] &= ~(2ull << 40);
        fault.link = MAIN;
    } else {
        first.eip = resume;
    }
}

/* ---- Trying ---------------------------------------------------------------------------------- */

/* An instruction that may fault; then it goes on behind it. */
#define TRY(code, ...)                              \
    __asm__ volatile("movl $1f, %0\n\t" code "\n1:" \
                     : "=m"(resume)                 \
                     : __VA_ARGS__                  \
                     : "memory", "ea"               \
                                 "x")
#define CALL(selector) TRY("lcall %1, $0", "i"(selector))

static void say_tasks(const char *what)
{
    say("TASKS ");
    say_hex(what, own_task());
    say_hex(" nested", (flags() & NT) != 0);
    say_hex(" busy", busy(MAIN) << 4 | busy(OTHER));
    say("\n");
}

static void by_instructions(void)
{
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(NOWHERE), "r"(0x401 | 0x200));
    other.fs = 4; /* of the local table */
    other.ldt = LOCAL;
    other.cr3 = (uint32_t)second_pages;
    CALL(OTHER);
    say_tasks("back by IRET: task");
    CALL(OTHER); /* behind its IRET */
    say_tasks("again: task");
    TRY("ljmp %1, $0", "i"(OTHER));
    say_tasks("back by JMP: task");
    TRY("int $0x40");
    say_hex("TASKS by INT: link", trap_link);
    say_hex(" count", trap_count);
    for (unsigned i = 0; i < 100; i++)
        TRY("int $0x40");
    say_hex(" more", trap_count);
    say_hex(" window", *(volatile uint32_t *)WINDOW);
    say("\n");
}

static void by_events(void)
{
    uint32_t low, high;
    TRY("movl %1, %%eax", "m"(*(volatile uint32_t *)NOWHERE));
    TRY("movl %%eax, %1", "m"(*(volatile uint32_t *)(NOWHERE + 0x1234)));
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(APIC_BASE));
    write_msr(APIC_BASE, low | X2APIC);
    write_msr(0x80f, 0x1ff);
    trap_count = 0;
    interrupts_on = true;
    for (unsigned i = 0; i < 10; i++) {
        write_msr(0x83f, 0x50); /* to itself */
        __asm__ volatile("sti" : : : "memory");
        while (trap_count == i)
            __asm__ volatile("pause");
        __asm__ volatile("cli" : : : "memory");
    }
    interrupts_on = false;
    say_hex("TASKS interrupts", trap_count);
    say_hex(" link", trap_link);
    say("\n");
}

static void other_modes(void)
{
    narrow = (struct narrow_task){.flags = 2,
                                  .ax = 0x1234,
                                  .sp = 0x4321,
                                  .cs = NARROW_CODE,
                                  .es = DATA,
                                  .ss = DATA,
                                  .ds = DATA};
    CALL(NARROW);
    say_hex("TASKS narrow: ax", narrow_ax);
    say_hex(" sp", narrow_sp);
    say_hex(" link", narrow.link);
    say_hex(" behind", narrow.ip);
    say("\n");
    for (const uint8_t *from = plain_code; from < plain_code_end; from++)
        ((uint8_t *)PLAIN)[from - plain_code] = *from;
    plain.eflags = VM | IOPL_3 | 2;
    plain.eip = 0;
    plain.cs = PLAIN / 16;
    plain.ss = plain.ds = plain.es = plain.fs = plain.gs = 0x123;
    plain.esp = 0x800;
    trap_link = 0;
    CALL(PLAIN_TASK);
    say_hex("TASKS plain: link", trap_link);
    say_hex(" bx", plain.ebx);
    say_hex(" eip", plain.eip);
    say_hex(" flags", plain.eflags & (VM | IOPL_3 | NT));
    say_hex(" gs", plain.gs & 0xffff);
    say("\n");
}

static void wrong_ones(void)
{
    CALL(SHORT); /* its limit is too small */
    gdt[SHORT / 8] = segment((uint32_t)&broken, sizeof broken - 1, 0x09);
    CALL(SHORT); /* it is absent */
    CALL(MAIN);  /* it is busy */
    set_task(BROKEN, &broken, other_entry, 4);
    broken.ss = CODE;
    CALL(BROKEN); /* its stack is code: a fault of its own */
    set_task(BROKEN, &broken, other_entry, 4);
    broken.ds = 0x7000;
    CALL(BROKEN);
    set_task(BROKEN, &broken, other_entry, 4);
    broken.ldt = DATA;
    CALL(BROKEN);
}

static void set_tables(void)
{
    const struct table gdtr = {sizeof gdt - 1, (uint32_t)gdt},
                       idtr = {sizeof idt - 1, (uint32_t)idt};
    gdt[CODE / 8] = segment(0, 0xfffff, 0xc9b);
    gdt[DATA / 8] = segment(0, 0xfffff, 0xc93);
    gdt[NARROW / 8] = segment((uint32_t)&narrow, sizeof narrow - 1, 0x81);
    gdt[NARROW_CODE / 8] = segment((uint32_t)narrow_code, 0xffff, 0x9b);
    gdt[SHORT / 8] = segment((uint32_t)&broken, 0x66, 0x89);
    gdt[LOCAL / 8] = segment((uint32_t)local, sizeof local - 1, 0x82);
    local[0] = segment(0, 0xfff, 0x93);
    set_task(MAIN, &first, 0, 0);
    set_task(OTHER, &other, other_entry, 0);
    set_task(TRAP, &trap, trap_entry, 1);
    set_task(FAULT, &fault, fault_entry, 2);
    set_task(PLAIN_TASK, &plain, 0, 3);
    for (unsigned i = 0; i < VECTORS; i++)
        idt[i] = task_gate(i == 8 || (i >= 10 && i <= 14) || i == 17 ? FAULT : TRAP);
    __asm__ volatile("lgdt %0; lidt %1\n\t"
                     "ljmp %2, $1f\n"
                     "1: mov %3, %%ds; mov %3, %%es; mov %3, %%ss; mov %4, %%fs; mov %4, %%gs\n\t"
                     "ltr %w5"
                     :
                     : "m"(gdtr), "m"(idtr), "i"(CODE), "r"(DATA), "r"(0), "r"(MAIN)
                     : "memory");
}

static void set_pages(void)
{
    for (unsigned i = 0; i < PAGES_4M; i++)
        first_pages[i] = second_pages[i] = i << 22 | 0x87; /* for virtual-8086 code too */
    second_pages[WINDOW >> 22] = (WINDOW + 0x400000) | 0x87;
    *(volatile uint32_t *)WINDOW = 0xa;
    *(volatile uint32_t *)(WINDOW + 0x400000) = 0xb;
    __asm__ volatile("mov %%cr4, %%eax; or $16, %%eax; mov %%eax, %%cr4\n\t"
                     "mov %0, %%cr3\n\t"
                     "mov %%cr0, %%eax; or $0x80000000, %%eax; mov %%eax, %%cr0"
                     :
                     : "r"(first_pages)
                     : "eax", "memory");
}

void tasks(void)
{
    set_tables();
    set_pages();
    by_instructions();
    by_events();
    other_modes();
    wrong_ones();
    say("TASKS all\n");
    port_write8(POWER, POWER_OFF);
}
