#include "pc/picture.h"

#include "devices/vga_picture.h"
#include "devices/vga_text.h"
#include "string.h"

/* Of a line of pixels; behind what root reads, so that no stack and no heap needs to hold it. */
#define LINE_BYTES (VGA_LINE_PIXELS_MAX * sizeof(uint32_t))

static size_t put_character(char *to, unsigned code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    to[0] = (char)(0xe0 | code >> 12);
    to[1] = (char)(0x80 | (code >> 6 & 0x3f));
    to[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

/* A row's letters, without the blanks at its end, and a line end. */
static size_t put_row(char *to, const uint16_t *cells, unsigned columns)
{
    size_t used = 0, end = 0;
    for (unsigned i = 0; i < columns; i++) {
        uint8_t character = cells[i] & 0xff;
        used += put_character(to + used, vga_text_unicode(character));
        if (character != 0 && character != ' ')
            end = used;
    }
    to[end++] = '\n';
    return end;
}

static void take_text(const struct vga *vga, const struct vga_screen *screen,
                      struct vmm_picture *picture)
{
    uint16_t cells[256];
    struct vga_screen shown = *screen;
    size_t used = 0;
    for (unsigned row = 0; row < shown.rows; row++) {
        unsigned columns =
            shown.columns < VGA_TEXT_COLUMNS_MAX ? shown.columns : VGA_TEXT_COLUMNS_MAX;
        if (used + 3 * columns + 1 > sizeof picture->text)
            break;
        vga_text_row(vga, &shown, row, cells);
        used += put_row(picture->text + used, cells, columns);
    }
    picture->text_bytes = (uint32_t)used;
}

static void take_small(const struct vga *vga, const struct vga_screen *screen,
                       struct vmm_picture *picture, uint32_t *line)
{
    for (unsigned row = 0; row < VMM_SMALL_ROWS; row++) {
        vga_render_line(vga, screen, row * screen->height / VMM_SMALL_ROWS, line);
        for (unsigned column = 0; column < VMM_SMALL_COLUMNS; column++) {
            uint32_t pixel = line[column * screen->width / VMM_SMALL_COLUMNS];
            for (unsigned i = 0; i < 3; i++)
                picture->small[row][column][i] = (uint8_t)(pixel >> (16 - 8 * i));
        }
    }
}

void picture_take(struct vga *vga, struct vmm_picture *picture)
{
    struct vga_screen screen;
    uint8_t *file = (uint8_t *)picture + VMM_PICTURE_FILE;
    uint32_t *line = (uint32_t *)(file + VMM_PICTURE_FILE_BYTES - LINE_BYTES);
    vga_settle(vga);
    vga_screen(vga, &screen);
    picture->kind = screen.kind == VGA_SCREEN_TEXT       ? VMM_PICTURE_TEXT
                    : screen.kind == VGA_SCREEN_GRAPHICS ? VMM_PICTURE_GRAPHICS
                                                         : VMM_PICTURE_DARK;
    picture->width = screen.width;
    picture->height = screen.height;
    picture->text_bytes = 0;
    if (screen.kind == VGA_SCREEN_TEXT)
        take_text(vga, &screen, picture);
    else
        take_small(vga, &screen, picture, line);
    picture->file_bytes =
        (uint32_t)vga_picture(vga, line, file, VMM_PICTURE_FILE_BYTES - LINE_BYTES);
}
