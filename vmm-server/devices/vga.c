/*
 * VGA with Bochs' VBE extensions: QEMU's "stdvga".
 *
 * State:    sequencer, graphics controller, attribute controller with its flip-flop, CRTC, DAC with 256 colours, latches,
 *           four planes of 64 KiB, the dispi registers, linear memory, and what of it the guest reaches without an exit.
 * Features: text modes (40 to 132 columns, 8 and 9 dots, fonts in plane 2, blinking as background), CGA modes 4 to 6, planar
 *           modes with write modes 0 to 3 and read modes 0 and 1, chain-4 and mode X, split screen (line compare); VBE modes of
 *           4, 8, 15, 16, 24 and 32 bits with virtual width and display start, banked and linear; ports, the PCI function's
 *           registers in memory. Text and linear memory is mapped into the guest while the registers let it look as the window
 *           shows it (map mask, bit mask, write mode); everything else goes through the model.
 * Missing:  addresses in odd/even and chain-4 modes are without gaps, as Bochs and QEMU have them: a plane's offset is the
 *           address divided by 2 or 4. Panning by pixels, overscan, blinking over time, interrupts at retrace, EDID; latches
 *           are not loaded by reads that need no exit. VBE modes of 4 bits end with the plane. While a planar mode is on, the
 *           linear range does not show the planes.
 * Spec:     IBM VGA Technical Reference (PS/2 Hardware Interface, September 1992), "Video Subsystem"; Bochs VBE
 *           (iodev/display/vga.h, "VBE DISPI"); QEMU docs/specs/standard-vga.
 */
#include "devices/vga.h"

#include "devices/vga_internal.h"
#include "string.h"

/* The vertical retrace comes 70 times a second and takes a sixteenth of the time. */
#define FRAMES_A_SECOND 70u
#define RETRACE_PART    16u

enum {
    PORT_CRTC_INDEX = 0x3d4,
    PORT_CRTC_DATA = 0x3d5,
    PORT_STATUS_1 = 0x3da, /* written: feature control */
    PORT_ATTRIBUTE = 0x3c0,
    PORT_ATTRIBUTE_READ = 0x3c1,
    PORT_MISC = 0x3c2, /* read: input status 0 */
    PORT_SEQUENCER_INDEX = 0x3c4,
    PORT_SEQUENCER_DATA = 0x3c5,
    PORT_DAC_MASK = 0x3c6,
    PORT_DAC_READ = 0x3c7, /* read: the DAC's state */
    PORT_DAC_WRITE = 0x3c8,
    PORT_DAC_DATA = 0x3c9,
    PORT_FEATURE_READ = 0x3ca,
    PORT_MISC_READ = 0x3cc,
    PORT_GRAPHICS_INDEX = 0x3ce,
    PORT_GRAPHICS_DATA = 0x3cf,
};
#define MONO_CRTC           0x3b4u
#define MONO_CRTC_DATA      0x3b5u
#define MONO_STATUS         0x3bau
#define COLOUR_LESS_MONO    0x20u

#define STATUS_1_NO_DISPLAY 0x01u
#define STATUS_1_RETRACE    0x08u
#define STATUS_0_SENSE      0x10u /* a colour monitor is there */
#define DAC_STATE_READ      0x03u
#define PALETTE_BITS_6      0x3fu

void vga_changed(struct vga *vga)
{
    if (vga->changed)
        vga->changed(vga);
}

/* ---- attribute controller ------------------------------------------------------------------------------ */

static const uint8_t attribute_mask[VGA_ATTRIBUTE_COUNT] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f};

static void write_attribute(struct vga *vga, uint8_t value)
{
    unsigned index = vga->attribute_index & ATTRIBUTE_INDEX;
    if (!vga->attribute_data)
        vga->attribute_index = value & (ATTRIBUTE_INDEX | ATTRIBUTE_PALETTE_SOURCE);
    else if (index < VGA_ATTRIBUTE_COUNT)
        vga->attribute[index] = value & attribute_mask[index];
    vga->attribute_data = !vga->attribute_data;
}

