/*
 * Says what its loader left, in real mode and by the BIOS: serial port (INT 14h), screen (10h), memory (12h, 15h), and
 * reads what lies above 1 MiB by the BIOS's block move (15h, AH = 87h). At its end it powers the machine off. Words of
 * its command line:
 *
 *   a20      does address line 20 do what port 0x92 and the keyboard controller say?
 *   return   resets the processor in each way that there is, and comes back to where it was
 *   picture  draws in 16 colours (INT 10h, mode 12h), and stays
 */
#include "../../lib/port.h"

#include <stdbool.h>
#include <stdint.h>

#define BLOCK        512u
#define PORT_PM      0x604u  /* PM1a control of a PIIX4, where SeaBIOS has it */
#define SLEEP        0x2000u /* SLP_EN, type 0 */
#define AT(offset)   (*(volatile uint32_t *)(head + (offset)))
#define AT16(offset) (*(volatile uint16_t *)(head + (offset)))

extern volatile uint8_t head[]; /* the boot sector: offset 0 of the segment */

struct registers {
    uint32_t ax, bx, cx, dx, si;
    bool carry;
};

/* What the setup segment's address is: the block move wants physical ones. */
static uint32_t here;

static uint8_t block[BLOCK];

#define BIOS(number, r)                                                                           \
    __asm__ volatile("int %6; setc %5"                                                            \
                     : "+a"((r)->ax), "+b"((r)->bx), "+c"((r)->cx), "+d"((r)->dx), "+S"((r)->si), \
                       "=qm"((r)->carry)                                                          \
                     : "i"(number)                                                                \
                     : "memory", "cc", "edi")

static void say_line(const char *text)
{
    for (; *text; text++) {
        struct registers line = {.ax = 0x0100 | (uint8_t)*text};
        BIOS(0x14, &line);
    }
}

static void say(const char *text)
{
    say_line(text);
    for (; *text; text++) {
        struct registers screen = {.ax = 0x0e00 | (uint8_t)*text, .bx = 7};
        BIOS(0x10, &screen);
    }
}

static void say_hex(uint32_t number)
{
    char digits[12];
    int i = 11;
    digits[i] = 0;
    do {
        digits[--i] = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number);
    say("0x");
    say(digits + i);
}

static void fact(const char *name, uint32_t value)
{
    say(" ");
    say(name);
    say(" ");
    say_hex(value);
}

static uint64_t descriptor(uint32_t base)
{
    return 0x000093000000ffffull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
}

/* The sum of the bytes there: a block after the other is moved to where this code reaches it. */
static uint32_t sum_of(uint32_t address, uint32_t size_bytes)
{
    uint32_t sum = 0;
    while (size_bytes) {
        uint32_t part = size_bytes < BLOCK ? size_bytes : BLOCK;
        uint64_t table[6] = {0, 0, descriptor(address),
                             descriptor(here + (uint32_t)(uintptr_t)block)};
        struct registers move = {.ax = 0x8700, .cx = BLOCK / 2, .si = (uint32_t)(uintptr_t)table};
        BIOS(0x15, &move);
        if (move.carry)
            return UINT32_MAX;
        for (uint32_t i = 0; i < part; i++)
            sum += block[i];
        address += part, size_bytes -= part;
    }
    return sum;
}

static const char *command_line(void)
{
    if (VERSION >= 0x202)
        return (const char *)(uintptr_t)(AT(0x228) - here);
    return AT16(0x20) == 0xa33f ? (const char *)(uintptr_t)AT16(0x22) : "";
}

static bool wanted(const char *word)
{
    const char *at = command_line();
    for (; *at; at++) {
        unsigned i = 0;
        while (word[i] && at[i] == word[i])
            i++;
        if (!word[i])
            return true;
    }
    return false;
}

/* ---- what a PC does besides ------------------------------------------------------------------------- */

/* A byte at 0x600, and the one that has address line 20 besides. */
static uint8_t read_low(void)
{
    uint8_t value;
    __asm__ volatile("movw %w1, %%fs; movb %%fs:0x600, %0" : "=q"(value) : "r"(0));
    return value;
}

static void write_high(uint8_t value)
{
    __asm__ volatile("movw %w1, %%fs; movb %0, %%fs:0x610" : : "q"(value), "r"(0xffff) : "memory");
}

static bool wraps(void)
{
    write_high(0x5a);
    bool first = read_low() == 0x5a;
    write_high(0xa5);
    return first && read_low() == 0xa5;
}

static void keyboard_write(uint16_t port, uint8_t value)
{
    while (port_read8(0x64) & 2)
        ;
    port_write8(port, value);
}

