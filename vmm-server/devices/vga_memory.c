/* The VGA's window at 0xa0000: what of it is mapped into the guest, and accesses to all else. See vga.c. */
#include "devices/vga_internal.h"

#include "string.h"

/* ---- two stores ------------------------------------------------------------------------------------------ */

/* Brings the planes into the other store: the first 256 KiB of linear memory are the four planes, byte by byte. */
void vga_settle(struct vga *vga)
{
    bool linear = vga_wants_linear(vga);
    if (vga->is_linear == linear)
        return;
    uint8_t *low = vga->planes, *high = vga->planes + 2 * VGA_PLANE_BYTES, *all = vga->linear;
    for (uint32_t i = 0; i < VGA_PLANE_BYTES; i++, low += 2, high += 2, all += 4) {
        if (linear) {
            memcpy(all, low, 2);
            memcpy(all + 2, high, 2);
        } else {
            memcpy(low, all, 2);
            memcpy(high, all + 2, 2);
        }
    }
    vga->is_linear = linear;
}

/* ---- the direct window ------------------------------------------------------------------------------------- */

/* Which addresses are the VGA's (graphics controller, miscellaneous, bits 2 and 3). */
static void decoded(const struct vga *vga, uint32_t *base, uint32_t *size_bytes)
{
    static const struct {
        uint32_t base, size_bytes;
    } maps[] = {{0xa0000, 0x20000}, {0xa0000, 0x10000}, {0xb0000, 0x8000}, {0xb8000, 0x8000}};
    unsigned map = vga->graphics[GRAPHICS_MISC] >> 2 & 3;
    *base = maps[map].base;
    *size_bytes = vga->misc & MISC_RAM ? maps[map].size_bytes : 0;
}

/* Do bytes go as they are to planes 0 and 1 in turns, and come back so? */
static bool is_plain_text(const struct vga *vga)
{
    const uint8_t *graphics = vga->graphics;
    return !(vga->sequencer[SEQUENCER_MEMORY] & (MEMORY_NO_ODD_EVEN | MEMORY_CHAIN_4)) &&
           vga->sequencer[SEQUENCER_MAP_MASK] == 3 &&
           (graphics[GRAPHICS_MODE] & (GRAPHICS_MODE_WRITE | GRAPHICS_MODE_COMPARE |
                                       GRAPHICS_MODE_ODD_EVEN)) == GRAPHICS_MODE_ODD_EVEN &&
           graphics[GRAPHICS_BIT_MASK] == 0xff && graphics[GRAPHICS_SET_RESET_ENABLE] == 0 &&
           graphics[GRAPHICS_ROTATE] == 0 && !(graphics[GRAPHICS_READ_MAP] & 2);
}

/* What the guest may have without us, as the registers are; memory NULL: nothing. */
static struct vga_window wanted_window(const struct vga *vga)
{
    struct vga_window window = {0};
    decoded(vga, &window.base, &window.size_bytes);
    if (vga_is_vbe_linear(vga)) {
        window.base = VGA_WINDOW;
        window.size_bytes = VBE_BANK_BYTES;
        window.memory = vga->linear + (uint32_t)vga->vbe[VBE_BANK] * VBE_BANK_BYTES;
    } else if (window.size_bytes == 0 || vga_is_vbe(vga)) {
        return window;
    } else if (vga->sequencer[SEQUENCER_MEMORY] & MEMORY_CHAIN_4) {
        if (vga->sequencer[SEQUENCER_MAP_MASK] == 0xf)
            window.memory = vga->linear;
    } else if (is_plain_text(vga)) {
        window.memory = vga->planes;
    }
    return window;
}

static bool is_same(const struct vga_window *a, const struct vga_window *b)
{
    return a->memory == b->memory && a->base == b->base && a->size_bytes == b->size_bytes;
}

static void close_window(struct vga *vga)
{
    struct vga_window *window = &vga->window;
    if (window->memory)
        vga->host->map(vga->host, window->base, window->size_bytes, NULL, false);
    window->memory = NULL;
}

/* At an access: what is refused for want of memory goes on through the model. */
static void open_window(struct vga *vga)
{
    struct vga_window wanted = wanted_window(vga);
    if (!wanted.memory || is_same(&wanted, &vga->window))
        return;
    close_window(vga);
    if (vga->host->map(vga->host, wanted.base, wanted.size_bytes, wanted.memory, true))
        vga->window = wanted;
}

void vga_registers_changed(struct vga *vga)
{
    struct vga_window wanted = wanted_window(vga);
    if (vga->window.memory && !is_same(&wanted, &vga->window))
        close_window(vga);
}

void vga_bank_changed(struct vga *vga)
{
    if (vga->window.memory)
        open_window(vga);
}

void vga_watch(struct vga *vga)
{
    close_window(vga);
}

/* ---- accesses through the model ------------------------------------------------------------------------------ */

/* The offset in a plane of an address in the window; false: not the VGA's. */
static bool place(const struct vga *vga, uint32_t address, uint32_t *offset)
{
    uint32_t base, size_bytes;
    decoded(vga, &base, &size_bytes);
    *offset = VGA_WINDOW + address - base;
    return VGA_WINDOW + address >= base && *offset < size_bytes;
}