static uint8_t read_attribute(const struct vga *vga)
{
    unsigned index = vga->attribute_index & ATTRIBUTE_INDEX;
    return index < VGA_ATTRIBUTE_COUNT ? vga->attribute[index] : 0;
}

/* ---- DAC ------------------------------------------------------------------------------------------------ */

static uint8_t colour_mask(const struct vga *vga)
{
    return vga->vbe[VBE_ENABLE] & VBE_DAC_8 ? 0xff : PALETTE_BITS_6;
}

static void write_colour(struct vga *vga, uint8_t value)
{
    vga->palette[vga->dac_write][vga->dac_component] = value & colour_mask(vga);
    if (++vga->dac_component == 3) {
        vga->dac_component = 0;
        vga->dac_write++;
    }
}

static uint8_t read_colour(struct vga *vga)
{
    uint8_t value = vga->palette[vga->dac_read][vga->dac_component];
    if (++vga->dac_component == 3) {
        vga->dac_component = 0;
        vga->dac_read++;
    }
    return value;
}

/* ---- the other indexed registers ----------------------------------------------------------------------- */

static const uint8_t sequencer_mask[VGA_SEQUENCER_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t graphics_mask[VGA_GRAPHICS_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03,
                                                          0x7b, 0x0f, 0x0f, 0xff};

static void write_crtc(struct vga *vga, uint8_t value)
{
    unsigned index = vga->crtc_index;
    if (index >= VGA_CRTC_COUNT)
        return;
    if (index <= CRTC_OVERFLOW && vga->crtc[CRTC_RETRACE_END] & CRTC_PROTECT) {
        /* Line compare's bit 8 is writable all the same. */
        if (index == CRTC_OVERFLOW)
            vga->crtc[index] = (uint8_t)((vga->crtc[index] & ~0x10u) | (value & 0x10u));
        return;
    }
    vga->crtc[index] = value;
}

/* Vertical retrace by the clock; the display's enable changes with every look at it, so that waits for a line end soon. */
static uint8_t read_status_1(struct vga *vga)
{
    uint64_t frame = vga->host->tsc_khz * 1000 / FRAMES_A_SECOND;
    uint64_t phase = frame ? vga->host->now() % frame : 0;
    vga->attribute_data = false;
    vga->display_enable = !vga->display_enable;
    if (phase < frame / RETRACE_PART)
        return STATUS_1_RETRACE | STATUS_1_NO_DISPLAY;
    return vga->display_enable ? 0 : STATUS_1_NO_DISPLAY;
}

/* The CRTC and the status are at 0x3b. or 0x3d., as the miscellaneous output says; 0: nothing is there now. */
static unsigned placed(const struct vga *vga, unsigned port)
{
    bool is_mono = port == MONO_CRTC || port == MONO_CRTC_DATA || port == MONO_STATUS;
    bool is_colour = port == PORT_CRTC_INDEX || port == PORT_CRTC_DATA || port == PORT_STATUS_1;
    if (is_mono)
        return vga->misc & MISC_COLOUR ? 0 : port + COLOUR_LESS_MONO;
    return is_colour && !(vga->misc & MISC_COLOUR) ? 0 : port;
}

uint8_t vga_port_read(struct vga *vga, unsigned port)
{
    switch (placed(vga, port)) {
    case PORT_ATTRIBUTE: return vga->attribute_data ? 0 : vga->attribute_index;
    case PORT_ATTRIBUTE_READ: return read_attribute(vga);
    case PORT_MISC: return STATUS_0_SENSE;
    case PORT_SEQUENCER_INDEX: return vga->sequencer_index;
    case PORT_SEQUENCER_DATA:
        return vga->sequencer_index < VGA_SEQUENCER_COUNT ? vga->sequencer[vga->sequencer_index]
                                                          : 0;
    case PORT_DAC_MASK: return vga->dac_mask;
    case PORT_DAC_READ: return vga->dac_state;
    case PORT_DAC_WRITE: return vga->dac_write;
    case PORT_DAC_DATA: return read_colour(vga);
    case PORT_FEATURE_READ: return vga->feature;
    case PORT_MISC_READ: return vga->misc;
    case PORT_GRAPHICS_INDEX: return vga->graphics_index;
    case PORT_GRAPHICS_DATA:
        return vga->graphics_index < VGA_GRAPHICS_COUNT ? vga->graphics[vga->graphics_index] : 0;
    case PORT_CRTC_INDEX: return vga->crtc_index;
    case PORT_CRTC_DATA: return vga->crtc_index < VGA_CRTC_COUNT ? vga->crtc[vga->crtc_index] : 0;
    case PORT_STATUS_1: return read_status_1(vga);
    default: return 0xff;
    }
}

static void write_dac(struct vga *vga, unsigned port, uint8_t value)
{
    switch (port) {
    case PORT_DAC_MASK: vga->dac_mask = value; break;
    case PORT_DAC_READ:
        vga->dac_read = value;
        vga->dac_component = 0;
        vga->dac_state = DAC_STATE_READ;
        break;
    case PORT_DAC_WRITE:
        vga->dac_write = value;
        vga->dac_component = 0;
        vga->dac_state = 0;
        break;
    default: write_colour(vga, value); break;
    }
}

void vga_port_write(struct vga *vga, unsigned port, uint8_t value)
{
    port = placed(vga, port);
    switch (port) {
    case PORT_ATTRIBUTE: write_attribute(vga, value); break;
    case PORT_MISC:
        vga->misc = value;
        vga_registers_changed(vga);
        break;
    case PORT_SEQUENCER_INDEX: vga->sequencer_index = value; return;
    case PORT_SEQUENCER_DATA:
        if (vga->sequencer_index < VGA_SEQUENCER_COUNT)
            vga->sequencer[vga->sequencer_index] = value & sequencer_mask[vga->sequencer_index];
        vga_registers_changed(vga);
        break;
    case PORT_DAC_MASK:
    case PORT_DAC_READ:
    case PORT_DAC_WRITE:
    case PORT_DAC_DATA: write_dac(vga, port, value); break;
    case PORT_GRAPHICS_INDEX: vga->graphics_index = value; return;
    case PORT_GRAPHICS_DATA:
        if (vga->graphics_index < VGA_GRAPHICS_COUNT)
            vga->graphics[vga->graphics_index] = value & graphics_mask[vga->graphics_index];
        vga_registers_changed(vga);
        break;
    case PORT_CRTC_INDEX: vga->crtc_index = value; return;
    case PORT_CRTC_DATA: write_crtc(vga, value); break;
    case PORT_STATUS_1: vga->feature = value & 0x03; break;
    default: return;
    }
    vga_changed(vga);
}

/* ---- buses ----------------------------------------------------------------------------------------------- */

/* Wider accesses are as many of a byte: an index and its data in one. */
static bool read_ports(struct vga *vga, unsigned port, unsigned size_bytes, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)vga_port_read(vga, port + i) << (8 * i);
    return true;
}

