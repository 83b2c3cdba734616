/* links: vmm-server/devices/vga.c vmm-server/devices/vga_memory.c vmm-server/devices/vga_vbe.c
 * vmm-server/devices/vga_render.c vmm-server/bus.c lib/print.c */
#include "vga_machine.h"

TEST(vga_indexed_registers,
     "indexed registers keep the bits they have, and a word writes index and data")
{
    vga_begin();
    set(0x3c4, 2, 0xff);
    EXPECT(get(0x3c4, 2), 0x0f);
    set(0x3ce, 8, 0x5a);
    EXPECT(get(0x3ce, 8), 0x5a);
    set(0x3ce, 3, 0xff);
    EXPECT(get(0x3ce, 3), 0x1f);
    out(0x3ce, 1, 0x55);
    EXPECT(in(0x3ce, 1), 0x55);
    out(0x3cf, 1, 0xff); /* no such register */
    EXPECT(in(0x3cf, 1), 0);
    set(0x3d4, 0x0e, 0x12);
    EXPECT(get(0x3d4, 0x0e), 0x12);
    EXPECT(in(0x3d4, 2), 0x120e);
}

TEST(vga_crtc_protection,
     "CRTC registers 0 to 7 are protected by bit 7 of 0x11, but for line compare's bit")
{
    vga_begin();
    set(0x3d4, 0x11, 0x8e);
    uint8_t total = get(0x3d4, 0);
    set(0x3d4, 0, (uint8_t)~total);
    EXPECT(get(0x3d4, 0), total);
    set(0x3d4, 7, 0x00);
    EXPECT(get(0x3d4, 7), 0x0f);
    set(0x3d4, 0x11, 0x0e);
    set(0x3d4, 0, 0x77);
    EXPECT(get(0x3d4, 0), 0x77);
}

TEST(vga_attribute_flip_flop,
     "0x3c0 takes index and data in turns; reading input status 1 begins anew")
{
    vga_begin();
    in(0x3da, 1);
    out(0x3c0, 1, 0x03);
    out(0x3c0, 1, 0x2a);
    out(0x3c0, 1, 0x03);
    EXPECT(in(0x3c1, 1), 0x2a);
    in(0x3da, 1);
    out(0x3c0, 1, 0x24); /* an index again */
    EXPECT(in(0x3c0, 1), 0);
    in(0x3da, 1);
    EXPECT(in(0x3c0, 1), 0x24);
    EXPECT(in(0x3c1, 1), 0x04);
    out(0x3c0, 1, 0x1f); /* no such register: nothing is written anywhere */
    out(0x3c0, 1, 0xff);
    EXPECT(in(0x3c1, 1), 0);
}

TEST(vga_dac,
     "the DAC counts through red, green and blue, apart for reads and writes, and keeps six bits")
{
    vga_begin();
    out(0x3c8, 1, 255);
    for (unsigned i = 0; i < 6; i++)
        out(0x3c9, 1, 0xf0 + i); /* the second colour is number 0: it wraps */
    EXPECT(in(0x3c8, 1), 1);
    EXPECT(in(0x3c7, 1), 0);
    out(0x3c7, 1, 255);
    EXPECT(in(0x3c7, 1), 3);
    for (unsigned i = 0; i < 6; i++)
        EXPECT(in(0x3c9, 1), 0x30 + i);
    out(0x3c6, 1, 0x0f);
    EXPECT(in(0x3c6, 1), 0x0f);
}

TEST(vga_mono_ports, "the CRTC is at 0x3b4 or 0x3d4, as the miscellaneous output says")
{
    vga_begin();
    set(0x3d4, 0x0f, 0x11);
    out(0x3c2, 1, 0x66);
    EXPECT(in(0x3cc, 1), 0x66);
    EXPECT(in(0x3d5, 1), 0xff);
    EXPECT(get(0x3b4, 0x0f), 0x11);
    CHECK(in(0x3ba, 1) != 0xff);
    out(0x3c2, 1, 0x67);
    EXPECT(in(0x3b5, 1), 0xff);
    EXPECT(get(0x3d4, 0x0f), 0x11);
}

TEST(vga_retrace,
     "the vertical retrace comes and goes with time, the display's enable with each look")
{
    unsigned retraces = 0, shown = 0, before = 0, changes = 0;
    vga_begin();
    for (unsigned i = 0; i < 1000; i++, test_time += 1000000) { /* 1 s of 1 GHz */
        unsigned status = (unsigned)in(0x3da, 1);
        unsigned retrace = status & 8;
        CHECK(!retrace || status & 1);
        retraces += retrace != 0;
        shown += !(status & 1);
        changes += retrace != before;
        before = retrace;
    }
    CHECK(retraces > 40 && retraces < 90);
    CHECK(shown > 400);
    CHECK(changes > 100);
}

