/* A VGA's text screen on a terminal: cells that have changed become cursor movements, colours and characters. */
#ifndef VMM_DEVICES_VGA_TEXT_H
#define VMM_DEVICES_VGA_TEXT_H

#include "devices/character.h"
#include "devices/vga.h"

#define VGA_TEXT_COLUMNS_MAX 132u
#define VGA_TEXT_ROWS_MAX    60u
#define VGA_TEXT_CELLS       (VGA_TEXT_COLUMNS_MAX * VGA_TEXT_ROWS_MAX)
#define VGA_TEXT_PENDING     512u

struct vga_text {
    struct vga *vga;
    struct character_backend *backend;
    struct vga_screen screen;       /* as it was last looked at */
    unsigned columns, rows;         /* what the terminal shows of it; 0: no text */
    unsigned row, column;           /* where the terminal's cursor is */
    unsigned attribute;             /* what it writes with */
    bool cursor;                    /* it shows its cursor */
    uint16_t shown[VGA_TEXT_CELLS]; /* rows of `columns` */
    uint16_t now[VGA_TEXT_CELLS];
    char pending[VGA_TEXT_PENDING]; /* what the far end has not taken yet */
    size_t pending_bytes;
};

void vga_text_init(struct vga_text *text, struct vga *vga, struct character_backend *backend);
/* Shows what has changed, as far as the far end has room. True: something has, or more is to come. */
bool vga_text_refresh(struct vga_text *text);
/* The terminal has forgotten all: the next refresh shows it again. */
void vga_text_forget(struct vga_text *text);
/* The Unicode character of one of code page 437. */
unsigned vga_text_unicode(uint8_t character);

#endif