static bool write_ports(struct vga *vga, unsigned port, unsigned size_bytes, uint64_t value)
{
    for (unsigned i = 0; i < size_bytes; i++)
        vga_port_write(vga, port + i, (uint8_t)(value >> (8 * i)));
    return true;
}

#define PORTS_MONO   0x3b0u
#define PORTS_COLOUR 0x3c0u

static bool mono_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    return read_ports(device, PORTS_MONO + (unsigned)offset, size_bytes, value);
}

static bool mono_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    return write_ports(device, PORTS_MONO + (unsigned)offset, size_bytes, value);
}

static bool colour_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    return read_ports(device, PORTS_COLOUR + (unsigned)offset, size_bytes, value);
}

static bool colour_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    return write_ports(device, PORTS_COLOUR + (unsigned)offset, size_bytes, value);
}

bool vga_attach(struct vga *vga)
{
    static const struct bus_operations mono = {.read = mono_read, .write = mono_write};
    static const struct bus_operations colour = {.read = colour_read, .write = colour_write};
    /* Behind 0x3bb is a parallel port's place. */
    const struct bus_range ranges[] = {
        {PORTS_MONO, 12, &mono, vga, "VGA, monochrome"},
        {PORTS_COLOUR, 32, &colour, vga, "VGA"},
    };
    return bus_add(vga->host->ports, &ranges[0]) && bus_add(vga->host->ports, &ranges[1]) &&
           vga_vbe_attach(vga) && vga_memory_attach(vga);
}

