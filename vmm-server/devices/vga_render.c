/* What the VGA's registers make of its memory: text cells, and lines of pixels. See vga.c. */
#include "devices/vga_internal.h"

#define FONT_STRIDE     32u
#define LINE_CHARACTERS 0xe0u /* 0xc0 to 0xdf draw lines that meet */
#define LINE_FIRST      0xc0u

/* ---- colours -------------------------------------------------------------------------------------------- */

static uint32_t colour(const struct vga *vga, unsigned number)
{
    const uint8_t *entry = vga->palette[number & vga->dac_mask];
    uint32_t rgb = 0;
    for (unsigned i = 0; i < 3; i++) {
        uint32_t part = entry[i];
        if (!(vga->vbe[VBE_ENABLE] & VBE_DAC_8))
            part = (part << 2 | part >> 4) & 0xff;
        rgb = rgb << 8 | part;
    }
    return rgb;
}

/* One of sixteen, through the attribute controller. */
static uint32_t attribute_colour(const struct vga *vga, unsigned number)
{
    const uint8_t *attribute = vga->attribute;
    unsigned select = attribute[ATTRIBUTE_COLOUR_SELECT];
    unsigned value = attribute[number & attribute[ATTRIBUTE_PLANE_ENABLE] & 0xf] & 0x3fu;
    if (attribute[ATTRIBUTE_MODE] & ATTRIBUTE_MODE_P54)
        value = (value & 0xf) | (select & 3) << 4;
    return colour(vga, value | (select & 0xc) << 4);
}

/* ---- where things are ------------------------------------------------------------------------------------- */

static unsigned scan_lines(const struct vga *vga)
{
    const uint8_t *crtc = vga->crtc;
    return (crtc[CRTC_VERTICAL_END] | (crtc[CRTC_OVERFLOW] & 0x02u) << 7 |
            (crtc[CRTC_OVERFLOW] & 0x40u) << 3) +
           1;
}

static unsigned lines_of_row(const struct vga *vga)
{
    return (vga->crtc[CRTC_MAX_SCAN] & 0x1fu) + 1;
}

static unsigned doubling(const struct vga *vga)
{
    return vga->crtc[CRTC_MAX_SCAN] & CRTC_MAX_SCAN_DOUBLE ? 2 : 1;
}

/* Offset in the planes of what scan line `line` begins with, and which line of its row it is. Behind the line compare the
 * memory begins anew. */
static uint32_t line_start(const struct vga *vga, unsigned line, unsigned *line_in_row)
{
    const uint8_t *crtc = vga->crtc;
    unsigned compare = crtc[CRTC_LINE_COMPARE] | (crtc[CRTC_OVERFLOW] & 0x10u) << 4 |
                       (crtc[CRTC_MAX_SCAN] & 0x40u) << 3;
    uint32_t start = (uint32_t)crtc[CRTC_START_HIGH] << 8 | crtc[CRTC_START_LOW];
    if (line > compare) {
        line -= compare + 1;
        start = 0;
    }
    line /= doubling(vga);
    *line_in_row = line % lines_of_row(vga);
    return start + line / lines_of_row(vga) * crtc[CRTC_OFFSET] * 2u;
}

/* The line in its row takes the place of address bits where the CRTC says so (mode control, bits 0 and 1): CGA's. */
static uint32_t interleaved(const struct vga *vga, uint32_t offset, unsigned line_in_row)
{
    uint8_t mode = vga->crtc[CRTC_MODE];
    unsigned bit = mode & 0x40 ? 13 : 12; /* words or bytes are counted */
    if (!(mode & 1))
        offset = (offset & ~(1u << bit)) | (line_in_row & 1) << bit;
    if (!(mode & 2))
        offset = (offset & ~(2u << bit)) | (line_in_row >> 1 & 1) << (bit + 1);
    return offset;
}

/* How often a line of graphics is shown. */
static unsigned repeats(const struct vga *vga)
{
    return doubling(vga) * ((vga->crtc[CRTC_MODE] & 3) == 3 ? lines_of_row(vga) : 1);
}

static bool is_256(const struct vga *vga)
{
    return vga->graphics[GRAPHICS_MODE] & GRAPHICS_MODE_256;
}

/* ---- the screen --------------------------------------------------------------------------------------------- */

