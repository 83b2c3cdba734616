/*
 * A screen as a PNG file: eight bits for each of red, green and blue, no filter. Its data are packed by length alone: a
 * run of equal pixels, or a line like the one before, becomes one distance in deflate's fixed code; else they are as
 * they come.
 *
 * Spec: Portable Network Graphics, second edition (ISO/IEC 15948:2003), 5, 9, 10, 11.2; RFC 1950; RFC 1951, 3.2.5, 3.2.6.
 */
#include "devices/vga_picture.h"

#include "string.h"

#define PIXEL_BYTES   3u
#define MATCH_MAX     258u
#define MATCH_MIN     3u
#define DISTANCE_MAX  32768u
#define ADLER_MODULUS 65521u
#define END_OF_BLOCK  256u
#define STEPS_MAX     8u
#define HEAD_BYTES    (8u + 25u) /* signature, IHDR */
#define CHUNK_BYTES   12u        /* of a chunk beside its data */

struct output {
    uint8_t *to;
    size_t size_bytes, used;
    bool full;
    uint64_t bits; /* not yet written, the first lowest */
    unsigned bit_count;
    uint32_t sum_a, sum_b; /* Adler-32 of the plain data */
};

static void put_byte(struct output *out, unsigned byte)
{
    if (out->used == out->size_bytes)
        out->full = true;
    else
        out->to[out->used++] = (uint8_t)byte;
}

static void put_word(struct output *out, uint32_t word)
{
    for (unsigned i = 4; i-- > 0;)
        put_byte(out, word >> (8 * i));
}

/* ---- deflate --------------------------------------------------------------------------------------------- */

static void put_bits(struct output *out, uint32_t bits, unsigned count)
{
    out->bits |= (uint64_t)bits << out->bit_count;
    for (out->bit_count += count; out->bit_count >= 8; out->bit_count -= 8, out->bits >>= 8)
        put_byte(out, out->bits & 0xff);
}

/* Huffman codes have their highest bit first. */
static void put_code(struct output *out, uint32_t code, unsigned count)
{
    uint32_t turned = 0;
    for (unsigned i = 0; i < count; i++)
        turned |= (code >> i & 1) << (count - 1 - i);
    put_bits(out, turned, count);
}