static uint8_t read_planes(struct vga *vga, uint32_t offset, unsigned plane)
{
    const uint8_t *graphics = vga->graphics;
    for (unsigned n = 0; n < 4; n++)
        vga->latch[n] = *vga_plane_byte(vga, offset, n);
    if (!(graphics[GRAPHICS_MODE] & GRAPHICS_MODE_COMPARE))
        return vga->latch[plane];
    uint8_t differ = 0;
    for (unsigned n = 0; n < 4; n++)
        if (graphics[GRAPHICS_COLOUR_CARE] >> n & 1)
            differ |= vga->latch[n] ^ (graphics[GRAPHICS_COLOUR_COMPARE] >> n & 1 ? 0xff : 0);
    return (uint8_t)~differ;
}

static uint8_t read_byte(struct vga *vga, uint32_t address)
{
    uint32_t offset;
    if (vga_is_vbe_linear(vga))
        return address < VBE_BANK_BYTES
                   ? vga->linear[(uint32_t)vga->vbe[VBE_BANK] * VBE_BANK_BYTES + address]
                   : 0xff;
    if (!place(vga, address, &offset))
        return 0xff;
    unsigned plane = vga->graphics[GRAPHICS_READ_MAP];
    if (vga->sequencer[SEQUENCER_MEMORY] & MEMORY_CHAIN_4 && !vga_is_vbe(vga))
        return read_planes(vga, offset / 4, offset & 3);
    if (vga->graphics[GRAPHICS_MODE] & GRAPHICS_MODE_ODD_EVEN)
        return read_planes(vga, offset / 2, (plane & 2) | (offset & 1));
    return read_planes(vga, offset, plane);
}

static uint8_t rotated(uint8_t value, unsigned by)
{
    return (uint8_t)(value >> by | value << (8 - by));
}

static uint8_t combined(const struct vga *vga, uint8_t value, uint8_t latch)
{
    switch (vga->graphics[GRAPHICS_ROTATE] >> 3) {
    case 1: return value & latch;
    case 2: return value | latch;
    case 3: return value ^ latch;
    default: return value;
    }
}

/* What a write makes of a plane's byte (graphics controller, mode, bits 0 and 1). */
static uint8_t written(const struct vga *vga, unsigned plane, uint8_t value)
{
    const uint8_t *graphics = vga->graphics;
    uint8_t latch = vga->latch[plane], mask = graphics[GRAPHICS_BIT_MASK];
    uint8_t set = graphics[GRAPHICS_SET_RESET] >> plane & 1 ? 0xff : 0;
    unsigned by = graphics[GRAPHICS_ROTATE] & 7;
    switch (graphics[GRAPHICS_MODE] & GRAPHICS_MODE_WRITE) {
    case 0:
        if (!(graphics[GRAPHICS_SET_RESET_ENABLE] >> plane & 1))
            set = rotated(value, by);
        break;
    case 1: return latch;
    case 2: set = value >> plane & 1 ? 0xff : 0; break;
    default: mask &= rotated(value, by); break;
    }
    return (uint8_t)((combined(vga, set, latch) & mask) | (latch & ~mask));
}

static void write_byte(struct vga *vga, uint32_t address, uint8_t value)
{
    uint32_t offset;
    unsigned planes = vga->sequencer[SEQUENCER_MAP_MASK];
    if (vga_is_vbe_linear(vga)) {
        if (address < VBE_BANK_BYTES)
            vga->linear[(uint32_t)vga->vbe[VBE_BANK] * VBE_BANK_BYTES + address] = value;
        return;
    }
    if (!place(vga, address, &offset))
        return;
    if (vga->sequencer[SEQUENCER_MEMORY] & MEMORY_CHAIN_4 && !vga_is_vbe(vga)) {
        planes &= 1u << (offset & 3);
        offset /= 4;
    } else if (!(vga->sequencer[SEQUENCER_MEMORY] & MEMORY_NO_ODD_EVEN)) {
        planes &= offset & 1 ? 0xa : 0x5;
        offset /= 2;
    }
    for (unsigned plane = 0; plane < 4; plane++)
        if (planes >> plane & 1)
            *vga_plane_byte(vga, offset, plane) = written(vga, plane, value);
}

static bool window_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct vga *vga = device;
    vga_settle(vga);
    open_window(vga);
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)read_byte(vga, (uint32_t)offset + i) << (8 * i);
    return true;
}

static bool window_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct vga *vga = device;
    vga_settle(vga);
    open_window(vga);
    for (unsigned i = 0; i < size_bytes; i++)
        write_byte(vga, (uint32_t)offset + i, (uint8_t)(value >> (8 * i)));
    vga_changed(vga);
    return true;
}

bool vga_memory_attach(struct vga *vga)
{
    static const struct bus_operations operations = {.read = window_read, .write = window_write};
    const struct bus_range range = {VGA_WINDOW, VGA_WINDOW_BYTES, &operations, vga, "VGA memory"};
    return vga->host->map(vga->host, VGA_WINDOW, VGA_WINDOW_BYTES, NULL, false) &&
           bus_add(vga->host->addresses, &range);
}