TEST(vga_text_is_direct, "the text window costs one exit, and cells are where the guest put them")
{
    vga_begin();
    EXPECT(direct.memory, 0);
    poke(0xb8000, 'A');
    EXPECT(direct.base, 0xb8000);
    EXPECT(direct.size_bytes, 0x8000);
    for (unsigned i = 0; i < 4000; i++)
        poke(0xb8000 + i, (uint8_t)(i & 1 ? 0x1f : 'a' + i / 2 % 26));
    EXPECT(map_calls, 1);
    EXPECT(peek(0xb8002), 'b');
    struct vga_screen screen;
    uint16_t cells[256];
    vga_screen(&vga, &screen);
    EXPECT(screen.kind, VGA_SCREEN_TEXT);
    EXPECT(screen.columns, 80);
    EXPECT(screen.rows, 25);
    vga_text_row(&vga, &screen, 1, cells);
    EXPECT(cells[0], 0x1f00 | ('a' + 80 % 26));
}

TEST(vga_text_through_the_model, "if no memory can be mapped, the text window works with exits")
{
    vga_begin();
    map_refuses = true;
    for (unsigned i = 0; i < 16; i++)
        poke(0xb8000 + i, (uint8_t)(0x40 + i));
    for (unsigned i = 0; i < 16; i++)
        EXPECT(peek(0xb8000 + i), 0x40 + i);
    EXPECT(vga.planes[3], 0x43);
    EXPECT(peek(0xa0000), 0xff); /* not the VGA's now */
}

TEST(vga_font_load, "a font goes into plane 2 while text stays in planes 0 and 1")
{
    vga_begin();
    poke(0xb8000, 'x');
    set(0x3c4, 2, 0x04); /* plane 2 */
    EXPECT(direct.memory, 0);
    set(0x3c4, 4, 0x06);
    set(0x3ce, 4, 0x02);
    set(0x3ce, 5, 0x00);
    set(0x3ce, 6, 0x04); /* 64 KiB at 0xa0000 */
    for (unsigned i = 0; i < 32; i++)
        poke(0xa0000 + 32 * 'x' + i, (uint8_t)(0x80 + i));
    EXPECT(peek(0xa0000 + 32 * 'x' + 5), 0x85);
    EXPECT(direct.memory, 0);
    set(0x3c4, 2, 0x03);
    set(0x3c4, 4, 0x02);
    set(0x3ce, 4, 0x00);
    set(0x3ce, 5, 0x10);
    set(0x3ce, 6, 0x0e);
    EXPECT(peek(0xb8000), 'x');
    EXPECT(direct.base, 0xb8000);
    EXPECT(vga.planes[2 * VGA_PLANE_BYTES + 2 * (32 * 'x' + 5)], 0x85);
}

/* Writes `value` over latches 0x0f, 0x33, 0x55, 0xff and gives what plane has then. */
static uint8_t over_latches(uint8_t value, unsigned plane)
{
    static const uint8_t before[] = {0x0f, 0x33, 0x55, 0xff};
    uint8_t mode = get(0x3ce, 5), mask = get(0x3ce, 8), rotate = get(0x3ce, 3),
            enabled = get(0x3ce, 1);
    set(0x3ce, 5, 0);
    set(0x3ce, 8, 0xff);
    set(0x3ce, 3, 0);
    set(0x3ce, 1, 0);
    for (unsigned n = 0; n < 4; n++) {
        set(0x3c4, 2, (uint8_t)(1u << n));
        poke(0xa0010, before[n]);
    }
    set(0x3c4, 2, 0x0f);
    set(0x3ce, 5, mode);
    set(0x3ce, 8, mask);
    set(0x3ce, 3, rotate);
    set(0x3ce, 1, enabled);
    peek(0xa0010); /* into the latches */
    poke(0xa0011, value);
    set(0x3ce, 5, 0);
    set(0x3ce, 4, (uint8_t)plane);
    uint8_t after = peek(0xa0011);
    set(0x3ce, 5, mode);
    return after;
}

