/* links: vmm-server/devices/vga_render.c vmm-server/devices/vga.c vmm-server/devices/vga_memory.c
 * vmm-server/devices/vga_vbe.c vmm-server/devices/vga_picture.c vmm-server/bus.c lib/print.c */
#include "vga_machine.h"

#include "devices/vga_picture.h"

static uint32_t line[VGA_LINE_PIXELS_MAX];
static struct vga_screen screen;

static void look(void)
{
    vga_settle(&vga);
    vga_screen(&vga, &screen);
}

static uint32_t pixel(unsigned x, unsigned y)
{
    CHECK(x < screen.width && y < screen.height);
    vga_render_line(&vga, &screen, y, line);
    return line[x];
}

#define RED    0xaa0000u
#define BLUE   0x0000aau
#define YELLOW 0xffff55u
#define GREY   0xaaaaaau
#define BLACK  0u

TEST(render_text,
     "text is 720 by 400 of characters with nine dots, the ninth of lines being the eighth's")
{
    uint8_t font[4096] = {0};
    vga_begin();
    font['A' * 16 + 3] = 0x81;
    font[0xc4 * 16 + 3] = 0xff; /* a line that meets the next one's */
    vga_load_font(&vga, font);
    poke(0xb8000 + 160 * 2, 'A');
    poke(0xb8001 + 160 * 2, 0x1e);
    poke(0xb8002 + 160 * 2, 0xc4);
    look();
    EXPECT(screen.width, 720);
    EXPECT(screen.height, 400);
    EXPECT(pixel(0, 2 * 16 + 3), YELLOW);
    EXPECT(pixel(1, 2 * 16 + 3), BLUE);
    EXPECT(pixel(7, 2 * 16 + 3), YELLOW);
    EXPECT(pixel(8, 2 * 16 + 3), BLUE);
    EXPECT(pixel(0, 2 * 16 + 4), BLUE);
    EXPECT(pixel(16, 2 * 16 + 3), GREY);
    EXPECT(pixel(17, 2 * 16 + 3), GREY);
    EXPECT(pixel(18, 2 * 16 + 3), BLACK);
}

TEST(render_text_cursor, "the cursor is lines 13 and 14 of its cell, in the cell's colour")
{
    vga_begin();
    set(0x3d4, 0x0f, 82); /* second row, third cell */
    look();
    EXPECT(screen.cursor_row, 1);
    EXPECT(screen.cursor_column, 2);
    EXPECT(pixel(18, 16 + 12), BLACK);
    EXPECT(pixel(18, 16 + 13), GREY);
    EXPECT(pixel(26, 16 + 14), GREY);
    EXPECT(pixel(27, 16 + 13), BLACK);
    set(0x3d4, 0x0a, 0x2d);
    look();
    EXPECT(pixel(18, 16 + 13), BLACK);
}

TEST(render_text_start, "the start address, the offset and line compare say which row is where")
{
    uint16_t cells[256];
    vga_begin();
    poke(0xb8000, 'a');
    poke(0xb8000 + 2 * 80, 'b');
    poke(0xb8000 + 2 * 160, 'c');
    set(0x3d4, 0x0d, 80);
    look();
    vga_text_row(&vga, &screen, 0, cells);
    EXPECT(cells[0] & 0xff, 'b');
    set(0x3d4, 0x18, 15); /* behind the first row memory begins anew */
    set(0x3d4, 9, 0x0f);
    set(0x3d4, 0x11, 0);
    set(0x3d4, 7, 0x0f);
    look();
    vga_text_row(&vga, &screen, 0, cells);
    EXPECT(cells[0] & 0xff, 'b');
    vga_text_row(&vga, &screen, 1, cells);
    EXPECT(cells[0] & 0xff, 'a');
}

TEST(render_planar, "mode 0x12 is 640 by 480 of four planes, through the attribute controller")
{
    vga_begin();
    planar_mode();
    memset(vga.planes, 0, VGA_PLANES_BYTES);
    set(0x3ce, 5, 2);
    poke(0xa0000 + 80 * 100 + 10, 0x04);
    look();
    EXPECT(screen.width, 640);
    EXPECT(screen.height, 480);
    EXPECT(screen.bits, 4);
    EXPECT(pixel(79, 100), BLACK);
    EXPECT(pixel(80, 100), RED);
    EXPECT(pixel(87, 100), RED);
    EXPECT(pixel(88, 100), BLACK);
    set_attribute(0x12, 0x0b); /* plane 2 is not shown */
    EXPECT(pixel(80, 100), BLACK);
}