/* A literal or a length, in the fixed code (RFC 1951, 3.2.6). */
static void put_symbol(struct output *out, unsigned symbol)
{
    if (symbol < 144)
        put_code(out, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(out, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(out, symbol - 256, 7);
    else
        put_code(out, 0xc0 + symbol - 280, 8);
}

/* A number in classes that grow by powers of two (3.2.5): of lengths four classes have a size, of distances two. */
static unsigned class_of(unsigned number, unsigned per_size, unsigned *extra_bits, unsigned *extra)
{
    unsigned number_of = 0, base = 0, size = 1, bits = 0;
    for (;;) {
        if (number < base + size)
            break;
        base += size;
        number_of++;
        if (number_of >= 2 * per_size && number_of % per_size == 0) {
            bits++;
            size *= 2;
        }
    }
    *extra_bits = bits;
    *extra = number - base;
    return number_of;
}

static void put_match(struct output *out, unsigned length, unsigned distance)
{
    unsigned bits = 0, extra = 0;
    if (length == MATCH_MAX) {
        put_symbol(out, 285);
    } else {
        unsigned class = class_of(length - MATCH_MIN, 4, &bits, &extra);
        put_symbol(out, 257 + class);
        put_bits(out, extra, bits);
    }
    unsigned class = class_of(distance - 1, 2, &bits, &extra);
    put_code(out, class, 5);
    put_bits(out, extra, bits);
}

/* A line at a time is too little for the sums to run over. */
static void add_up(struct output *out, const uint8_t *data, size_t size_bytes)
{
    uint64_t a = out->sum_a, b = out->sum_b;
    for (size_t i = 0; i < size_bytes; i++) {
        a += data[i];
        b += a;
    }
    out->sum_a = (uint32_t)(a % ADLER_MODULUS);
    out->sum_b = (uint32_t)(b % ADLER_MODULUS);
}

/* So many bytes from i on are as they were `distance` before. */
static unsigned match_of(const uint8_t *data, size_t i, size_t end, size_t distance)
{
    unsigned length = 0;
    while (length < MATCH_MAX && i + length < end &&
           data[i + length] == data[i + length - distance])
        length++;
    return length;
}

/* The line is data[before, end): what lies before it is the line above. */
static void put_line(struct output *out, const uint8_t *data, size_t before, size_t end)
{
    add_up(out, data + before, end - before);
    for (size_t i = before; i < end && !out->full;) {
        size_t above = before && before <= DISTANCE_MAX ? before : 0;
        unsigned run = i >= PIXEL_BYTES ? match_of(data, i, end, PIXEL_BYTES) : 0;
        unsigned same = above ? match_of(data, i, end, above) : 0;
        if (run < MATCH_MIN && same < MATCH_MIN) {
            put_symbol(out, data[i++]);
            continue;
        }
        put_match(out, same > run ? same : run, same > run ? (unsigned)above : PIXEL_BYTES);
        i += same > run ? same : run;
    }
}

/* ---- PNG --------------------------------------------------------------------------------------------------- */

/* CRC-32 by four bits. */
static uint32_t crc_of(const uint8_t *data, size_t size_bytes)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static size_t begin_chunk(struct output *out, const char *type)
{
    size_t start = out->used;
    put_word(out, 0);
    for (unsigned i = 0; i < 4; i++)
        put_byte(out, (uint8_t)type[i]);
    return start;
}

static void end_chunk(struct output *out, size_t start)
{
    if (out->full)
        return;
    size_t data_bytes = out->used - start - 8;
    for (unsigned i = 0; i < 4; i++)
        out->to[start + i] = (uint8_t)(data_bytes >> (24 - 8 * i));
    put_word(out, crc_of(out->to + start + 4, data_bytes + 4));
}

static void put_head(struct output *out, unsigned width, unsigned height)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    for (unsigned i = 0; i < sizeof signature; i++)
        put_byte(out, signature[i]);
    size_t start = begin_chunk(out, "IHDR");
    put_word(out, width);
    put_word(out, height);
    put_byte(out, 8); /* bits of a sample */
    put_byte(out, 2); /* red, green, blue */
    for (unsigned i = 0; i < 3; i++)
        put_byte(out, 0);
    end_chunk(out, start);
}

/* Two lines, the earlier first, each with its filter's byte. They are where nothing of the file is yet: at its end. */
static void put_pixels(struct output *out, struct vga *vga, const struct vga_screen *screen,
                       unsigned step, uint32_t *line, uint8_t *two)
{
    unsigned width = screen->width / step, height = screen->height / step;
    size_t line_bytes = 1 + (size_t)width * PIXEL_BYTES;
    for (unsigned y = 0; y < height && !out->full; y++) {
        uint8_t *to = two + (y ? line_bytes : 0);
        vga_render_line(vga, screen, y * step, line);
        *to++ = 0;
        for (unsigned x = 0; x < width; x++)
            for (unsigned i = 0; i < PIXEL_BYTES; i++)
                *to++ = (uint8_t)(line[x * step] >> (16 - 8 * i));
        put_line(out, two, y ? line_bytes : 0, y ? 2 * line_bytes : line_bytes);
        if (y)
            memcpy(two, two + line_bytes, line_bytes);
    }
}

static size_t try_picture(struct vga *vga, const struct vga_screen *screen, unsigned step,
                          uint32_t *line, uint8_t *to, size_t size_bytes)
{
    size_t two_bytes = 2 * (1 + (size_t)screen->width / step * PIXEL_BYTES);
    if (size_bytes < two_bytes + HEAD_BYTES + 2 * CHUNK_BYTES)
        return 0;
    struct output out = {.to = to, .size_bytes = size_bytes - two_bytes, .sum_a = 1};
    put_head(&out, screen->width / step, screen->height / step);
    size_t start = begin_chunk(&out, "IDAT");
    put_byte(&out, 0x78); /* deflate, a window of 32 KiB */
    put_byte(&out, 0x01);
    put_bits(&out, 1, 1); /* the last block, */
    put_bits(&out, 1, 2); /* in the fixed code */
    put_pixels(&out, vga, screen, step, line, to + out.size_bytes);
    put_symbol(&out, END_OF_BLOCK);
    put_bits(&out, 0, 7); /* to a whole byte */
    put_word(&out, out.sum_b << 16 | out.sum_a);
    end_chunk(&out, start);
    end_chunk(&out, begin_chunk(&out, "IEND"));
    return out.full ? 0 : out.used;
}

size_t vga_picture(struct vga *vga, uint32_t *line, uint8_t *to, size_t size_bytes)
{
    struct vga_screen screen;
    size_t used = 0;
    vga_settle(vga);
    vga_screen(vga, &screen);
    for (unsigned step = 1; used == 0 && step <= STEPS_MAX && screen.height >= step; step++)
        used = try_picture(vga, &screen, step, line, to, size_bytes);
    return used;
}
