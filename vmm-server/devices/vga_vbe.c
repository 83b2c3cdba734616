/* Bochs' VBE extensions ("dispi" registers), by ports 0x1ce to 0x1d0 and in memory. See vga.c. */
#include "devices/vga_internal.h"

#include "string.h"

#define PORT_INDEX    0x1ceu
#define PORTS         3u

#define ID_FIRST      0xb0c0u
#define ID_LAST       0xb0c5u
#define WIDTH_STEP    8u
#define BITS_DEFAULT  8u
#define BITS_CAPACITY 32u

/* The PCI function's registers in memory (standard-vga, "IO ports and memory regions"). */
#define MEMORY_PORTS     0x400u /* 0x3c0 to 0x3df */
#define MEMORY_PORTS_END 0x420u
#define MEMORY_DISPI     0x500u
#define MEMORY_DISPI_END (MEMORY_DISPI + 2 * VBE_REGISTERS)
#define MEMORY_EXTENDED  0x600u
#define MEMORY_ORDER     0x604u
#define EXTENDED_BYTES   8u
#define ORDER_LITTLE     0x1e1e1e1eu

static uint32_t banks(const struct vga *vga)
{
    return vga->linear_bytes / VBE_BANK_BYTES;
}

static bool is_depth(unsigned bits)
{
    return bits == 4 || bits == 8 || bits == 15 || bits == 16 || bits == 24 || bits == 32;
}

/* A pitch for so many pixels; 4 bits: of each plane. */
static uint32_t pitch_of(unsigned bits, uint32_t width)
{
    return bits == 4 ? width / 8 : width * ((bits + 7) / 8);
}

static uint32_t memory_of(const struct vga *vga, unsigned bits)
{
    return bits == 4 ? VGA_PLANE_BYTES : vga->linear_bytes;
}

/* While a mode is on its numbers fit together and into memory, whatever was written. */
static void fit(struct vga *vga)
{
    uint16_t *vbe = vga->vbe;
    if (!vga_is_vbe(vga))
        return;
    if (!is_depth(vbe[VBE_BITS]))
        vbe[VBE_BITS] = BITS_DEFAULT;
    unsigned bits = vbe[VBE_BITS];
    uint32_t width = vbe[VBE_WIDTH] & ~(WIDTH_STEP - 1);
    width = width < WIDTH_STEP ? WIDTH_STEP : width > VBE_WIDTH_MAX ? VBE_WIDTH_MAX : width;
    uint32_t wide = vbe[VBE_VIRTUAL_WIDTH] & ~(WIDTH_STEP - 1);
    uint32_t widest = memory_of(vga, bits) / pitch_of(bits, WIDTH_STEP) * WIDTH_STEP;
    wide = wide < width ? width : wide > widest ? widest : wide;
    vga->vbe_pitch = pitch_of(bits, wide);
    uint32_t lines = memory_of(vga, bits) / vga->vbe_pitch;
    uint32_t height = vbe[VBE_HEIGHT];
    height = height == 0 ? 1 : height > VBE_HEIGHT_MAX ? VBE_HEIGHT_MAX : height;
    height = height > lines ? lines : height;
    vbe[VBE_WIDTH] = (uint16_t)width;
    vbe[VBE_HEIGHT] = (uint16_t)height;
    vbe[VBE_VIRTUAL_WIDTH] = (uint16_t)wide;
    vbe[VBE_VIRTUAL_HEIGHT] = (uint16_t)(lines > UINT16_MAX ? UINT16_MAX : lines);
    if (vbe[VBE_X] > wide - width)
        vbe[VBE_X] = (uint16_t)(wide - width);
    if (vbe[VBE_Y] > lines - height)
        vbe[VBE_Y] = (uint16_t)(lines - height);
}

static void clear(struct vga *vga)
{
    vga->is_linear = vga_wants_linear(vga);
    if (vga->is_linear)
        memset(vga->linear, 0, (size_t)vga->vbe_pitch * vga->vbe[VBE_HEIGHT]);
    else
        memset(vga->planes, 0, VGA_PLANES_BYTES);
}

static void enable(struct vga *vga, uint16_t value)
{
    uint16_t before = vga->vbe[VBE_ENABLE];
    vga->vbe[VBE_ENABLE] = value;
    /* The DAC's colours keep their look when their width changes. */
    if ((before ^ value) & VBE_DAC_8)
        for (unsigned n = 0; n < VGA_PALETTE_ENTRIES; n++)
            for (unsigned i = 0; i < 3; i++)
                vga->palette[n][i] = (uint8_t)(value & VBE_DAC_8 ? vga->palette[n][i] << 2
                                                                 : vga->palette[n][i] >> 2);
    if (!(value & VBE_ENABLED)) {
        vga->vbe[VBE_BANK] = 0;
        return;
    }
    if (before & VBE_ENABLED)
        return;
    vga->vbe[VBE_X] = vga->vbe[VBE_Y] = 0;
    vga->vbe[VBE_VIRTUAL_WIDTH] = 0;
    vga->vbe[VBE_BANK] = 0;
    fit(vga);
    if (!(value & VBE_NO_CLEAR))
        clear(vga);
}