TEST(render_chain_4, "mode 0x13 is 320 by 200 of bytes, colours of the DAC as they are")
{
    vga_begin();
    chain_mode();
    out(0x3c8, 1, 200);
    out(0x3c9, 1, 63);
    out(0x3c9, 1, 32);
    out(0x3c9, 1, 1);
    poke(0xa0000 + 320 * 199 + 319, 200);
    look();
    EXPECT(screen.width, 320);
    EXPECT(screen.height, 200);
    EXPECT(screen.bits, 8);
    EXPECT(pixel(319, 199), 0xff8204);
    out(0x3c6, 1, 0);
    EXPECT(pixel(319, 199), BLACK);
}

TEST(render_cga, "mode 4 is 320 by 200 of two bits, odd lines 8 KiB behind even ones")
{
    vga_begin();
    cga_mode();
    memset(vga.planes, 0, VGA_PLANES_BYTES);
    poke(0xb8000 + 80 + 1, 0x1b);      /* line 2, four pixels from the fifth on: 0, 1, 2, 3 */
    poke(0xb8000 + 0x2000 + 80, 0xc0); /* line 3 */
    look();
    EXPECT(screen.width, 320);
    EXPECT(screen.height, 200);
    EXPECT(screen.bits, 2);
    EXPECT(pixel(4, 2), BLACK);
    EXPECT(pixel(5, 2), BLUE);
    EXPECT(pixel(7, 2), 0x00aaaa);
    EXPECT(pixel(0, 3), 0x00aaaa);
    EXPECT(pixel(1, 3), BLACK);
    EXPECT(pixel(0, 2), BLACK);
}

TEST(render_vbe, "VBE modes of 8 to 32 bits, with a virtual width and a start")
{
    vga_begin();
    vbe_mode(640, 480, 32, 0x40);
    vbe_set(6, 1024);
    vbe_set(8, 16);
    vbe_set(9, 2);
    uint8_t *at = vga.linear + (3 * 1024 + 17) * 4;
    memcpy(at, "\x11\x22\x33", 3);
    look();
    EXPECT(pixel(1, 1), 0x332211);
    vbe_mode(640, 480, 16, 0x40);
    memcpy(vga.linear + 2 * 5, "\x1f\xf8", 2);
    look();
    EXPECT(pixel(5, 0), 0xff00ff);
    vbe_mode(640, 480, 15, 0x40);
    memcpy(vga.linear + 2 * 5, "\xe0\x03", 2);
    look();
    EXPECT(pixel(5, 0), 0x00ff00);
    vbe_mode(640, 480, 24, 0x40);
    memcpy(vga.linear + 3 * 5, "\x01\x02\x03", 3);
    look();
    EXPECT(pixel(5, 0), 0x030201);
    vbe_mode(640, 480, 8, 0x60); /* a DAC of eight bits */
    out(0x3c8, 1, 9);
    out(0x3c9, 1, 0x12);
    out(0x3c9, 1, 0x34);
    out(0x3c9, 1, 0x56);
    vga.linear[5] = 9;
    look();
    EXPECT(pixel(5, 0), 0x123456);
}

TEST(render_dark, "a screen that is switched off is black")
{
    vga_begin();
    poke(0xb8001, 0x70);
    set(0x3c4, 1, 0x20);
    look();
    EXPECT(screen.kind, VGA_SCREEN_BLANK);
    EXPECT(pixel(0, 0), BLACK);
}

/* ---- pictures --------------------------------------------------------------------------------------------- */

#define PICTURE_BYTES (4u << 20)

/* A second reader of what RFC 1951 says, for one block in the fixed code. */
static struct {
    const uint8_t *data;
    size_t bit, end;
} in_bits;

static unsigned take(unsigned count)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++, in_bits.bit++) {
        CHECK(in_bits.bit / 8 < in_bits.end);
        value |= (in_bits.data[in_bits.bit / 8] >> in_bits.bit % 8 & 1u) << i;
    }
    return value;
}

static unsigned take_code(unsigned count)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++)
        value = value << 1 | take(1);
    return value;
}

static unsigned symbol(void)
{
    unsigned code = take_code(7);
    if (code < 24)
        return code + 256;
    code = code << 1 | take(1);
    if (code >= 0x30 && code < 0xc0)
        return code - 0x30;
    if (code >= 0xc0 && code < 0xc8)
        return code - 0xc0 + 280;
    return (code << 1 | take(1)) - 0x190 + 144;
}

