/* Between the parts of the VGA model. */
#ifndef VMM_DEVICES_VGA_INTERNAL_H
#define VMM_DEVICES_VGA_INTERNAL_H

#include "devices/vga.h"

enum vga_sequencer {
    SEQUENCER_RESET,
    SEQUENCER_CLOCKING,
    SEQUENCER_MAP_MASK,
    SEQUENCER_FONTS,
    SEQUENCER_MEMORY
};
#define CLOCKING_EIGHT_DOTS 0x01u
#define CLOCKING_SCREEN_OFF 0x20u
#define MEMORY_NO_ODD_EVEN  0x04u
#define MEMORY_CHAIN_4      0x08u

enum vga_graphics {
    GRAPHICS_SET_RESET,
    GRAPHICS_SET_RESET_ENABLE,
    GRAPHICS_COLOUR_COMPARE,
    GRAPHICS_ROTATE,
    GRAPHICS_READ_MAP,
    GRAPHICS_MODE,
    GRAPHICS_MISC,
    GRAPHICS_COLOUR_CARE,
    GRAPHICS_BIT_MASK
};
#define GRAPHICS_MODE_WRITE    0x03u
#define GRAPHICS_MODE_COMPARE  0x08u /* read mode 1 */
#define GRAPHICS_MODE_ODD_EVEN 0x10u
#define GRAPHICS_MODE_SHIFT    0x60u
#define GRAPHICS_MODE_CGA      0x20u /* two bits a pixel */
#define GRAPHICS_MODE_256      0x40u
#define GRAPHICS_MISC_GRAPHICS 0x01u
#define GRAPHICS_MISC_MAP      0x0cu

enum vga_attribute {
    ATTRIBUTE_MODE = 0x10,
    ATTRIBUTE_OVERSCAN,
    ATTRIBUTE_PLANE_ENABLE,
    ATTRIBUTE_PANNING,
    ATTRIBUTE_COLOUR_SELECT
};
#define ATTRIBUTE_INDEX          0x1fu
#define ATTRIBUTE_PALETTE_SOURCE 0x20u /* of the index: the screen has its colours */
#define ATTRIBUTE_MODE_LINE      0x04u /* line graphics: the ninth dot repeats the eighth */
#define ATTRIBUTE_MODE_BLINK     0x08u
#define ATTRIBUTE_MODE_P54       0x80u /* bits 5 and 4 of a colour are the colour select's */

enum vga_crtc {
    CRTC_DISPLAY_END = 0x01,
    CRTC_OVERFLOW = 0x07,
    CRTC_MAX_SCAN = 0x09,
    CRTC_CURSOR_START = 0x0a,
    CRTC_CURSOR_END = 0x0b,
    CRTC_START_HIGH = 0x0c,
    CRTC_START_LOW = 0x0d,
    CRTC_CURSOR_HIGH = 0x0e,
    CRTC_CURSOR_LOW = 0x0f,
    CRTC_RETRACE_END = 0x11,
    CRTC_VERTICAL_END = 0x12,
    CRTC_OFFSET = 0x13,
    CRTC_MODE = 0x17,
    CRTC_LINE_COMPARE = 0x18
};
#define CRTC_MAX_SCAN_DOUBLE 0x80u
#define CRTC_CURSOR_OFF      0x20u
#define CRTC_PROTECT         0x80u /* of RETRACE_END: registers 0 to 7 can't be written */

#define MISC_COLOUR          0x01u /* the CRTC is at 0x3d4 */
#define MISC_RAM             0x02u /* the window is there */

/* Bochs' dispi registers. */
enum vga_vbe {
    VBE_ID,
    VBE_WIDTH,
    VBE_HEIGHT,
    VBE_BITS,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRTUAL_WIDTH,
    VBE_VIRTUAL_HEIGHT,
    VBE_X,
    VBE_Y,
    VBE_MEMORY
};
#define VBE_ENABLED    0x01u
#define VBE_CAPACITIES 0x02u
#define VBE_DAC_8      0x20u
#define VBE_NO_CLEAR   0x80u
#define VBE_BANK_BYTES 0x10000u

/* Is a VBE mode on, and is it one whose memory is linear? */
static inline bool vga_is_vbe(const struct vga *vga)
{
    return vga->vbe[VBE_ENABLE] & VBE_ENABLED;
}

static inline bool vga_is_vbe_linear(const struct vga *vga)
{
    return vga_is_vbe(vga) && vga->vbe[VBE_BITS] > 4;
}

static inline bool vga_wants_linear(const struct vga *vga)
{
    return vga_is_vbe_linear(vga) ||
           (!vga_is_vbe(vga) && vga->sequencer[SEQUENCER_MEMORY] & MEMORY_CHAIN_4);
}

/* Where a plane's byte is. Any offset is good: it wraps. */
static inline uint8_t *vga_plane_byte(const struct vga *vga, uint32_t offset, unsigned plane)
{
    offset &= VGA_PLANE_BYTES - 1;
    if (vga->is_linear)
        return &vga->linear[offset * 4 + plane];
    return &vga->planes[(plane & 2) * VGA_PLANE_BYTES + offset * 2 + (plane & 1)];
}

/* One byte of a port of 0x3b0 to 0x3df, of the memory window (from 0xa0000), of the dispi registers. */
uint8_t vga_port_read(struct vga *vga, unsigned port);
void vga_port_write(struct vga *vga, unsigned port, uint8_t value);
uint16_t vga_vbe_read(const struct vga *vga, unsigned number);
void vga_vbe_write(struct vga *vga, unsigned number, uint16_t value);
void vga_vbe_reset(struct vga *vga);
bool vga_vbe_attach(struct vga *vga);
bool vga_memory_attach(struct vga *vga);
/* Registers have changed: what the guest reaches without us is closed if it is not right any more. */
void vga_registers_changed(struct vga *vga);
/* The same of the bank register alone: the window stays open. */
void vga_bank_changed(struct vga *vga);
void vga_changed(struct vga *vga);

#endif
