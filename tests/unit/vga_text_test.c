/* links: vmm-server/devices/vga_text.c vmm-server/devices/vga.c vmm-server/devices/vga_memory.c
 * vmm-server/devices/vga_vbe.c vmm-server/devices/vga_render.c vmm-server/bus.c lib/print.c */
#include "vga_machine.h"

#include "devices/vga_text.h"

static struct vga_text text;
static char output[65536];
static size_t output_bytes, output_room;

static size_t far_write(struct character_backend *backend, const void *data, size_t size_bytes)
{
    size_t count = size_bytes < output_room ? size_bytes : output_room;
    (void)backend;
    CHECK(output_bytes + count < sizeof output);
    memcpy(output + output_bytes, data, count);
    output_bytes += count;
    output[output_bytes] = 0;
    output_room -= count;
    return count;
}

static struct character_backend backend = {far_write, NULL};

static void take(void)
{
    output_bytes = 0;
    output[0] = 0;
}

static void begin(void)
{
    vga_begin();
    vga_text_init(&text, &vga, &backend);
    output_room = SIZE_MAX;
    take();
}

static void write_at(unsigned row, unsigned column, uint8_t attribute, const char *words)
{
    for (uint32_t at = 0xb8000 + (row * 80 + column) * 2; *words; words++, at += 2) {
        poke(at, (uint8_t)*words);
        poke(at + 1, attribute);
    }
}

static void cursor_at(unsigned row, unsigned column)
{
    set(0x3d4, 0x0e, (uint8_t)((row * 80 + column) >> 8));
    set(0x3d4, 0x0f, (uint8_t)(row * 80 + column));
}

static void expect_output(const char *expected)
{
    if (strcmp(output, expected) != 0) {
        printf("output:");
        for (size_t i = 0; i < output_bytes && i < 200; i++)
            printf(output[i] < ' ' ? "\\x%02x" : "%c", output[i] & 0xff);
        printf("\n");
    }
    CHECK(strcmp(output, expected) == 0);
}

static void settle(void)
{
    CHECK(vga_text_refresh(&text));
    CHECK(!vga_text_refresh(&text));
}

TEST(text_first_screen, "the first look clears the terminal, and lines are written as lines")
{
    begin();
    write_at(0, 0, 7, "SeaBIOS (version 1.16)");
    write_at(1, 0, 7, "Booting from disk");
    cursor_at(2, 0);
    settle();
    expect_output("\x1b[0m\x1b[1;25r\x1b[2J\x1b[H\x1b[?25h"
                  "SeaBIOS (version 1.16)\r\nBooting from disk\r\n");
}

TEST(text_changes_only, "what has not changed is not written again")
{
    begin();
    write_at(5, 10, 7, "one two three");
    cursor_at(5, 23);
    settle();
    take();
    write_at(5, 14, 7, "TWO");
    settle();
    expect_output("\x1b[6;15HTWO\x1b[6;24H");
    take();
    CHECK(!vga_text_refresh(&text));
    expect_output("");
}

TEST(text_short_gaps,
     "a short unchanged stretch between changes is written with them, a long one is jumped over")
{
    begin();
    cursor_at(0, 0);
    write_at(3, 0, 7, "abc                              x");
    settle();
    take();
    write_at(3, 0, 7, "A C                              X");
    settle();
    expect_output("\x1b[4;1HA C\x1b[4;34HX\x1b[1;1H");
}

TEST(text_colours,
     "attributes become colours in the terminal's order, bright ones and blinking too")
{
    begin();
    cursor_at(0, 4);
    write_at(0, 0, 0x1e, "a"); /* yellow on blue */
    write_at(0, 1, 0x07, "b");
    write_at(0, 2, 0x84, "c"); /* red, blinking */
    write_at(0, 3, 0x70, "d");
    settle();
    expect_output("\x1b[0m\x1b[1;25r\x1b[2J\x1b[H\x1b[?25h"
                  "\x1b[0;93;44ma\x1b[0mb\x1b[0;5;31;40mc\x1b[0;30;47md");
}

TEST(text_code_page, "characters of code page 437 become UTF-8")
{
    begin();
    cursor_at(0, 6);
    write_at(0, 0, 7, "\xc9\xcd\xbb\x01\x7f\x84");
    settle();
    CHECK(strstr(output, "╔═╗☺⌂ä"));
    EXPECT(vga_text_unicode(0xff), 0xa0);
    EXPECT(vga_text_unicode(0xe1), 0xdf);
    EXPECT(vga_text_unicode(0xb0), 0x2591);
    EXPECT(vga_text_unicode('~'), '~');
}