uint16_t vga_vbe_read(const struct vga *vga, unsigned number)
{
    bool capacities = vga->vbe[VBE_ENABLE] & VBE_CAPACITIES;
    if (number >= VBE_REGISTERS)
        return 0;
    switch (number) {
    case VBE_WIDTH: return capacities ? VBE_WIDTH_MAX : vga->vbe[number];
    case VBE_HEIGHT: return capacities ? VBE_HEIGHT_MAX : vga->vbe[number];
    case VBE_BITS: return capacities ? BITS_CAPACITY : vga->vbe[number];
    case VBE_MEMORY: return (uint16_t)banks(vga);
    default: return vga->vbe[number];
    }
}

void vga_vbe_write(struct vga *vga, unsigned number, uint16_t value)
{
    switch (number) {
    case VBE_ID:
        if (value >= ID_FIRST && value <= ID_LAST)
            vga->vbe[VBE_ID] = value;
        return;
    case VBE_BANK:
        if (value < banks(vga))
            vga->vbe[VBE_BANK] = value;
        vga_bank_changed(vga);
        return;
    case VBE_WIDTH:
    case VBE_HEIGHT:
    case VBE_BITS:
    case VBE_VIRTUAL_WIDTH:
    case VBE_X:
    case VBE_Y:
        vga->vbe[number] = value;
        fit(vga);
        break;
    case VBE_ENABLE: enable(vga, value); break;
    default: return; /* what there is of memory, and the height that follows from it */
    }
    vga_registers_changed(vga);
    vga_changed(vga);
}

void vga_vbe_reset(struct vga *vga)
{
    memset(vga->vbe, 0, sizeof vga->vbe);
    vga->vbe[VBE_ID] = ID_LAST;
    vga->vbe_index = 0;
    vga->vbe_pitch = 0;
}

/* ---- ports ----------------------------------------------------------------------------------------------- */

/* The index is at 0x1ce, data at 0x1cf and at 0x1d0; all have two bytes. */
static bool ports_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct vga *vga = device;
    if (size_bytes > 2)
        return false;
    *value = offset == 0 ? vga->vbe_index : vga_vbe_read(vga, vga->vbe_index);
    return true;
}

static bool ports_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct vga *vga = device;
    if (size_bytes > 2)
        return false;
    if (offset == 0)
        vga->vbe_index = (uint16_t)value;
    else
        vga_vbe_write(vga, vga->vbe_index, (uint16_t)value);
    return true;
}

bool vga_vbe_attach(struct vga *vga)
{
    static const struct bus_operations operations = {.read = ports_read, .write = ports_write};
    /* A word at the last port takes one more. */
    const struct bus_range range = {PORT_INDEX, PORTS + 1, &operations, vga, "VBE"};
    return bus_add(vga->host->ports, &range);
}

/* ---- in memory ------------------------------------------------------------------------------------------- */

static bool memory_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct vga *vga = device;
    *value = 0;
    if (offset >= MEMORY_PORTS && offset + size_bytes <= MEMORY_PORTS_END) {
        for (unsigned i = 0; i < size_bytes; i++)
            *value |= (uint64_t)vga_port_read(vga, 0x3c0u + (unsigned)offset - MEMORY_PORTS + i)
                      << (8 * i);
    } else if (offset >= MEMORY_DISPI && offset < MEMORY_DISPI_END && size_bytes == 2) {
        *value = vga_vbe_read(vga, (unsigned)(offset - MEMORY_DISPI) / 2);
    } else if (offset == MEMORY_EXTENDED && size_bytes == 4) {
        *value = EXTENDED_BYTES;
    } else if (offset == MEMORY_ORDER && size_bytes == 4) {
        *value = ORDER_LITTLE;
    }
    return true;
}

static bool memory_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct vga *vga = device;
    if (offset >= MEMORY_PORTS && offset + size_bytes <= MEMORY_PORTS_END) {
        for (unsigned i = 0; i < size_bytes; i++)
            vga_port_write(vga, 0x3c0u + (unsigned)offset - MEMORY_PORTS + i,
                           (uint8_t)(value >> (8 * i)));
    } else if (offset >= MEMORY_DISPI && offset < MEMORY_DISPI_END && size_bytes == 2) {
        vga_vbe_write(vga, (unsigned)(offset - MEMORY_DISPI) / 2, (uint16_t)value);
    }
    return true;
}

const struct bus_operations vga_registers = {.read = memory_read, .write = memory_write};

void vga_move_frame(struct vga *vga, uint64_t address)
{
    struct device_host *host = vga->host;
    if (vga->frame_at)
        host->map(host, vga->frame_at, vga->linear_bytes, NULL, false);
    vga->frame_at = 0;
    if (!address)
        return;
    if (host->map(host, address, vga->linear_bytes, vga->linear, true))
        vga->frame_at = address;
    else
        print(host->log,
              "the screen's memory can't be mapped: use a larger pool=SIZE on the kernel's "
              "command line\n");
}
