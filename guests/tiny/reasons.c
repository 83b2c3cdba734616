/*
 * Makes the exit that a character on its console asks for; with a command line that begins with "beat" it
 * counts aloud instead, ten times a second, as a neighbour whose counter must go on.
 */
#include "tiny.h"

#define CMD_LINE_PTR 0x228
#define ZEROES       0x90000ull /* RAM that nobody has written to */
#define NO_MEMORY    0xe0000000ull

enum { COM1 = 0x3f8, LSR = 5, LSR_DATA = 1 };
enum { CR0_NW = 1 << 29, CR0_CD = 1 << 30, CR4_OSXSAVE = 1 << 18 };
enum { LVT_TIMER = 0x832, TIMER_COUNT = 0x838, TIMER_DIVIDE = 0x83e };
enum { VECTOR = 0x40, PERIODIC = 1 << 17, DIVIDE_BY_1 = 0xb };
enum { BEAT_COUNT = 100000000 }; /* the timer of VMMs runs at 1 GHz */

static void beat(void)
{
    if (!apic_enable() || !write_msr(TIMER_DIVIDE, DIVIDE_BY_1) ||
        !write_msr(LVT_TIMER, PERIODIC | VECTOR) || !write_msr(TIMER_COUNT, BEAT_COUNT)) {
        say("BEAT needs an x2APIC\n");
        return;
    }
    for (uint64_t number = 0;; number++) {
        say("BEAT ");
        say_number(number);
        say("\n");
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
}

static void cpuid(void)
{
    uint32_t a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

static void write_cr0(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    __asm__ volatile("mov %0, %%cr0" : : "r"(value ^ (CR0_CD | CR0_NW)) : "memory");
}

static void set_xcr0(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    __asm__ volatile("mov %0, %%cr4" : : "r"(value | CR4_OSXSAVE));
    SURVIVES("xsetbv", : : "a"(3), "d"(0), "c"(0) : "r11", "memory");
}

static void triple_fault(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idt = {0xfff, ZEROES};
    __asm__ volatile("lidt %0\n\tud2" : : "m"(idt));
}

/* Of the two vendors' instructions one exits and the other is undefined. */
static void make_exit(char reason)
{
    uint64_t value;
    uint32_t word;
    uint8_t byte;
    switch (reason) {
    case 'c': cpuid(); break;
    case 'h': __asm__ volatile("cli; hlt"); break;
    case 'p': port_in(0x1234, 1, &word); break;
    case 'r': read_msr(0x12345, &value); break;
    case 'w': write_msr(0x12345, 0); break;
    case 'a': read_byte(NO_MEMORY, &byte); break;
    case '0': write_cr0(); break;
    case '8': __asm__ volatile("mov %0, %%cr8" : : "r"(1ull)); break;
    case 'x': set_xcr0(); break;
    case 'y':
        SURVIVES("vmcall", : : "a"(0) : "r11", "memory");
        SURVIVES("vmmcall", : : "a"(0) : "r11", "memory");
        break;
    case 'v':
        SURVIVES("vmxoff", : : : "r11", "memory");
        SURVIVES("vmrun", : : "a"(ZEROES) : "r11", "memory");
        break;
    case 'b': __asm__ volatile("wbinvd" : : : "memory"); break;
    case 'i': __asm__ volatile("invd" : : : "memory"); break;
    case 'm': SURVIVES("monitor", : : "a"(ZEROES), "c"(0), "d"(0) : "r11", "memory"); break;
    case 'n': SURVIVES("mwait", : : "a"(0), "c"(0) : "r11", "memory"); break;
    case 'f': SURVIVES("rdpmc", : : "c"(0) : "rax", "rdx", "r11", "memory"); break;
    case 't': triple_fault(); break;
    default: break;
    }
}

void tiny_main(const uint8_t *boot_params)
{
    const uint8_t *command_line =
        (const uint8_t *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    say("SEPTUM-GUEST-UP reasons\n");
    if (command_line[0] == 'b')
        beat();
    for (;;) {
        uint32_t status = 0, character = 0;
        if (!port_in(COM1 + LSR, 1, &status) || !(status & LSR_DATA))
            __asm__ volatile("pause");
        else if (port_in(COM1, 1, &character))
            make_exit((char)character);
    }
}
