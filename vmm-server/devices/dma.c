/*
 * Two 8237A DMA controllers with a PC's page registers.
 *
 * State:    for each channel base and current address and count, mode, page and mask; command, status, flip-flop of
 *           each chip.
 * Features: transfers of a device to and from memory, and verifying; up and down, automatic initialization, terminal
 *           count; bytes on channels 0 to 3, words on 5 to 7. Addresses wrap inside their 64 KiB (128 KiB for words).
 * Missing:  memory to memory, cascade of other masters, the priorities and timing of the bus: a device asks, and is
 *           served at once. Requests by software are kept, and serve nobody.
 * Spec:     Intel 8237A, September 1993 (order 231466-005); 82371SB PIIX3, April 1997, 2.5.1 (page registers).
 */
#include "devices/dma.h"

#include "string.h"

#define FIRST_PORT  0x00u
#define PAGE_PORT   0x80u
#define SECOND_PORT 0xc0u
#define PORTS       16u

enum register_number {
    REGISTER_COMMAND = 8, /* read: status */
    REGISTER_REQUEST,
    REGISTER_MASK,
    REGISTER_MODE,
    REGISTER_FLIP_FLOP,
    REGISTER_CLEAR, /* read: the temporary register of memory to memory */
    REGISTER_UNMASK,
    REGISTER_ALL_MASKS,
};

#define COMMAND_OFF    0x04u
#define MODE_KIND      0x0cu
#define MODE_VERIFY    0x00u
#define MODE_TO_MEMORY 0x04u
#define MODE_FROM      0x08u
#define MODE_AUTOMATIC 0x10u
#define MODE_DOWN      0x20u
#define SET            0x04u /* of mask and request writes */

/* The page register of each channel, from 0x80 on; channel 4's is that of refresh. */
static const uint8_t page_of[DMA_CHANNELS] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};

/* ---- transfers ------------------------------------------------------------------------------------------ */

static unsigned unit_of(unsigned channel)
{
    return channel >= 4 ? 2 : 1;
}

bool dma_is_ready(const struct dma *dma, unsigned channel, enum dma_direction direction)
{
    const struct dma_channel *from = &dma->channels[channel % DMA_CHANNELS];
    uint8_t kind = from->mode & MODE_KIND;
    if (from->masked || dma->chips[channel / 4 % 2].command & COMMAND_OFF)
        return false;
    return kind == MODE_VERIFY || kind == (direction == DMA_TO_MEMORY ? MODE_TO_MEMORY : MODE_FROM);
}

static gpa_t place_of(const struct dma *dma, unsigned channel)
{
    const struct dma_channel *from = &dma->channels[channel];
    uint64_t page = dma->pages[page_of[channel]];
    return channel >= 4 ? (page & 0xfe) << 16 | (uint64_t)from->address << 1
                        : page << 16 | from->address;
}

/* So many units that lie next to each other: those that go down are moved one by one. */
static void move(struct dma *dma, unsigned channel, uint8_t *data, unsigned size_bytes)
{
    gpa_t at = place_of(dma, channel);
    uint8_t kind = dma->channels[channel].mode & MODE_KIND;
    if (kind == MODE_TO_MEMORY)
        guest_memory_write(dma->memory, at, data, size_bytes);
    else if (kind == MODE_FROM && !guest_memory_read(dma->memory, at, data, size_bytes))
        memset(data, 0xff, size_bytes);
}

static bool ends(struct dma *dma, unsigned channel)
{
    struct dma_channel *from = &dma->channels[channel];
    dma->chips[channel / 4].status |= (uint8_t)(1u << channel % 4);
    if (from->mode & MODE_AUTOMATIC) {
        from->address = from->base_address;
        from->count = from->base_count;
    } else {
        from->masked = true;
    }
    return true;
}

unsigned dma_transfer(struct dma *dma, unsigned channel, enum dma_direction direction,
                      uint8_t *data, unsigned size_bytes, bool *ended)
{
    channel %= DMA_CHANNELS;
    struct dma_channel *from = &dma->channels[channel];
    unsigned unit = unit_of(channel), done = 0;
    *ended = false;
    if (!dma_is_ready(dma, channel, direction))
        return 0;
    while (!*ended && size_bytes - done >= unit) {
        /* Units up to the end of the request, of the count, and of the 64 Ki that an address can name. */
        unsigned units = (size_bytes - done) / unit, left = from->count + 1u;
        unsigned wrap = from->mode & MODE_DOWN ? 1 : 0x10000u - from->address;
        units = units < left ? units : left;
        units = units < wrap ? units : wrap;
        move(dma, channel, data + done, units * unit);
        done += units * unit;
        from->address =
            (uint16_t)(from->mode & MODE_DOWN ? from->address - 1u : from->address + units);
        from->count = (uint16_t)(from->count - units);
        *ended = units == left && ends(dma, channel);
    }
    return done;
}

/* ---- registers -------------------------------------------------------------------------------------------- */

static void clear(struct dma *dma, unsigned chip)
{
    dma->chips[chip].command = dma->chips[chip].status = dma->chips[chip].request = 0;
    dma->chips[chip].high_byte = false;
    for (unsigned i = 0; i < 4; i++)
        dma->channels[chip * 4 + i].masked = true;
}