static void say_wraps(const char *when)
{
    say("REAL A20 ");
    say(when);
    say(wraps() ? ": wraps\r\n" : ": apart\r\n");
}

static void try_a20(void)
{
    say_wraps("at first");
    port_write8(0x92, port_read8(0x92) & 0xfd);
    say_wraps("off by port 0x92");
    port_write8(0x92, port_read8(0x92) | 2);
    say_wraps("on by port 0x92");
    keyboard_write(0x64, 0xd1);
    keyboard_write(0x60, 0xdd);
    say_wraps("off by the keyboard controller");
    keyboard_write(0x64, 0xd1);
    keyboard_write(0x60, 0xdf);
    say_wraps("on by the keyboard controller");
}

void return_by(uint32_t how);

static void try_returns(void)
{
    static const char *const ways[] = {"the keyboard controller", "port 0x92", "a triple fault",
                                       "port 0xcf9"};
    for (uint32_t how = 0; how < 4; how++) {
        return_by(how);
        say("REAL returned from a reset by ");
        say(ways[how]);
        say("\r\n");
    }
}

#define WIDTH_BYTES 80u
#define LINES       480u
#define COLOURS     16u

static void register_write(uint16_t port, uint8_t number, uint8_t value)
{
    port_write8(port, number);
    port_write8(port + 1, value);
}

static void fill(uint16_t from, uint16_t count)
{
    uint16_t segment = 0xa000;
    __asm__ volatile("pushw %%es; movw %w2, %%es; rep stosb; popw %%es"
                     : "+D"(from), "+c"(count)
                     : "r"(segment), "a"(0xff)
                     : "memory");
}

/* A band for each colour, and a diagonal in which they come the other way round. */
static void draw(void)
{
    struct registers mode = {.ax = 0x0012};
    BIOS(0x10, &mode);
    register_write(0x3ce, 1, 0x0f); /* all planes from set/reset */
    for (uint16_t colour = 0; colour < COLOURS; colour++) {
        register_write(0x3ce, 0, (uint8_t)colour);
        fill(colour * (LINES / COLOURS) * WIDTH_BYTES, LINES / COLOURS * WIDTH_BYTES);
    }
    for (uint16_t y = 0; y < LINES; y++) {
        register_write(0x3ce, 0, (uint8_t)(COLOURS - 1 - y / (LINES / COLOURS)));
        register_write(0x3ce, 8, (uint8_t)(0x80 >> (y & 7)));
        uint16_t at = y * WIDTH_BYTES + y / 8;
        __asm__ volatile("movw %w1, %%fs; xchgb %%al, %%fs:(%0)"
                         :
                         : "r"((uint32_t)at), "r"(0xa000), "a"(0)
                         : "memory");
    }
    register_write(0x3ce, 8, 0xff);
    register_write(0x3ce, 1, 0);
}

/* Called by the start in real mode, with CS = DS = SS; segments and stack as the loader left them. */
void real(uint32_t stack, uint32_t code);

void real(uint32_t stack, uint32_t code)
{
    uint16_t segment;
    struct registers base = {0}, above = {.ax = 0x8800}, mode = {.ax = 0x0f00};
    __asm__("mov %%ds, %0" : "=r"(segment));
    here = (uint32_t)segment << 4;
    say("REAL runs:");
    fact("setup", here);
    fact("code", code << 4);
    fact("stack", stack);
    fact("loader", AT(0x210) & 0xff);
    fact("flags", AT(0x210) >> 8 & 0xff);
    fact("heap", VERSION >= 0x201 ? AT16(0x224) : 0);
    say("\r\n");
    say("REAL command line \"");
    say(command_line());
    say("\"\r\n");
    BIOS(0x12, &base);
    BIOS(0x15, &above);
    BIOS(0x10, &mode);
    say("REAL BIOS:");
    fact("base memory", base.ax & 0xffff);
    fact("above", above.ax & 0xffff);
    fact("mode", mode.ax & 0xff);
    say("\r\nREAL files:");
    fact("payload", sum_of(AT(0x211) & 1 ? 0x100000 : 0x10000, PAYLOAD));
    fact("initrd", AT(0x21c));
    fact("sum", sum_of(AT(0x218), AT(0x21c)));
    say("\r\n");
    if (wanted("a20"))
        try_a20();
    if (wanted("return"))
        try_returns();
    say("REAL all\r\n");
    if (wanted("picture")) {
        draw();
        say_line("REAL picture\r\n");
        return;
    }
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)SLEEP), "d"((uint16_t)PORT_PM));
}
