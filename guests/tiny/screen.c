/*
 * Writes on the screen of a `pc`, as its command line says:
 *
 *   fill         fills the text screen a hundred times, then says so on it
 *   scroll       writes more lines than the screen has
 *   modes        tries the planes, a font, and a linear mode, and says on the text screen what came of it
 *   graphics     leaves the screen in a mode of 640 by 480 pixels of 32 bits: stripes
 */
#include "vga.h"

#define CMD_LINE_PTR 0x228
#define COLUMNS      80u
#define ROWS         25u
#define ATTRIBUTE    0x1f
#define FILLS        100u

#define CRTC         0x3d4
#define DISPI_INDEX  0x1ce
#define DISPI_DATA   0x1cf

static unsigned row, failures;

static void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static uint16_t in16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void dispi(uint16_t index, uint16_t value)
{
    out16(DISPI_INDEX, index);
    out16(DISPI_DATA, value);
}

static void fill(uint16_t cell)
{
    uint64_t to = TEXT, count = COLUMNS * ROWS;
    __asm__ volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(cell) : "memory");
}

static void cursor(unsigned place)
{
    set(CRTC, 0x0e, (uint8_t)(place >> 8));
    set(CRTC, 0x0f, (uint8_t)place);
}

/* The screen moves up, as a terminal's. */
static void next_row(void)
{
    volatile uint16_t *cells = (volatile uint16_t *)TEXT;
    if (++row == ROWS) {
        row--;
        for (unsigned i = 0; i < COLUMNS * (ROWS - 1); i++)
            cells[i] = cells[i + COLUMNS];
        for (unsigned i = 0; i < COLUMNS; i++)
            cells[COLUMNS * (ROWS - 1) + i] = 0x0720;
    }
    cursor(row * COLUMNS);
}

static void line(const char *text, uint8_t attribute)
{
    volatile uint16_t *cells = (volatile uint16_t *)TEXT + row * COLUMNS;
    while (*text)
        *cells++ = (uint16_t)(uint8_t)*text++ | (uint16_t)(attribute << 8);
    next_row();
}

static void check(const char *what, bool good)
{
    if (good)
        return;
    failures++;
    line("wrong:", 0x0c);
    line(what, 0x0c);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static uint8_t peek(uint64_t address)
{
    return *(volatile uint8_t *)address;
}

static void poke(uint64_t address, uint8_t value)
{
    *(volatile uint8_t *)address = value;
}

/* A font goes into plane 2 with exits, strings of it in one each where the VMM batches them; the text stays. */
static void try_font(void)
{
    uint64_t to = WINDOW + 32 * 'A', count = 32;
    volatile uint16_t *cells = (volatile uint16_t *)TEXT;
    cells[COLUMNS * ROWS - 1] = 0x1e41;
    into_planes(4);
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x3c) : "memory");
    set(GRAPHICS, 4, 2);
    bool good = peek(WINDOW + 32 * 'A') == 0x3c && peek(WINDOW + 32 * 'A' + 31) == 0x3c;
    into_text();
    check("a font in plane 2", good);
    check("text beside a font", cells[COLUMNS * ROWS - 1] == 0x1e41);
}

/* Write mode 2 with a bit mask, read mode 1, write mode 1, in 64 KiB behind the text. */
static void try_planes(void)
{
    into_planes(0x0f);
    set(GRAPHICS, 5, 2);
    poke(WINDOW + 0x9000, 5);
    set(GRAPHICS, 8, 0x0f);
    (void)peek(WINDOW + 0x9000);
    poke(WINDOW + 0x9000, 0x0a);
    set(GRAPHICS, 8, 0xff);
    set(GRAPHICS, 5, 8);
    set(GRAPHICS, 2, 5);
    set(GRAPHICS, 7, 0x0f);
    bool compared = peek(WINDOW + 0x9000) == 0xf0;
    set(GRAPHICS, 5, 1);
    poke(WINDOW + 0x9001, 0);
    set(GRAPHICS, 5, 8);
    bool copied = peek(WINDOW + 0x9001) == 0xf0;
    into_text();
    check("write mode 2 and read mode 1", compared);
    check("write mode 1", copied);
}

static bool begin_linear(void)
{
    out16(DISPI_INDEX, 0);
    if ((in16(DISPI_DATA) & 0xfff0) != 0xb0c0)
        return false;
    dispi(4, 0);
    dispi(1, 640);
    dispi(2, 480);
    dispi(3, 32);
    dispi(4, 0x41);
    return true;
}

/* Banks of a linear mode keep what was written to them. */
static void try_linear(void)
{
    bool there = begin_linear(), kept = true;
    for (uint8_t bank = 0; there && bank < 18; bank++) {
        dispi(5, bank);
        poke(WINDOW + 0xfff0, bank);
    }
    for (uint8_t bank = 0; there && bank < 18; bank++) {
        dispi(5, bank);
        kept = kept && peek(WINDOW + 0xfff0) == bank;
    }
    dispi(4, 0);
    into_text();
    fill(0x0720);
    row = 0;
    check("VBE is there", there);
    check("banks of a linear mode", kept);
}

static void draw_stripes(void)
{
    if (!begin_linear())
        return;
    for (unsigned bank = 0; bank < 640 * 480 * 4 / 0x10000; bank++) {
        dispi(5, (uint16_t)bank);
        volatile uint32_t *pixels = (volatile uint32_t *)WINDOW;
        for (unsigned i = 0; i < 0x4000; i++)
            pixels[i] = (bank * 0x4000 + i) / 640 & 32 ? 0xff8000 : 0x0000ff;
    }
}

void tiny_main(const uint8_t *boot_params)
{
    uint32_t address = *(const uint32_t *)(boot_params + CMD_LINE_PTR);
    const char *word = (const char *)(uint64_t)address;
    char number[] = "line 00";
    if (*word == 'f')
        for (unsigned i = 0; i < FILLS; i++)
            fill((uint16_t)(0x0700 | ('a' + i % 26)));
    fill(0x0720);
    line("SEPTUM-GUEST-UP screen", ATTRIBUTE);
    for (unsigned i = 0; *word == 's' && i < 60; i++) {
        number[5] = (char)('0' + i / 10);
        number[6] = (char)('0' + i % 10);
        line(number, 0x07);
    }
    if (*word == 'm') {
        try_font();
        try_planes();
        try_linear();
    }
    if (*word == 'g')
        draw_stripes();
    else
        line(failures ? "SEPTUM-GUEST-FAILED screen" : "SEPTUM-GUEST-OK screen", 0x07);
}