static size_t inflate(const uint8_t *data, size_t size_bytes, uint8_t *to, size_t room)
{
    static const uint16_t lengths[] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                       15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                       67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint16_t distances[] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    size_t used = 0;
    in_bits.data = data;
    in_bits.bit = 0;
    in_bits.end = size_bytes;
    EXPECT(take(3), 3);
    for (;;) {
        unsigned s = symbol();
        if (s == 256)
            return used;
        CHECK(used < room);
        if (s < 256) {
            to[used++] = (uint8_t)s;
            continue;
        }
        s -= 257;
        CHECK(s < 29);
        size_t length = lengths[s] + take(s < 8 || s == 28 ? 0 : s / 4 - 1);
        unsigned d = take_code(5);
        CHECK(d < 30);
        size_t distance = distances[d] + take(d < 4 ? 0 : d / 2 - 1);
        CHECK(distance <= used && used + length <= room);
        for (; length; length--, used++)
            to[used] = to[used - distance];
    }
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t crc(const uint8_t *data, size_t size_bytes)
{
    uint32_t value = UINT32_MAX;
    for (size_t i = 0; i < size_bytes; i++) {
        value ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
    }
    return ~value;
}

/* Reads a picture back and compares it with the lines. */
static void expect_picture(const uint8_t *picture, size_t size_bytes, unsigned step)
{
    unsigned width = screen.width / step, height = screen.height / step;
    size_t plain_bytes = (1 + (size_t)width * 3) * height;
    uint8_t *plain = malloc(plain_bytes);
    CHECK(memcmp(picture, "\x89PNG\r\n\x1a\n", 8) == 0);
    EXPECT(word_at(picture + 8), 13);
    EXPECT(word_at(picture + 16), width);
    EXPECT(word_at(picture + 20), height);
    EXPECT(word_at(picture + 29), crc(picture + 12, 17));
    size_t data_bytes = word_at(picture + 33);
    EXPECT(33 + 12 + data_bytes + 12, size_bytes);
    EXPECT(word_at(picture + 41 + data_bytes), crc(picture + 37, data_bytes + 4));
    EXPECT((picture[41] << 8 | picture[42]) % 31, 0);
    EXPECT(inflate(picture + 43, data_bytes - 6, plain, plain_bytes), plain_bytes);
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < plain_bytes; i++) {
        a = (a + plain[i]) % 65521;
        b = (b + a) % 65521;
    }
    EXPECT(word_at(picture + 41 + data_bytes - 4), b << 16 | a);
    for (unsigned y = 0; y < height; y++) {
        const uint8_t *at = plain + (1 + (size_t)width * 3) * y;
        vga_render_line(&vga, &screen, y * step, line);
        EXPECT(*at++, 0);
        for (unsigned x = 0; x < width; x++, at += 3)
            EXPECT((uint32_t)at[0] << 16 | at[1] << 8 | at[2], line[x * step]);
    }
    free(plain);
}

TEST(picture_of_text, "a text screen is a small PNG file, and its pixels are the screen's")
{
    static uint32_t pixels[VGA_LINE_PIXELS_MAX];
    uint8_t *picture = pages(PICTURE_BYTES), font[4096];
    vga_begin();
    for (unsigned i = 0; i < sizeof font; i++)
        font[i] = (uint8_t)(i * 37 >> 3);
    vga_load_font(&vga, font);
    for (unsigned i = 0; i < 4000; i++)
        poke(0xb8000 + i, (uint8_t)(i * 7));
    look();
    size_t size_bytes = vga_picture(&vga, pixels, picture, PICTURE_BYTES);
    CHECK(size_bytes && size_bytes < 720 * 400);
    expect_picture(picture, size_bytes, 1);
    free(picture);
}

TEST(picture_of_noise, "a screen that does not fit is made smaller")
{
    static uint32_t pixels[VGA_LINE_PIXELS_MAX];
    uint8_t *picture = pages(1u << 20);
    uint32_t random = 1;
    vga_begin();
    vbe_mode(1024, 768, 32, 0x40);
    for (unsigned i = 0; i < 1024 * 768 * 4; i++) {
        random = random * 1664525 + 1013904223;
        vga.linear[i] = (uint8_t)(random >> 24);
    }
    look();
    size_t size_bytes = vga_picture(&vga, pixels, picture, 1u << 20);
    CHECK(size_bytes && size_bytes <= 1u << 20);
    expect_picture(picture, size_bytes, 2);
    EXPECT(vga_picture(&vga, pixels, picture, 1000), 0);
    free(picture);
}
