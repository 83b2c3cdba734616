/*
 * Runs the chips of a `pc` by their interrupts, as an old system would, and says what came of each:
 *
 *   all          everything below, then ends its machine with 42 by the debug-exit port
 *   button       waits for the power button's SCI, then switches itself off by sleep type 0
 */
#include "tiny.h"

#include "../../lib/port.h"

#define CMD_LINE_PTR 0x228
#define GATE         0x8e00ull
#define VECTORS      0x20u /* of the first 8259; the second's follow */
#define PIT_HERTZ    1193182u
#define PM_HERTZ     3579545u
#define APIC         0xfee00000ull
#define APIC_LINT0   0x350u
#define APIC_MASKED  0x10700u
#define APIC_EXTINT  0x700u
#define APIC_BASE    0x1bu
#define APIC_ON      (1ull << 11)
#define HPET         0xfed00000ull

enum { PIC_1 = 0x20, PIC_2 = 0xa0, PIT = 0x40, KEYBOARD = 0x60, RTC = 0x70, PM = 0x600 };

struct frame;

static volatile uint32_t taken[16], spurious;
static volatile uint8_t key;
static unsigned failures;

static void port_write16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void end_of(unsigned irq)
{
    taken[irq]++;
    if (irq >= 8)
        port_write8(PIC_2, 0x20);
    port_write8(PIC_1, 0x20);
}

static uint8_t rtc_read(uint8_t index)
{
    port_write8(RTC, index);
    return port_read8(RTC + 1);
}

static void rtc_write(uint8_t index, uint8_t value)
{
    port_write8(RTC, index);
    port_write8(RTC + 1, value);
}

__attribute__((interrupt)) static void on_timer(struct frame *frame)
{
    (void)frame;
    end_of(0);
}

__attribute__((interrupt)) static void on_keyboard(struct frame *frame)
{
    (void)frame;
    key = port_read8(KEYBOARD);
    end_of(1);
}

__attribute__((interrupt)) static void on_spurious(struct frame *frame)
{
    (void)frame;
    spurious++;
}

__attribute__((interrupt)) static void on_clock(struct frame *frame)
{
    (void)frame;
    rtc_read(0x0c);
    end_of(8);
}

/* The status is cleared, or the level would come again at once. */
__attribute__((interrupt)) static void on_power(struct frame *frame)
{
    (void)frame;
    port_write16(PM, 0x0100);
    end_of(9);
}

static void set_gate(unsigned vector, void (*handler)(struct frame *))
{
    struct {
        uint16_t limit;
        uint64_t *base;
    } __attribute__((packed)) idt;
    uint16_t code;
    uint64_t entry = (uint64_t)handler;
    __asm__ volatile("sidt %0\n\tmov %%cs, %1" : "=m"(idt), "=r"(code));
    idt.base[2 * vector] =
        (entry & 0xffff) | (uint64_t)code << 16 | GATE << 32 | (entry >> 16 & 0xffff) << 48;
    idt.base[2 * vector + 1] = entry >> 32;
}

static void init_pics(void)
{
    set_gate(VECTORS, on_timer);
    set_gate(VECTORS + 1, on_keyboard);
    set_gate(VECTORS + 7, on_spurious);
    set_gate(VECTORS + 8, on_clock);
    set_gate(VECTORS + 9, on_power);
    port_write8(PIC_1, 0x11), port_write8(PIC_2, 0x11);
    port_write8(PIC_1 + 1, VECTORS), port_write8(PIC_2 + 1, VECTORS + 8);
    port_write8(PIC_1 + 1, 4), port_write8(PIC_2 + 1, 2);
    port_write8(PIC_1 + 1, 1), port_write8(PIC_2 + 1, 1);
}

static void let_through(uint16_t irqs)
{
    port_write8(PIC_1 + 1, (uint8_t)~irqs);
    port_write8(PIC_2 + 1, (uint8_t)(~irqs >> 8));
}

static void set_timer(unsigned hertz)
{
    uint16_t count = (uint16_t)(PIT_HERTZ / hertz);
    port_write8(PIT + 3, 0x34);
    port_write8(PIT, (uint8_t)count), port_write8(PIT, (uint8_t)(count >> 8));
}

/* Time by the ACPI timer, which is none of those that are tried. */
static uint32_t pm_time(void)
{
    return port_read32(PM + 8);
}

static uint32_t milliseconds_since(uint32_t from)
{
    return (pm_time() - from) / (PM_HERTZ / 1000);
}