static void text_screen(const struct vga *vga, struct vga_screen *screen)
{
    const uint8_t *crtc = vga->crtc;
    unsigned pitch = crtc[CRTC_OFFSET] * 2u;
    unsigned place = (unsigned)(crtc[CRTC_CURSOR_HIGH] << 8 | crtc[CRTC_CURSOR_LOW]) -
                     (unsigned)(crtc[CRTC_START_HIGH] << 8 | crtc[CRTC_START_LOW]);
    screen->kind = VGA_SCREEN_TEXT;
    screen->bits = 4;
    screen->cell_width = vga->sequencer[SEQUENCER_CLOCKING] & CLOCKING_EIGHT_DOTS ? 8 : 9;
    screen->cell_height = lines_of_row(vga);
    screen->columns = crtc[CRTC_DISPLAY_END] + 1u;
    screen->height = scan_lines(vga) / doubling(vga);
    if (screen->height < screen->cell_height)
        screen->height = screen->cell_height;
    screen->rows = screen->height / screen->cell_height;
    screen->width = screen->columns * screen->cell_width;
    place &= VGA_PLANE_BYTES - 1;
    screen->cursor_column = pitch ? place % pitch : place;
    screen->cursor_row = pitch ? place / pitch : 0;
    screen->cursor = !(crtc[CRTC_CURSOR_START] & CRTC_CURSOR_OFF) &&
                     (crtc[CRTC_CURSOR_START] & 0x1f) <= (crtc[CRTC_CURSOR_END] & 0x1f) &&
                     screen->cursor_row < screen->rows && screen->cursor_column < screen->columns;
}

static void graphics_screen(const struct vga *vga, struct vga_screen *screen)
{
    unsigned characters = vga->crtc[CRTC_DISPLAY_END] + 1u;
    bool is_cga = vga->graphics[GRAPHICS_MODE] & GRAPHICS_MODE_CGA;
    screen->kind = VGA_SCREEN_GRAPHICS;
    screen->bits = is_256(vga) ? 8 : is_cga ? 2 : 4;
    screen->width = characters * (is_256(vga) ? 4 : 8);
    screen->height = scan_lines(vga) / repeats(vga);
    if (screen->height == 0)
        screen->height = 1;
}

void vga_screen(const struct vga *vga, struct vga_screen *screen)
{
    *screen = (struct vga_screen){.kind = VGA_SCREEN_BLANK, .width = 640, .height = 400, .bits = 1};
    if (!(vga->attribute_index & ATTRIBUTE_PALETTE_SOURCE) ||
        vga->sequencer[SEQUENCER_CLOCKING] & CLOCKING_SCREEN_OFF)
        return;
    if (vga_is_vbe(vga)) {
        screen->kind = VGA_SCREEN_GRAPHICS;
        screen->width = vga->vbe[VBE_WIDTH];
        screen->height = vga->vbe[VBE_HEIGHT];
        screen->bits = vga->vbe[VBE_BITS];
    } else if (vga->graphics[GRAPHICS_MISC] & GRAPHICS_MISC_GRAPHICS) {
        graphics_screen(vga, screen);
    } else {
        text_screen(vga, screen);
    }
}

