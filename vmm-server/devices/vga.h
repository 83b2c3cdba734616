/*
 * VGA with Bochs' VBE extensions, as QEMU's "stdvga" has them. The model's contract is at the head of vga.c; its parts are
 * vga.c (ports), vga_memory.c (the window at 0xa0000), vga_vbe.c, vga_render.c (pixels).
 */
#ifndef VMM_DEVICES_VGA_H
#define VMM_DEVICES_VGA_H

#include "device.h"

#define VGA_WINDOW          0xa0000u
#define VGA_WINDOW_BYTES    0x20000u
#define VGA_PLANE_BYTES     0x10000u
#define VGA_PLANES_BYTES    (4 * VGA_PLANE_BYTES)
#define VGA_PALETTE_ENTRIES 256u
#define VGA_REGISTERS_BYTES 0x1000u /* the PCI function's range of registers */

#define VGA_SEQUENCER_COUNT 5u
#define VGA_GRAPHICS_COUNT  9u
#define VGA_ATTRIBUTE_COUNT 21u
#define VGA_CRTC_COUNT      25u

#define VBE_REGISTERS       11u
#define VBE_WIDTH_MAX       2560u
#define VBE_HEIGHT_MAX      1600u

/* As wide as any screen that vga_render_line draws. */
#define VGA_LINE_PIXELS_MAX VBE_WIDTH_MAX

enum vga_screen_kind { VGA_SCREEN_BLANK, VGA_SCREEN_TEXT, VGA_SCREEN_GRAPHICS };

/* What the registers make of the memory: vga_screen fills it in. */
struct vga_screen {
    enum vga_screen_kind kind;
    unsigned width, height; /* in pixels; at most VGA_LINE_PIXELS_MAX wide */
    unsigned bits;          /* of a pixel: 1, 2, 4, 8, 15, 16, 24, 32 */
    unsigned columns, rows; /* TEXT */
    unsigned cell_width, cell_height;
    bool cursor; /* TEXT: it is visible, at: */
    unsigned cursor_column, cursor_row;
};

struct vga {
    struct device_host *host;
    /*
     * Two stores of the same planes, of which one holds: `planes` has planes 0 and 1 (text: character and attribute) byte
     * by byte after one another, and behind them 2 and 3; `linear` all four, as chain-4 and VBE modes show them.
     */
    uint8_t *planes, *linear;
    uint32_t linear_bytes;
    bool is_linear;
    uint8_t misc, feature;
    uint8_t sequencer_index, sequencer[VGA_SEQUENCER_COUNT];
    uint8_t graphics_index, graphics[VGA_GRAPHICS_COUNT];
    uint8_t attribute_index, attribute[VGA_ATTRIBUTE_COUNT];
    bool attribute_data; /* the flip-flop: the next write to 0x3c0 is data */
    bool display_enable; /* of input status 1, in turns */
    uint8_t crtc_index, crtc[VGA_CRTC_COUNT];
    uint8_t palette[VGA_PALETTE_ENTRIES][3];
    uint8_t dac_mask, dac_state, dac_read, dac_write, dac_component;
    uint8_t latch[4];
    uint16_t vbe_index, vbe[VBE_REGISTERS];
    uint32_t vbe_pitch; /* bytes from one line to the next */
    /* What the guest reaches without us; memory NULL: nothing. */
    struct vga_window {
        uint32_t base, size_bytes;
        uint8_t *memory;
    } window;
    uint64_t frame_at; /* where the linear memory is for the guest; 0: nowhere */
    /* The picture may have changed: a register was written, or a window was opened. NULL: nobody wants to know. */
    void (*changed)(struct vga *vga);
    void *display;
};

/* Memory of whole pages, cleared: `planes` of VGA_PLANES_BYTES, `linear` of at least as much. It begins in text mode, so that
 * what comes without a BIOS finds a screen. */
void vga_init(struct vga *vga, struct device_host *host, uint8_t *planes, uint8_t *linear,
              uint32_t linear_bytes);
void vga_reset(struct vga *vga);
/* Ports and the memory window. False: they do not fit onto the buses, or the window can't be taken out of RAM. */
bool vga_attach(struct vga *vga);
/* For a screen that no BIOS has set up: a font of 256 characters of 16 lines. */
void vga_load_font(struct vga *vga, const uint8_t *font);
void vga_dump(const struct vga *vga, struct sink *sink);

/* The range of registers of the PCI function. */
extern const struct bus_operations vga_registers;
/* The linear memory's place has changed; 0: it is nowhere. */
void vga_move_frame(struct vga *vga, uint64_t address);

/* Takes the window from the guest: its next access calls `changed`. */
void vga_watch(struct vga *vga);
/* Memory is brought into the form that the registers want: before anything is drawn. */
void vga_settle(struct vga *vga);
void vga_screen(const struct vga *vga, struct vga_screen *screen);
/* Line y of the screen, width pixels of 0xRRGGBB. */
void vga_render_line(const struct vga *vga, const struct vga_screen *screen, unsigned y,
                     uint32_t *pixels);
/* TEXT: a row's cells, character | attribute << 8. */
void vga_text_row(const struct vga *vga, const struct vga_screen *screen, unsigned row,
                  uint16_t *cells);

#endif
