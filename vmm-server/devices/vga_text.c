/*
 * A VGA's text screen on a terminal.
 *
 * State:    what the terminal shows, where its cursor is, what it writes with; output that the far end has not taken yet.
 * Features: up to 132 by 60 cells, sixteen colours, code page 437 as UTF-8, the cursor; lines that follow one another are
 *           written as lines, a screen that has moved up is moved up by the terminal, the end of a line is erased. A graphics
 *           mode is told in one line.
 * Missing:  characters of loaded fonts: they are shown as those of code page 437; split screens' cursors.
 * Spec:     ECMA-48 (CUP, ED, EL, SGR), DEC's DECSTBM and DECTCEM; IBM code page 437.
 */
#include "devices/vga_text.h"

#include "string.h"

#define BLANK      0x0720u
#define BACKGROUND 0x70u
#define PLAIN      0x07u
#define BLINK      0x80u
/* An unchanged stretch of a line that is shorter is written again: the cursor would cost more. */
#define BRIDGE 8u
/* What one step puts out at most: a movement, colours, a character, or as many line ends as there are rows. */
#define STEP_BYTES 128u
#define NOWHERE    UINT32_MAX

static const uint16_t controls[32] = {
    ' ',    0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
    0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
    0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc};
static const uint16_t high[129] = {
    0x2302, /* 0x7f */
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
    0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
    0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0};

unsigned vga_text_unicode(uint8_t character)
{
    if (character < 0x20)
        return controls[character];
    return character < 0x7f ? character : high[character - 0x7f];
}

/* ---- output --------------------------------------------------------------------------------------------- */

static void flush(struct vga_text *text)
{
    size_t done;
    if (text->pending_bytes == 0)
        return;
    done = text->backend->write(text->backend, text->pending, text->pending_bytes);
    if (done > text->pending_bytes)
        done = text->pending_bytes;
    text->pending_bytes -= done;
    memmove(text->pending, text->pending + done, text->pending_bytes);
}

/* Room for a step; false: the far end has none now. */
static bool room(struct vga_text *text)
{
    if (VGA_TEXT_PENDING - text->pending_bytes < STEP_BYTES)
        flush(text);
    return VGA_TEXT_PENDING - text->pending_bytes >= STEP_BYTES;
}

static void put(struct vga_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct vga_text *text, const char *format, ...)
{
    char words[STEP_BYTES];
    va_list list;
    va_start(list, format);
    print_buffer_list(words, sizeof words, format, list);
    va_end(list);
    size_t length = strlen(words), left = VGA_TEXT_PENDING - text->pending_bytes;
    memcpy(text->pending + text->pending_bytes, words, length < left ? length : left);
    text->pending_bytes += length < left ? length : left;
}

static void move(struct vga_text *text, unsigned row, unsigned column)
{
    if (text->row == row && text->column == column)
        return;
    if (text->row != NOWHERE && row == text->row + 1 && column == 0)
        put(text, "\r\n");
    else if (text->row == row && column == 0)
        put(text, "\r");
    else
        put(text, "\x1b[%u;%uH", row + 1, column + 1);
    text->row = row;
    text->column = column;
}