static void halt(void)
{
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

static void spin(unsigned milliseconds, bool open)
{
    uint32_t from = pm_time();
    if (open)
        __asm__ volatile("sti" ::: "memory");
    while (milliseconds_since(from) < milliseconds)
        for (unsigned i = 0; i < 1000; i++)
            __asm__ volatile("" ::: "memory");
    __asm__ volatile("cli" ::: "memory");
}

static void check(const char *what, bool good)
{
    failures += !good;
    say("CHIPS ");
    say(what);
    say(good ? ": good\n" : ": wrong\n");
}

static void check_number(const char *what, uint64_t got, uint64_t least, uint64_t most)
{
    say("CHIPS ");
    say(what);
    say(" ");
    say_number(got);
    say("\n");
    check(what, got >= least && got <= most);
}

/* ---- what is tried ------------------------------------------------------------------------------------------ */

static void try_timer(void)
{
    let_through(1u << 0);
    set_timer(1000);
    uint32_t from = pm_time();
    while (taken[0] < 100)
        halt();
    check_number("milliseconds of 100 ticks", milliseconds_since(from), 95, 105);
}

/* 10 ms without looking, then 40 ms: no tick is lost. */
static void try_late_ticks(void)
{
    let_through(1u << 0);
    set_timer(1000);
    taken[0] = 0;
    spin(10, false);
    spin(40, true);
    check_number("ticks of 50 milliseconds, 10 of them with interrupts off", taken[0], 48, 52);
}

static void try_apic(void)
{
    volatile uint32_t *lint0 = (volatile uint32_t *)(APIC + APIC_LINT0);
    uint64_t base = 0;
    set_timer(1000);
    *lint0 = APIC_MASKED;
    taken[0] = 0;
    spin(5, true);
    check("no tick while LINT0 is masked", taken[0] == 0);
    *lint0 = APIC_EXTINT;
    spin(5, true);
    check("ticks when it is not", taken[0] != 0);
    read_msr(APIC_BASE, &base);
    write_msr(APIC_BASE, base & ~APIC_ON);
    taken[0] = 0;
    spin(5, true);
    check("ticks without a local APIC", taken[0] != 0);
    write_msr(APIC_BASE, base);
    taken[0] = 0;
    spin(5, true);
    check("none from an APIC as after reset", taken[0] == 0);
    *(volatile uint32_t *)(APIC + 0xf0) = 0x1ff;
    *lint0 = APIC_EXTINT;
}

static void try_clock(void)
{
    let_through(1u << 2 | 1u << 8);
    rtc_write(0x0a, 0x26);
    rtc_write(0x0b, rtc_read(0x0b) | 0x40);
    rtc_read(0x0c);
    taken[8] = 0;
    uint32_t from = pm_time();
    while (milliseconds_since(from) < 100)
        halt();
    rtc_write(0x0b, 0x02);
    check_number("periodic interrupts of the clock in 100 milliseconds", taken[8], 98, 108);
}

static void try_keyboard(void)
{
    let_through(1u << 1);
    port_write8(KEYBOARD + 4, 0x60), port_write8(KEYBOARD, 0x41);
    port_write8(KEYBOARD + 4, 0xd2), port_write8(KEYBOARD, 0x1e);
    while (!taken[1])
        halt();
    check("a key's interrupt", key == 0x1e);
}

static void try_hpet(void)
{
    volatile uint64_t *hpet = (volatile uint64_t *)HPET;
    uint64_t hertz = 1000000000000000ull / (hpet[0] >> 32);
    let_through(1u << 0);
    hpet[2] = 3;
    hpet[0x100 / 8] = 0x4c; /* enabled, periodic, the value is set */
    taken[0] = 0;
    hpet[0x108 / 8] = hpet[0xf0 / 8] + hertz / 100;
    hpet[0x108 / 8] = hertz / 100;
    uint32_t from = pm_time();
    while (taken[0] < 5)
        halt();
    check_number("milliseconds of 5 ticks of the HPET", milliseconds_since(from), 48, 56);
    hpet[2] = 0;
}

static void say_to(uint16_t port, const char *text)
{
    for (; *text; text++)
        port_write8(port, (uint8_t)*text);
}

static void try_ports(void)
{
    check("a debug console", port_read8(0x402) == 0xe9);
    say_to(0x402, "said to 0x402\n");
    say_to(0xe9, "said to 0xe9\n");
    say_to(0x2f8, "said to COM2\n");
    for (const char *text = "printed\n"; *text; text++) {
        port_write8(0x378, (uint8_t)*text);
        port_write8(0x37a, 0x0d), port_write8(0x37a, 0x0c);
    }
}

static void wait_for_button(void)
{
    port_write8(0x4d1, 0x02);
    let_through(1u << 2 | 1u << 9);
    port_write16(PM + 2, 0x0100);
    say("CHIPS waits for its button\n");
    while (!taken[9])
        halt();
    check("the power button's interrupt", taken[9] == 1);
    port_write16(PM + 4, 0x2001);
}

void tiny_main(const uint8_t *boot_params)
{
    const uint8_t *command_line =
        (const uint8_t *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    say("SEPTUM-GUEST-UP chips\n");
    init_pics();
    if (command_line[0] == 'b')
        wait_for_button();
    try_timer();
    try_late_ticks();
    try_apic();
    try_clock();
    try_keyboard();
    try_hpet();
    try_ports();
    check_number("spurious interrupts", spurious, 0, 0);
    say(failures ? "CHIPS has failures\n" : "SEPTUM-GUEST-OK chips\n");
    port_write32(0xf4, 42);
}
