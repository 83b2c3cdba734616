/*
 * The bus master of an IDE channel (Programming Interface for Bus Master IDE Controller 1.0): registers, and the walk
 * through the table of physical regions. A table is believed to end at the next 64 KiB, which it may not cross (1.2).
 *
 * Whole sectors of a region go between it and the server directly. Where a sector is cut by the end of a region the
 * data goes by the channel's buffer.
 */
#include "devices/ide_internal.h"

#include "string.h"

#define DMA_BYTES_MAX (1u << 20) /* of one request to the server */
#define REGION_LAST   0x80000000u

enum { MASTER_COMMAND = 0, MASTER_STATUS = 2, MASTER_TABLE = 4, MASTER_PITCH = 8 };
enum { COMMAND_START = 0x01, COMMAND_TO_MEMORY = 0x08 };
enum { MASTER_ACTIVE = 0x01, MASTER_ERROR = 0x02, MASTER_INTERRUPT = 0x04, MASTER_CAPABLE = 0x60 };

static const struct guest_memory *memory_of(const struct ide_channel *channel)
{
    return channel->ide->host->memory;
}

/* ---- the table ---------------------------------------------------------------------------------- */

/* What comes next, at most `most` bytes of it. 0: the table has ended; or it is not in memory, then *bad. */
static uint32_t take(const struct ide_channel *channel, struct ide_cursor *cursor, uint32_t most,
                     gpa_t *gpa, bool *bad)
{
    if (cursor->left == 0) {
        uint32_t region[2];
        if (cursor->last)
            return 0;
        if (!guest_memory_read(memory_of(channel), cursor->next, region, sizeof region)) {
            *bad = true;
            return 0;
        }
        cursor->address = region[0] & ~1u;
        cursor->left = region[1] & 0xfffe ? region[1] & 0xfffe : 0x10000;
        cursor->next += sizeof region;
        cursor->last = region[1] & REGION_LAST || (cursor->next & 0xffff) == 0;
    }
    uint32_t bytes = cursor->left < most ? cursor->left : most;
    *gpa = cursor->address;
    cursor->address += bytes;
    cursor->left -= bytes;
    return bytes;
}

/* How many bytes the table still has room for, up to `most`. */
static uint32_t room_in_table(const struct ide_channel *channel, uint32_t most, bool *bad)
{
    struct ide_cursor cursor = channel->cursor;
    uint32_t total = 0, bytes;
    gpa_t gpa;
    while (total < most && (bytes = take(channel, &cursor, most - total, &gpa, bad)))
        total += bytes;
    return total;
}

/* Between the buffer, from `position` on, and the next regions. False: they are not memory. */
static bool copy(struct ide_channel *channel, uint32_t position, uint32_t size_bytes, bool to_guest)
{
    bool bad = false;
    gpa_t gpa;
    while (size_bytes) {
        uint32_t bytes = take(channel, &channel->cursor, size_bytes, &gpa, &bad);
        uint8_t *at = channel->buffer + position;
        if (bytes == 0 || !(to_guest ? guest_memory_write(memory_of(channel), gpa, at, bytes)
                                     : guest_memory_read(memory_of(channel), gpa, at, bytes)))
            return false;
        position += bytes;
        size_bytes -= bytes;
    }
    return true;
}

/* ---- moving ------------------------------------------------------------------------------------- */

/* A region was no memory, or the table was none (1.1: the error bit). The drive's command can't go on. */
static void fail(struct ide_channel *channel)
{
    struct ide_drive *drive = channel->transfer.drive;
    channel->master_status |= MASTER_ERROR;
    if (drive->kind == IDE_CDROM)
        ide_atapi_fail(drive, 0x0b, 0x4b, 0); /* ABORTED COMMAND, data phase error */
    else
        ide_fail(drive, 0x04);
}