static void colours(struct vga_text *text, unsigned attribute)
{
    static const uint8_t ansi[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    if (text->attribute == attribute)
        return;
    if (attribute == PLAIN)
        put(text, "\x1b[0m");
    else
        put(text, "\x1b[0%s;%u;%um", attribute & BLINK ? ";5" : "",
            (attribute & 8 ? 90u : 30u) + ansi[attribute & 7], 40u + ansi[attribute >> 4 & 7]);
    text->attribute = attribute;
}

static void put_character(struct vga_text *text, uint8_t character)
{
    unsigned code = vga_text_unicode(character);
    if (code < 0x80)
        put(text, "%c", (int)code);
    else if (code < 0x800)
        put(text, "%c%c", (int)(0xc0 | code >> 6), (int)(0x80 | (code & 0x3f)));
    else
        put(text, "%c%c%c", (int)(0xe0 | code >> 12), (int)(0x80 | (code >> 6 & 0x3f)),
            (int)(0x80 | (code & 0x3f)));
    /* At the end of a line terminals differ in where the cursor is. */
    if (++text->column == text->columns)
        text->column = NOWHERE;
}

/* ---- what has changed ------------------------------------------------------------------------------------ */

/* Nothing is to be seen of a space's colour. */
static uint16_t plain(uint16_t cell)
{
    uint8_t character = cell & 0xff;
    if (character != 0 && character != ' ' && character != 0xff)
        return cell;
    return (uint16_t)((cell & 0x7000) | BLANK);
}

static void look(struct vga_text *text)
{
    uint16_t cells[256];
    for (unsigned row = 0; row < text->rows; row++) {
        vga_text_row(text->vga, &text->screen, row, cells);
        for (unsigned column = 0; column < text->columns; column++)
            text->now[row * text->columns + column] = plain(cells[column]);
    }
}

static bool same_row(const struct vga_text *text, unsigned now, unsigned shown)
{
    return memcmp(text->now + now * text->columns, text->shown + shown * text->columns,
                  text->columns * sizeof *text->now) == 0;
}

/* By how many rows the screen has moved up: at least half of what is left of it is as it was. 0: it has not. */
static unsigned moved_up(const struct vga_text *text)
{
    if (same_row(text, 0, 0))
        return 0;
    for (unsigned by = 1; by < text->rows; by++) {
        unsigned same = 0;
        while (same < text->rows - by && same_row(text, same, same + by))
            same++;
        if (same * 2 >= text->rows - by)
            return by;
    }
    return 0;
}

static void scroll(struct vga_text *text, unsigned by)
{
    unsigned kept = (text->rows - by) * text->columns;
    colours(text, PLAIN);
    move(text, text->rows - 1, 0);
    for (unsigned i = 0; i < by; i++)
        put(text, "\n");
    memmove(text->shown, text->shown + by * text->columns, kept * sizeof *text->shown);
    for (unsigned i = kept; i < text->rows * text->columns; i++)
        text->shown[i] = BLANK;
}

/* So many cells of a row are not blank, or are but not at its end. */
static unsigned length_of(const uint16_t *row, unsigned columns)
{
    while (columns && row[columns - 1] == BLANK)
        columns--;
    return columns;
}

/* The next cell to write in a row, from `column` on; `end`: no more. */
static unsigned next_change(const uint16_t *now, const uint16_t *shown, unsigned column,
                            unsigned end)
{
    while (column < end && now[column] == shown[column])
        column++;
    return column;
}

/* False: there is no room for all of it. */
static bool show_row(struct vga_text *text, unsigned row)
{
    uint16_t *now = text->now + row * text->columns, *shown = text->shown + row * text->columns;
    unsigned end = length_of(now, text->columns), was = length_of(shown, text->columns);
    unsigned column = next_change(now, shown, 0, end);
    /* A short stretch before it, in which nothing has changed, is written again: lines stay lines. */
    if (column <= BRIDGE && column < end && text->row != row)
        column = 0;
    while (column < end) {
        if (!room(text))
            return false;
        move(text, row, column);
        if ((now[column] & 0xff) != ' ' || ((now[column] >> 8) ^ text->attribute) & BACKGROUND)
            if ((now[column] & 0xff) != ' ' || ((now[column] >> 8) ^ text->attribute) & BACKGROUND)
                colours(text, now[column] >> 8);
        put_character(text, now[column] & 0xff);
        shown[column] = now[column];
        unsigned next = next_change(now, shown, column + 1, end);
        column = next - column - 1 <= BRIDGE && next < end ? column + 1 : next;
    }
    if (was <= end)
        return true;
    if (!room(text))
        return false;
    colours(text, PLAIN);
    move(text, row, end);
    put(text, "\x1b[K");
    for (unsigned i = end; i < was; i++)
        shown[i] = BLANK;
    return true;
}

/* ---- the screen -------------------------------------------------------------------------------------------- */

static bool is_same(const struct vga_screen *a, const struct vga_screen *b)
{
    return a->kind == b->kind && a->width == b->width && a->height == b->height &&
           a->bits == b->bits && a->columns == b->columns && a->rows == b->rows;
}

static void begin_text(struct vga_text *text)
{
    const struct vga_screen *screen = &text->screen;
    text->columns = screen->columns < VGA_TEXT_COLUMNS_MAX ? screen->columns : VGA_TEXT_COLUMNS_MAX;
    text->rows = screen->rows < VGA_TEXT_ROWS_MAX ? screen->rows : VGA_TEXT_ROWS_MAX;
    put(text, "\x1b[0m\x1b[1;%ur\x1b[2J\x1b[H\x1b[?25h", text->rows);
    text->row = text->column = 0;
    text->attribute = PLAIN;
    text->cursor = true;
    for (unsigned i = 0; i < text->columns * text->rows; i++)
        text->shown[i] = BLANK;
}

/* The screen has another form; false: no room to say so. A dark one leaves what is shown. */
static bool begin(struct vga_text *text, const struct vga_screen *screen)
{
    if (!room(text))
        return false;
    if (screen->kind == VGA_SCREEN_BLANK)
        return true;
    text->screen = *screen;
    text->columns = text->rows = 0;
    if (screen->kind == VGA_SCREEN_TEXT)
        begin_text(text);
    else
        put(text, "\x1b[0m\x1b[r\x1b[2J\x1b[Hgraphics: %u x %u, %u bits\r\n", screen->width,
            screen->height, screen->bits);
    return true;
}

static bool has_cursor(const struct vga_text *text)
{
    const struct vga_screen *screen = &text->screen;
    return screen->cursor && screen->cursor_row < text->rows &&
           screen->cursor_column < text->columns;
}

static bool show_cursor(struct vga_text *text)
{
    const struct vga_screen *screen = &text->screen;
    bool on = has_cursor(text);
    if (!room(text))
        return false;
    if (on)
        move(text, screen->cursor_row, screen->cursor_column);
    if (on != text->cursor)
        put(text, on ? "\x1b[?25h" : "\x1b[?25l");
    text->cursor = on;
    return true;
}

/* False: there is no room for all of it. */
static bool show(struct vga_text *text)
{
    if (!room(text))
        return false;
    unsigned up = moved_up(text);
    if (up)
        scroll(text, up);
    for (unsigned row = 0; row < text->rows; row++)
        if (!same_row(text, row, row) && !show_row(text, row))
            return false;
    return show_cursor(text);
}

static bool cursor_moved(const struct vga_text *text)
{
    bool on = has_cursor(text);
    return on != text->cursor || (on && (text->row != text->screen.cursor_row ||
                                         text->column != text->screen.cursor_column));
}

bool vga_text_refresh(struct vga_text *text)
{
    struct vga_screen screen;
    bool changed;
    vga_settle(text->vga);
    vga_screen(text->vga, &screen);
    changed = !is_same(&screen, &text->screen) && screen.kind != VGA_SCREEN_BLANK;
    if (changed && !begin(text, &screen))
        return true;
    if (screen.kind == VGA_SCREEN_TEXT && text->columns) {
        text->screen = screen;
        look(text);
        changed |=
            cursor_moved(text) ||
            memcmp(text->now, text->shown, text->rows * text->columns * sizeof *text->now) != 0;
        if (changed && !show(text))
            return true;
    }
    flush(text);
    return changed || text->pending_bytes;
}

void vga_text_forget(struct vga_text *text)
{
    text->screen = (struct vga_screen){.kind = VGA_SCREEN_BLANK};
    text->columns = text->rows = 0;
}

void vga_text_init(struct vga_text *text, struct vga *vga, struct character_backend *backend)
{
    text->vga = vga;
    text->backend = backend;
    text->row = text->column = NOWHERE;
    text->pending_bytes = 0;
    vga_text_forget(text);
}