TEST(vga_write_mode_0,
     "write mode 0 rotates, sets and resets, combines with the latches, and masks bits")
{
    vga_begin();
    planar_mode();
    EXPECT(over_latches(0xa5, 1), 0xa5);
    set(0x3ce, 3, 4); /* rotate by 4 */
    EXPECT(over_latches(0xa1, 0), 0x1a);
    set(0x3ce, 3, 1 << 3); /* AND */
    EXPECT(over_latches(0x3c, 0), 0x0c);
    set(0x3ce, 3, 2 << 3); /* OR */
    EXPECT(over_latches(0x30, 1), 0x33);
    set(0x3ce, 3, 3 << 3); /* XOR */
    EXPECT(over_latches(0xff, 2), 0xaa);
    set(0x3ce, 3, 0);
    set(0x3ce, 8, 0xf0);
    EXPECT(over_latches(0xaa, 0), 0xaf);
    set(0x3ce, 8, 0xff);
    set(0x3ce, 0, 0x02);
    set(0x3ce, 1, 0x03); /* planes 0 and 1 from set/reset */
    EXPECT(over_latches(0x5a, 0), 0x00);
    EXPECT(over_latches(0x5a, 1), 0xff);
    EXPECT(over_latches(0x5a, 2), 0x5a);
}

TEST(vga_write_modes_1_2_3, "write mode 1 copies latches, 2 makes a colour of the data, 3 a mask")
{
    vga_begin();
    planar_mode();
    set(0x3ce, 5, 1);
    EXPECT(over_latches(0x00, 1), 0x33);
    EXPECT(over_latches(0x00, 3), 0xff);
    set(0x3ce, 5, 2);
    set(0x3ce, 8, 0x3c);
    EXPECT(over_latches(0x05, 0), 0x3f);
    EXPECT(over_latches(0x05, 1), 0x03);
    EXPECT(over_latches(0x05, 2), 0x7d);
    set(0x3ce, 5, 3);
    set(0x3ce, 8, 0x0f);
    set(0x3ce, 0, 0x01);
    EXPECT(over_latches(0x3c, 0), 0x0f); /* mask 0x0c: ones into plane 0 */
    EXPECT(over_latches(0x3c, 1), 0x33);
    EXPECT(over_latches(0x3c, 3), 0xf3);
}

TEST(vga_read_mode_1, "read mode 1 compares colours, with care for the planes that are asked for")
{
    vga_begin();
    planar_mode();
    set(0x3ce, 5, 2);
    poke(0xa0000, 0x05); /* eight dots of colour 5 */
    set(0x3ce, 8, 0x0f);
    peek(0xa0000);
    poke(0xa0000, 0x0d);
    set(0x3ce, 5, 8);
    set(0x3ce, 2, 0x05);
    set(0x3ce, 7, 0x0f);
    EXPECT(peek(0xa0000), 0xf0);
    set(0x3ce, 7, 0x07);
    EXPECT(peek(0xa0000), 0xff);
    set(0x3ce, 7, 0x00);
    EXPECT(peek(0xa1234), 0xff);
}

TEST(vga_chain_4,
     "mode 0x13 is direct, its bytes are planes in turns, and unchained they are in the planes")
{
    vga_begin();
    chain_mode();
    for (unsigned i = 0; i < 64000; i++)
        poke(0xa0000 + i, (uint8_t)(i * 7));
    EXPECT(map_calls, 1);
    EXPECT(direct.size_bytes, 0x10000);
    set(0x3c4, 4, 0x06); /* mode X */
    EXPECT(direct.memory, 0);
    for (unsigned plane = 0; plane < 4; plane++) {
        set(0x3ce, 4, (uint8_t)plane);
        EXPECT(peek(0xa0000 + 1000), (uint8_t)((4000 + plane) * 7));
    }
    set(0x3c4, 2, 0x05);
    set(0x3ce, 5, 0x40);
    poke(0xa0000, 0xee);
    set(0x3c4, 4, 0x0e);
    EXPECT(peek(0xa0000), 0xee); /* two planes only: with exits */
    EXPECT(direct.memory, 0);
    poke(0xa0001, 0x77); /* plane 1 is masked */
    EXPECT(peek(0xa0001), 7);
    set(0x3c4, 2, 0x0f);
    EXPECT(peek(0xa0002), 0xee);
    EXPECT(peek(0xa0003), 21);
    CHECK(direct.memory == vga.linear);
}

TEST(vga_no_memory, "without the RAM bit of the miscellaneous output nothing is in the window")
{
    vga_begin();
    poke(0xb8000, 'A');
    out(0x3c2, 1, 0x65);
    EXPECT(direct.memory, 0);
    poke(0xb8000, 'B');
    EXPECT(peek(0xb8000), 0xff);
    out(0x3c2, 1, 0x67);
    EXPECT(peek(0xb8000), 'A');
}

TEST(vga_watch_closes, "a watched window is closed until the next access")
{
    vga_begin();
    poke(0xb8000, 'A');
    vga_watch(&vga);
    EXPECT(direct.memory, 0);
    EXPECT(peek(0xb8000), 'A');
    CHECK(direct.memory);
}

/* ---- VBE --------------------------------------------------------------------------------------------------- */