/* Fills the entry with whole sectors that the server can reach itself. Returns how many. */
static uint32_t plan_direct(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    uint64_t left = (uint64_t)transfer->sectors * SECTOR;
    uint32_t want = left < DMA_BYTES_MAX ? (uint32_t)left : DMA_BYTES_MAX, total = 0;
    bool in = transfer->phase == IDE_DMA_IN, bad = false;
    transfer->entry.request.segments = 0;
    while (total < want && transfer->entry.request.segments < DISK_SEGMENTS_MAX) {
        struct ide_cursor before = channel->cursor;
        gpa_t gpa = 0;
        uint32_t bytes = take(channel, &channel->cursor, want - total, &gpa, &bad);
        uint32_t whole = bytes - bytes % SECTOR;
        const uint8_t *at = whole ? guest_memory_at(memory_of(channel), gpa, whole, in) : NULL;
        if (!at || at != guest_memory_ram(memory_of(channel), gpa, whole)) {
            channel->cursor = before;
            break;
        }
        channel->cursor.address -= bytes - whole;
        channel->cursor.left += bytes - whole;
        disk_add_segment(&transfer->drive->disk, &transfer->entry, at, whole);
        total += whole;
    }
    return total / SECTOR;
}

/* As many sectors as the buffer and the table have room for; 0: the table has ended before the command. */
static uint32_t plan_bounced(struct ide_channel *channel, bool *bad)
{
    struct ide_transfer *transfer = &channel->transfer;
    uint32_t most = IDE_BUFFER_BYTES / SECTOR;
    uint32_t want = (transfer->sectors < most ? transfer->sectors : most) * SECTOR;
    uint32_t sectors = room_in_table(channel, want, bad) / SECTOR;
    if (*bad)
        return 0;
    if (sectors && transfer->phase == IDE_DMA_OUT && !copy(channel, 0, sectors * SECTOR, false)) {
        *bad = true;
        return 0;
    }
    transfer->entry.request.segments = 0;
    disk_add_segment(&transfer->drive->disk, &transfer->entry, channel->buffer,
                     (uint64_t)sectors * SECTOR);
    return sectors;
}

/* A packet's answer, which is in the buffer. */
static void move_answer(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    bool bad = false;
    uint32_t bytes = transfer->end - transfer->position;
    if (room_in_table(channel, bytes, &bad) < bytes && !bad) {
        channel->master_status &= (uint8_t)~MASTER_ACTIVE;
        return;
    }
    if (bad || !copy(channel, transfer->position, bytes, true)) {
        fail(channel);
        return;
    }
    transfer->position = transfer->end;
    ide_atapi_finish(transfer->drive);
}

void ide_dma_run(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    bool bad = false;
    if (!(channel->master_status & MASTER_ACTIVE) || !transfer->drive || transfer->asked ||
        (transfer->phase != IDE_DMA_IN && transfer->phase != IDE_DMA_OUT) ||
        !pci_function_is_master(&channel->ide->function))
        return;
    if (transfer->position < transfer->end) {
        move_answer(channel);
        return;
    }
    uint32_t sectors = plan_direct(channel);
    transfer->bounced = sectors == 0;
    if (transfer->bounced)
        sectors = plan_bounced(channel, &bad);
    if (bad) {
        fail(channel);
    } else if (sectors == 0) {
        /* 3.1: neither active nor an interrupt: the regions are smaller than the transfer. The drive waits. */
        channel->master_status &= (uint8_t)~MASTER_ACTIVE;
    } else {
        ide_ask(channel, transfer->phase == IDE_DMA_IN ? BLOCK_READ : BLOCK_WRITE, sectors);
    }
}

bool ide_dma_arrived(struct ide_channel *channel, uint32_t size_bytes)
{
    const struct ide_transfer *transfer = &channel->transfer;
    if (!transfer->bounced || transfer->phase == IDE_DMA_OUT || copy(channel, 0, size_bytes, true))
        return true;
    fail(channel);
    return false;
}

/* 3.1: still active when the regions are larger than what was moved. */
void ide_dma_finish(struct ide_channel *channel)
{
    if (channel->cursor.left == 0 && channel->cursor.last)
        channel->master_status &= (uint8_t)~MASTER_ACTIVE;
    if (channel->master_status & MASTER_ERROR)
        channel->master_status &= (uint8_t)~MASTER_ACTIVE;
}

/* ---- registers ---------------------------------------------------------------------------------- */