TEST(text_scrolls,
     "a screen that has moved up is moved up by the terminal, and only new lines are written")
{
    char words[16];
    begin();
    for (unsigned row = 0; row < 25; row++) {
        snprintf(words, sizeof words, "line %02u", row);
        write_at(row, 0, 7, words);
    }
    cursor_at(24, 7);
    settle();
    take();
    for (unsigned row = 0; row < 25; row++) {
        snprintf(words, sizeof words, "line %02u", row + 2);
        write_at(row, 0, 7, words);
    }
    settle();
    expect_output("\r\n\n\x1b[24;1Hline 25\r\nline 26");
}

TEST(text_line_end, "the end of a line that has become blank is erased")
{
    begin();
    cursor_at(0, 0);
    write_at(2, 0, 7, "a long line of text");
    settle();
    take();
    write_at(2, 0, 7, "a                  ");
    settle();
    expect_output("\x1b[3;2H\x1b[K\x1b[1;1H");
}

TEST(text_no_room, "while the far end has no room nothing is lost, and in the end all is there")
{
    static char whole[65536];
    begin();
    for (unsigned row = 0; row < 25; row++)
        for (unsigned column = 0; column < 80; column++)
            write_at(row, column, (uint8_t)(column % 15 + 1), "\xdb");
    cursor_at(24, 0);
    settle();
    memcpy(whole, output, output_bytes + 1);
    vga_text_init(&text, &vga, &backend);
    take();
    unsigned looks = 0;
    do {
        output_room = 100;
        looks++;
    } while (vga_text_refresh(&text) && looks < 10000);
    CHECK(looks > 100 && looks < 10000);
    expect_output(whole);
}

TEST(text_cursor, "the cursor is moved, hidden and shown")
{
    begin();
    cursor_at(0, 0);
    settle();
    take();
    cursor_at(10, 20);
    settle();
    expect_output("\x1b[11;21H");
    take();
    set(0x3d4, 0x0a, 0x20);
    settle();
    expect_output("\x1b[?25l");
    take();
    cursor_at(200, 0); /* not on the screen */
    set(0x3d4, 0x0a, 0x0d);
    CHECK(!vga_text_refresh(&text));
}

TEST(text_graphics, "a graphics mode is told in one line, and text comes back whole")
{
    begin();
    write_at(0, 0, 7, "before");
    cursor_at(1, 0);
    settle();
    take();
    vbe_mode(1024, 768, 16, 0x41);
    settle();
    expect_output("\x1b[0m\x1b[r\x1b[2J\x1b[Hgraphics: 1024 x 768, 16 bits\r\n");
    take();
    poke(0xa0000, 1); /* pixels are not shown */
    CHECK(!vga_text_refresh(&text));
    vbe_set(4, 0);
    vga_reset(&vga);
    settle();
    expect_output("\x1b[0m\x1b[1;25r\x1b[2J\x1b[H\x1b[?25h");
}

TEST(text_dark, "a screen that is switched off leaves what the terminal shows")
{
    begin();
    write_at(0, 0, 7, "here");
    cursor_at(1, 0);
    settle();
    take();
    set(0x3c4, 1, 0x20);
    CHECK(!vga_text_refresh(&text));
    set(0x3c4, 1, 0x00);
    CHECK(!vga_text_refresh(&text));
    expect_output("");
}

TEST(text_forgotten, "a terminal that has forgotten all is shown all")
{
    begin();
    write_at(0, 0, 7, "x");
    cursor_at(1, 0);
    settle();
    take();
    vga_text_forget(&text);
    settle();
    expect_output("\x1b[0m\x1b[1;25r\x1b[2J\x1b[H\x1b[?25hx\r\n");
}

TEST(text_hostile,
     "any registers and cells make output of whole steps, within what the terminal has")
{
    uint64_t random = unit_seed;
    begin();
    for (unsigned round = 0; round < 3000; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t value = (uint32_t)(random >> 33);
        if (round % 4 == 0)
            set(0x3d4, value % 25, (uint8_t)(value >> 8));
        else
            poke(0xb8000 + value % 0x8000, (uint8_t)(value >> 16));
        output_room = value % 300;
        vga_text_refresh(&text);
        CHECK(text.columns <= VGA_TEXT_COLUMNS_MAX && text.rows <= VGA_TEXT_ROWS_MAX);
        if (output_bytes > sizeof output / 2)
            take();
    }
}