TEST(vbe_identity, "the dispi registers say what they are and what memory there is")
{
    vga_begin();
    EXPECT(vbe_get(0), 0xb0c5);
    vbe_set(0, 0xb0c0);
    EXPECT(vbe_get(0), 0xb0c0);
    vbe_set(0, 0x1234);
    EXPECT(vbe_get(0), 0xb0c0);
    EXPECT(vbe_get(10), VGA_TEST_BYTES / 65536);
    vbe_set(4, 2);
    EXPECT(vbe_get(1), VBE_WIDTH_MAX);
    EXPECT(vbe_get(3), 32);
    EXPECT(vbe_get(77), 0);
}

TEST(vbe_banks,
     "a VBE mode's window shows one bank, and follows the bank register without an exit more")
{
    vga_begin();
    vbe_mode(1280, 1024, 32, 0);
    EXPECT(vbe_get(6), 1280);
    EXPECT(vbe_get(7), VGA_TEST_BYTES / (1280 * 4));
    poke(0xa0000, 1);
    vbe_set(5, 3);
    CHECK(direct.memory == vga.linear + 3 * 65536);
    poke(0xaffff, 9);
    EXPECT(vga.linear[4 * 65536 - 1], 9);
    vbe_set(5, 128); /* behind the memory: refused */
    EXPECT(vbe_get(5), 3);
    vbe_set(4, 0);
    EXPECT(direct.memory, 0);
    EXPECT(vbe_get(5), 0);
}

TEST(vbe_clears, "a new mode is black unless it is asked to leave memory alone")
{
    vga_begin();
    vbe_mode(640, 480, 8, 0);
    poke(0xa0000, 5);
    vbe_mode(640, 480, 8, 0x80);
    EXPECT(peek(0xa0000), 5);
    vbe_mode(640, 480, 8, 0);
    EXPECT(peek(0xa0000), 0);
}

TEST(vbe_registers_in_memory, "the PCI function's registers are the ports and the dispi registers")
{
    uint64_t value;
    vga_begin();
    CHECK(vga_registers.write(&vga, 0x500 + 2, 2, 800));
    CHECK(vga_registers.write(&vga, 0x500 + 4, 2, 600));
    CHECK(vga_registers.write(&vga, 0x500 + 6, 2, 16));
    CHECK(vga_registers.write(&vga, 0x500 + 8, 2, 0x41));
    EXPECT(vbe_get(1), 800);
    CHECK(vga_registers.read(&vga, 0x500 + 6, 2, &value));
    EXPECT(value, 16);
    CHECK(vga_registers.write(&vga, 0x400 + 0x14, 2, 0x0e | 0x4200));
    EXPECT(get(0x3d4, 0x0e), 0x42);
}

TEST(vbe_frame, "the linear memory is mapped where the guest has put the range")
{
    vga_begin();
    vga_move_frame(&vga, 0xe0000000);
    EXPECT(direct.base, 0xe0000000);
    EXPECT(direct.size_bytes, VGA_TEST_BYTES);
    CHECK(direct.memory == vga.linear);
    vga_move_frame(&vga, 0);
    EXPECT(direct.memory, 0);
}

/* ---- hostile ------------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t random32(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static uint32_t line[VGA_LINE_PIXELS_MAX];

TEST(vga_hostile, "no values of any registers make it read or write outside of its memory")
{
    static const unsigned indexed[] = {0x3c4, 0x3ce, 0x3d4};
    vga_begin();
    random_state = unit_seed;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned kind = random32() % 8, value = random32();
        if (kind < 3)
            set(indexed[kind], random32() % 32, (uint8_t)value);
        else if (kind == 3)
            out(0x3b0 + random32() % 12, 1, value & 0xff);
        else if (kind == 4)
            out(0x3c0 + random32() % 31, 1 + random32() % 2, value);
        else if (kind == 5)
            vbe_set(random32() % 12, (uint16_t)(value >> (value & 15)));
        else if (kind == 6)
            poke(0xa0000 + value % 0x20000, (uint8_t)round);
        else
            peek(0xa0000 + value % 0x20000);
        if (round % 16)
            continue;
        struct vga_screen screen;
        uint16_t cells[256];
        vga_settle(&vga);
        vga_screen(&vga, &screen);
        CHECK(screen.width && screen.width <= VGA_LINE_PIXELS_MAX && screen.height);
        CHECK(screen.height <= VBE_HEIGHT_MAX);
        vga_render_line(&vga, &screen, random32() % screen.height, line);
        vga_render_line(&vga, &screen, screen.height - 1, line);
        if (screen.kind == VGA_SCREEN_TEXT)
            vga_text_row(&vga, &screen, screen.rows - 1, cells);
    }
}