/* The flip-flop tells which byte of a word is meant, and turns. */
static bool turn(struct dma *dma, unsigned chip)
{
    bool high = dma->chips[chip].high_byte;
    dma->chips[chip].high_byte = !high;
    return high;
}

static void set_byte(uint16_t *word, bool high, uint8_t value)
{
    *word = (uint16_t)(high ? (*word & 0x00ff) | value << 8 : (*word & 0xff00) | value);
}

static uint8_t read_register(struct dma *dma, unsigned chip, unsigned number)
{
    const struct dma_channel *channel = &dma->channels[chip * 4 + number / 2 % 4];
    if (number < REGISTER_COMMAND) {
        uint16_t word = number & 1 ? channel->count : channel->address;
        return (uint8_t)(turn(dma, chip) ? word >> 8 : word);
    }
    uint8_t status = (uint8_t)(dma->chips[chip].status | dma->chips[chip].request << 4);
    if (number != REGISTER_COMMAND)
        return 0;
    dma->chips[chip].status = 0; /* terminal counts are read once */
    return status;
}

static void write_all_masks(struct dma *dma, unsigned chip, uint8_t value)
{
    for (unsigned i = 0; i < 4; i++)
        dma->channels[chip * 4 + i].masked = value >> i & 1;
}

static void write_register(struct dma *dma, unsigned chip, unsigned number, uint8_t value)
{
    struct dma_channel *channel = &dma->channels[chip * 4 + number / 2 % 4];
    struct dma_channel *named = &dma->channels[chip * 4 + value % 4];
    uint8_t bit = (uint8_t)(1u << value % 4);
    if (number < REGISTER_COMMAND) {
        bool high = turn(dma, chip);
        set_byte(number & 1 ? &channel->base_count : &channel->base_address, high, value);
        set_byte(number & 1 ? &channel->count : &channel->address, high, value);
        return;
    }
    switch ((enum register_number)number) {
    case REGISTER_COMMAND: dma->chips[chip].command = value; break;
    case REGISTER_REQUEST:
        dma->chips[chip].request = (uint8_t)(value & SET ? dma->chips[chip].request | bit
                                                         : dma->chips[chip].request & ~bit);
        break;
    case REGISTER_MASK: named->masked = (value & SET) != 0; break;
    case REGISTER_MODE: named->mode = value; break;
    case REGISTER_FLIP_FLOP: dma->chips[chip].high_byte = false; break;
    case REGISTER_CLEAR: clear(dma, chip); break;
    case REGISTER_UNMASK: write_all_masks(dma, chip, 0); break;
    case REGISTER_ALL_MASKS: write_all_masks(dma, chip, value); break;
    }
}

/* ---- ports --------------------------------------------------------------------------------------------------- */

static bool first_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    *value = read_register(device, 0, (unsigned)offset);
    return size_bytes == 1;
}

static bool first_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    if (size_bytes == 1)
        write_register(device, 0, (unsigned)offset, (uint8_t)value);
    return size_bytes == 1;
}

/* The second's registers are two ports apart. */
static bool second_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    *value = read_register(device, 1, (unsigned)offset / 2);
    return size_bytes == 1;
}

static bool second_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    if (size_bytes == 1)
        write_register(device, 1, (unsigned)offset / 2, (uint8_t)value);
    return size_bytes == 1;
}

static bool page_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct dma *dma = device;
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)dma->pages[offset + i] << 8 * i;
    return true;
}

static bool page_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct dma *dma = device;
    for (unsigned i = 0; i < size_bytes; i++)
        dma->pages[offset + i] = (uint8_t)(value >> 8 * i);
    return true;
}

/* ---- the machine's side ---------------------------------------------------------------------------------------- */

void dma_init(struct dma *dma, const struct guest_memory *memory)
{
    *dma = (struct dma){.memory = memory};
    dma_reset(dma);
}

void dma_reset(struct dma *dma)
{
    clear(dma, 0);
    clear(dma, 1);
}

bool dma_attach(struct dma *dma, struct bus *ports)
{
    static const struct bus_operations first = {.read = first_read, .write = first_write};
    static const struct bus_operations second = {.read = second_read, .write = second_write};
    static const struct bus_operations pages = {.read = page_read, .write = page_write};
    return bus_add(ports,
                   &(struct bus_range){FIRST_PORT, PORTS, &first, dma, "first DMA controller"}) &&
           bus_add(ports, &(struct bus_range){SECOND_PORT, 2 * PORTS, &second, dma,
                                              "second DMA controller"}) &&
           bus_add(ports, &(struct bus_range){PAGE_PORT, PORTS, &pages, dma, "DMA pages"});
}

void dma_dump(const struct dma *dma, struct sink *sink)
{
    for (unsigned i = 0; i < DMA_CHANNELS; i++)
        if (!dma->channels[i].masked)
            print(sink, "  dma %u at %lx count %x mode %x\n", i, (unsigned long)place_of(dma, i),
                  dma->channels[i].count, dma->channels[i].mode);
}