void vga_text_row(const struct vga *vga, const struct vga_screen *screen, unsigned row,
                  uint16_t *cells)
{
    unsigned line_in_row;
    uint32_t offset = line_start(vga, row * screen->cell_height * doubling(vga), &line_in_row);
    for (unsigned i = 0; i < screen->columns; i++, offset++)
        cells[i] =
            (uint16_t)(*vga_plane_byte(vga, offset, 0) | *vga_plane_byte(vga, offset, 1) << 8);
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

/* Where in plane 2 a character's font begins: two can be chosen by bit 3 of the attribute. */
static uint32_t font_of(const struct vga *vga, uint8_t attribute)
{
    unsigned fonts = vga->sequencer[SEQUENCER_FONTS];
    unsigned number =
        attribute & 8 ? (fonts >> 2 & 3) | (fonts >> 3 & 4) : (fonts & 3) | (fonts >> 2 & 4);
    return (number & 3) << 14 | (number & 4) << 11;
}

static void text_line(const struct vga *vga, const struct vga_screen *screen, unsigned y,
                      uint32_t *pixels)
{
    uint8_t mode = vga->attribute[ATTRIBUTE_MODE];
    unsigned line_in_row;
    uint32_t offset = line_start(vga, y * doubling(vga), &line_in_row);
    bool is_cursor_line = screen->cursor && y / screen->cell_height == screen->cursor_row &&
                          line_in_row >= (vga->crtc[CRTC_CURSOR_START] & 0x1fu) &&
                          line_in_row <= (vga->crtc[CRTC_CURSOR_END] & 0x1fu);
    for (unsigned column = 0; column < screen->columns; column++, offset++) {
        uint8_t character = *vga_plane_byte(vga, offset, 0);
        uint8_t attribute = *vga_plane_byte(vga, offset, 1);
        uint32_t glyph = font_of(vga, attribute) + character * FONT_STRIDE + line_in_row;
        unsigned dots = (unsigned)*vga_plane_byte(vga, glyph, 2) << 1;
        if (mode & ATTRIBUTE_MODE_LINE && (character & LINE_CHARACTERS) == LINE_FIRST)
            dots |= dots >> 1 & 1;
        if (is_cursor_line && column == screen->cursor_column)
            dots = 0x1ff;
        uint32_t front = attribute_colour(vga, attribute & 0xf);
        uint32_t back =
            attribute_colour(vga, attribute >> 4 & (mode & ATTRIBUTE_MODE_BLINK ? 7u : 0xfu));
        for (unsigned i = 0; i < screen->cell_width; i++)
            *pixels++ = dots >> (8 - i) & 1 ? front : back;
    }
}

/* `offset` is the line's first in the planes. */
static void planar_pixels(const struct vga *vga, uint32_t offset, unsigned width, uint32_t *pixels)
{
    uint32_t colours[16];
    for (unsigned i = 0; i < 16; i++)
        colours[i] = attribute_colour(vga, i);
    for (unsigned x = 0; x < width; x++) {
        unsigned value = 0;
        for (unsigned plane = 0; plane < 4; plane++)
            value |= (*vga_plane_byte(vga, offset + x / 8, plane) >> (7 - x % 8) & 1u) << plane;
        pixels[x] = colours[value];
    }
}

/* Two bits from planes 0 and 1 in turns, and as many above them from 2 and 3. */
static void cga_pixels(const struct vga *vga, uint32_t offset, unsigned width, uint32_t *pixels)
{
    for (unsigned x = 0; x < width; x++) {
        unsigned plane = x / 4 & 1, shift = 6 - x % 4 * 2;
        unsigned low = *vga_plane_byte(vga, offset + x / 8, plane) >> shift & 3u;
        unsigned high = *vga_plane_byte(vga, offset + x / 8, plane + 2) >> shift & 3u;
        pixels[x] = attribute_colour(vga, low | high << 2);
    }
}

static void graphics_line(const struct vga *vga, const struct vga_screen *screen, unsigned y,
                          uint32_t *pixels)
{
    unsigned line_in_row;
    uint32_t offset = line_start(vga, y * repeats(vga), &line_in_row);
    offset = interleaved(vga, offset, line_in_row);
    if (is_256(vga))
        for (unsigned x = 0; x < screen->width; x++)
            pixels[x] = colour(vga, *vga_plane_byte(vga, offset + x / 4, x & 3));
    else if (vga->graphics[GRAPHICS_MODE] & GRAPHICS_MODE_CGA)
        cga_pixels(vga, offset, screen->width, pixels);
    else
        planar_pixels(vga, offset, screen->width, pixels);
}

/* A pixel of 15 or 16 bits: the green of the second has six. */
static uint32_t high_colour(unsigned value, bool six)
{
    uint32_t red = value >> (six ? 11 : 10) & 0x1f, blue = value & 0x1f;
    uint32_t green = six ? value >> 5 & 0x3f : value >> 5 & 0x1f;
    green = six ? green << 2 | green >> 4 : green << 3 | green >> 2;
    return (red << 3 | red >> 2) << 16 | green << 8 | (blue << 3 | blue >> 2);
}

static void vbe_line(const struct vga *vga, unsigned y, uint32_t *pixels)
{
    const uint16_t *vbe = vga->vbe;
    unsigned bits = vbe[VBE_BITS], bytes = (bits + 7) / 8;
    uint32_t line = (uint32_t)(vbe[VBE_Y] + y) * vga->vbe_pitch;
    if (bits == 4) {
        planar_pixels(vga, line + vbe[VBE_X] / 8u, vbe[VBE_WIDTH], pixels);
        return;
    }
    const uint8_t *from = vga->linear + line + (uint32_t)vbe[VBE_X] * bytes;
    for (unsigned x = 0; x < vbe[VBE_WIDTH]; x++, from += bytes) {
        if (bits == 8)
            pixels[x] = colour(vga, *from);
        else if (bits < 24)
            pixels[x] = high_colour(from[0] | (unsigned)from[1] << 8, bits == 16);
        else
            pixels[x] = (uint32_t)from[2] << 16 | (uint32_t)from[1] << 8 | from[0];
    }
}

void vga_render_line(const struct vga *vga, const struct vga_screen *screen, unsigned y,
                     uint32_t *pixels)
{
    if (screen->kind == VGA_SCREEN_TEXT)
        text_line(vga, screen, y, pixels);
    else if (screen->kind == VGA_SCREEN_BLANK)
        for (unsigned x = 0; x < screen->width; x++)
            pixels[x] = 0;
    else if (vga_is_vbe(vga))
        vbe_line(vga, y, pixels);
    else
        graphics_line(vga, screen, y, pixels);
}