/* ---- beginning --------------------------------------------------------------------------------------------- */

/* Text of 80 by 25, as a BIOS sets it (mode 3, 720 by 400). */
static const uint8_t text_sequencer[VGA_SEQUENCER_COUNT] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t text_graphics[VGA_GRAPHICS_COUNT] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff};
static const uint8_t text_attribute[VGA_ATTRIBUTE_COUNT] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
    0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
static const uint8_t text_crtc[VGA_CRTC_COUNT] = {
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
    0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
#define TEXT_MISC 0x67u
#define BLANK     0x0720u

/* The 64 colours of an EGA: two bits for each of red, green and blue. */
static void load_colours(struct vga *vga)
{
    for (unsigned n = 0; n < VGA_PALETTE_ENTRIES; n++)
        for (unsigned i = 0; i < 3; i++) {
            unsigned bit = 2 - i;
            vga->palette[n][i] =
                (uint8_t)((n >> bit & 1 ? 0x2a : 0) + (n >> (bit + 3) & 1 ? 0x15 : 0));
        }
}

void vga_reset(struct vga *vga)
{
    vga->misc = TEXT_MISC;
    vga->feature = 0;
    vga->sequencer_index = vga->graphics_index = vga->crtc_index = 0;
    vga->attribute_index = ATTRIBUTE_PALETTE_SOURCE;
    vga->attribute_data = false;
    memcpy(vga->sequencer, text_sequencer, sizeof vga->sequencer);
    memcpy(vga->graphics, text_graphics, sizeof vga->graphics);
    memcpy(vga->attribute, text_attribute, sizeof vga->attribute);
    memcpy(vga->crtc, text_crtc, sizeof vga->crtc);
    vga->dac_mask = 0xff;
    vga->dac_state = vga->dac_read = vga->dac_write = vga->dac_component = 0;
    load_colours(vga);
    memset(vga->latch, 0, sizeof vga->latch);
    vga_vbe_reset(vga);
    vga_registers_changed(vga);
    vga_settle(vga);
    for (uint32_t i = 0; i < VGA_PLANE_BYTES; i++) {
        *vga_plane_byte(vga, i, 0) = BLANK & 0xff;
        *vga_plane_byte(vga, i, 1) = BLANK >> 8;
    }
    vga_changed(vga);
}

void vga_init(struct vga *vga, struct device_host *host, uint8_t *planes, uint8_t *linear,
              uint32_t linear_bytes)
{
    *vga = (struct vga){
        .host = host, .planes = planes, .linear = linear, .linear_bytes = linear_bytes};
    vga_reset(vga);
}

#define FONT_LINES  16u
#define FONT_STRIDE 32u

void vga_load_font(struct vga *vga, const uint8_t *font)
{
    for (uint32_t character = 0; character < 256; character++)
        for (uint32_t line = 0; line < FONT_LINES; line++)
            *vga_plane_byte(vga, character * FONT_STRIDE + line, 2) =
                font[character * FONT_LINES + line];
}

void vga_dump(const struct vga *vga, struct sink *sink)
{
    struct vga_screen screen;
    vga_screen(vga, &screen);
    print(sink, "  vga %ux%u, %u bits, memory mode %x, map mask %x, graphics mode %x, VBE %x\n",
          screen.width, screen.height, screen.bits, vga->sequencer[SEQUENCER_MEMORY],
          vga->sequencer[SEQUENCER_MAP_MASK], vga->graphics[GRAPHICS_MODE], vga->vbe[VBE_ENABLE]);
}