static void write_command(struct ide_channel *channel, uint8_t value)
{
    uint8_t before = channel->master_command;
    struct ide_transfer *transfer = &channel->transfer;
    channel->master_command = value & (COMMAND_START | COMMAND_TO_MEMORY);
    if (!(value & COMMAND_START)) {
        channel->master_status &= (uint8_t)~MASTER_ACTIVE;
        if (transfer->drive && transfer->asked &&
            (transfer->phase == IDE_DMA_IN || transfer->phase == IDE_DMA_OUT)) {
            /* 1.1: the transfer is stopped, and can't be resumed: the drive waits for a reset. */
            struct ide_drive *drive = transfer->drive;
            ide_abandon(channel);
            drive->status = DRIVE_IDLE | DRIVE_REQUEST;
        }
    } else if (!(before & COMMAND_START)) {
        channel->master_status |= MASTER_ACTIVE;
        channel->cursor = (struct ide_cursor){.next = channel->table};
        ide_dma_run(channel);
        if (transfer->wanted)
            disk_work(&transfer->drive->disk);
    }
}

static uint8_t read_byte(const struct ide_channel *channel, unsigned offset)
{
    switch (offset) {
    case MASTER_COMMAND: return channel->master_command;
    case MASTER_STATUS: return channel->master_status;
    case MASTER_TABLE:
    case MASTER_TABLE + 1:
    case MASTER_TABLE + 2:
    case MASTER_TABLE + 3: return (uint8_t)(channel->table >> 8 * (offset - MASTER_TABLE));
    default: return 0;
    }
}

static void write_byte(struct ide_channel *channel, unsigned offset, uint8_t value)
{
    unsigned shift = 8 * (offset - MASTER_TABLE);
    switch (offset) {
    case MASTER_COMMAND: write_command(channel, value); break;
    case MASTER_STATUS:
        channel->master_status &= (uint8_t) ~(value & (MASTER_ERROR | MASTER_INTERRUPT));
        channel->master_status =
            (uint8_t)((channel->master_status & ~MASTER_CAPABLE) | (value & MASTER_CAPABLE));
        break;
    case MASTER_TABLE:
    case MASTER_TABLE + 1:
    case MASTER_TABLE + 2:
    case MASTER_TABLE + 3:
        channel->table = (channel->table & ~(0xffu << shift)) | (uint32_t)value << shift;
        channel->table &= ~3u;
        break;
    default: break;
    }
}

static bool read_master(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct ide *ide = device;
    if (size_bytes > 4)
        return false;
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++, offset++)
        *value |= (uint64_t)read_byte(&ide->channels[offset / MASTER_PITCH], offset % MASTER_PITCH)
                  << 8 * i;
    return true;
}

static bool write_master(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct ide *ide = device;
    if (size_bytes > 4)
        return false;
    for (unsigned i = 0; i < size_bytes; i++, offset++)
        write_byte(&ide->channels[offset / MASTER_PITCH], offset % MASTER_PITCH,
                   (uint8_t)(value >> 8 * i));
    return true;
}

bool ide_attach_function(struct ide *ide, struct pci_bus *bus, unsigned slot, unsigned number)
{
    static const struct bus_operations operations = {.read = read_master, .write = write_master};
    /* Both channels in compatibility mode, for good; a bus master (PIIX3, 2.3). */
    static const struct pci_identity identity = {
        .vendor = 0x8086, .device = 0x7010, .class_code = 0x010180};
    const struct pci_bar bar = {.kind = PCI_BAR_PORTS,
                                .size_bytes = IDE_CHANNELS * MASTER_PITCH,
                                .operations = &operations,
                                .device = ide,
                                .name = "IDE bus master"};
    struct pci_function *function = &ide->function;
    pci_function_init(function, &identity, ide);
    pci_function_add_bar(function, 4, &bar);
    /* IDETIM of both channels, decoding on as firmware leaves it, and SIDETIM (2.3.9, 2.3.10). */
    function->config[0x41] = function->config[0x43] = 0x80;
    memset(function->writable + 0x40, 0xff, 5);
    return pci_bus_add(bus, function, slot, number);
}
