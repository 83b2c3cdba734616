/*
 * The IDE controller of a PIIX3: two channels in compatibility mode, each with up to two drives.
 *
 * State:    of each drive its registers, of each channel the command under way, its bus master's registers, and a buffer in
 *           which sectors wait that go by the data port.
 * Features: 28 and 48-bit addresses and cylinders, heads, sectors; PIO of 8, 16 and 32 bits, whole strings of it at once; DMA
 *           between the guest's memory and the server, without a copy where the regions are whole sectors; ATA
 *           commands: ide_ata.c, packets: ide_atapi.c; software reset, nIEN, the previous content of the registers.
 * Missing:  transfer timings, decode enables and native mode (kept, not obeyed); overlapped and queued commands; SMART,
 *           security, host protected areas.
 * Spec:     ATA/ATAPI-6 (T13/1410D): registers 7, commands 8, protocols 9; Intel 82371FB/82371SB (PIIX/PIIX3), 2.3 and 2.7;
 *           Programming Interface for Bus Master IDE Controller 1.0.
 *
 * A drive is busy while the server has a request of its; that may be over before the access that began it.
 */
#include "devices/ide_internal.h"

#include "string.h"

#include <stddef.h>

#define PORT_CONTROL 0x206u /* behind the channel's base */
#define FLOATING     0x7fu /* what a channel without drives reads: D7 is pulled down (ATA-6, 4.4) */

enum {
    REGISTER_DATA,
    REGISTER_FEATURES, /* read: error */
    REGISTER_COUNT,
    REGISTER_LBA_LOW,
    REGISTER_LBA_MID,
    REGISTER_LBA_HIGH,
    REGISTER_DEVICE,
    REGISTER_COMMAND /* read: status */
};

#define COMMAND_DEVICE_RESET 0x08u
#define COMMAND_DIAGNOSE     0x90u

static struct ide_drive *selected_of(struct ide_channel *channel)
{
    return &channel->drives[channel->selected];
}

static void update_line(struct ide_channel *channel)
{
    bool high = channel->interrupt && !(channel->control & CONTROL_NO_INTERRUPT);
    if (high)
        channel->master_status |= 0x04;
    channel->line->set(channel->line, high);
}

void ide_interrupt(struct ide_channel *channel)
{
    channel->interrupt = true;
    update_line(channel);
}

static void acknowledge(struct ide_channel *channel)
{
    channel->interrupt = false;
    update_line(channel);
}

/* ---- a command's course ------------------------------------------------------------------------- */

static void end_transfer(struct ide_drive *drive)
{
    struct ide_channel *channel = drive->channel;
    if (channel->transfer.phase == IDE_DMA_IN || channel->transfer.phase == IDE_DMA_OUT)
        ide_dma_finish(channel);
    channel->transfer.drive = NULL;
    channel->transfer.phase = IDE_IDLE;
}

void ide_finish(struct ide_drive *drive)
{
    end_transfer(drive);
    drive->status = DRIVE_IDLE;
    ide_interrupt(drive->channel);
}

void ide_fail(struct ide_drive *drive, uint8_t error)
{
    end_transfer(drive);
    drive->error = error;
    drive->status = DRIVE_IDLE | DRIVE_ERROR;
    ide_interrupt(drive->channel);
}

void ide_abandon(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    if (transfer->drive && transfer->asked)
        disk_forget(&transfer->drive->disk);
    if (transfer->drive) {
        transfer->drive->status = DRIVE_IDLE | DRIVE_ERROR;
        transfer->drive->error = ERROR_ABORTED;
    }
    transfer->drive = NULL;
    transfer->phase = IDE_IDLE;
    transfer->wanted = false;
    transfer->asked = 0;
}

struct ide_transfer *ide_begin(struct ide_drive *drive, enum ide_phase phase)
{
    struct ide_transfer *transfer = &drive->channel->transfer;
    transfer->drive = drive;
    transfer->phase = phase;
    transfer->sector = 0;
    transfer->sectors = transfer->asked = 0;
    transfer->block_bytes = SECTOR;
    transfer->position = transfer->block_end = transfer->end = 0;
    transfer->wanted = transfer->bounced = transfer->packet = false;
    drive->status = DRIVE_BUSY;
    return transfer;
}

void ide_ask(struct ide_channel *channel, enum block_operation operation, uint32_t sectors)
{
    struct ide_transfer *transfer = &channel->transfer;
    struct block_request *request = &transfer->entry.request;
    bool through = operation == BLOCK_WRITE && transfer->drive->no_cache;
    *request = (struct block_request){.operation = operation,
                                      .flags = through ? BLOCK_FUA : 0,
                                      .sector = operation == BLOCK_FLUSH ? 0 : transfer->sector,
                                      .sectors = sectors,
                                      .segments = request->segments};
    transfer->asked = operation == BLOCK_FLUSH ? 1 : sectors;
    transfer->wanted = true;
    transfer->drive->status = DRIVE_BUSY;
}

/* As much of a transfer as the buffer holds. */
static void ask_by_buffer(struct ide_channel *channel, enum block_operation operation)
{
    struct ide_transfer *transfer = &channel->transfer;
    uint32_t most = IDE_BUFFER_BYTES / SECTOR;
    uint32_t sectors = transfer->sectors < most ? transfer->sectors : most;
    transfer->entry.request.segments = 0;
    disk_add_segment(&transfer->drive->disk, &transfer->entry, channel->buffer,
                     (uint64_t)sectors * SECTOR);
    ide_ask(channel, operation, sectors);
}

/* The host's next block: to be read, or to be written. */
static void begin_block(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    struct ide_drive *drive = transfer->drive;
    uint32_t left = transfer->end - transfer->position;
    uint32_t block = left < transfer->block_bytes ? left : transfer->block_bytes;
    transfer->block_end = transfer->position + block;
    drive->status = DRIVE_IDLE | DRIVE_REQUEST;
    if (transfer->packet) {
        drive->now.count = transfer->phase == IDE_PIO_IN ? REASON_TO_HOST : REASON_COMMAND;
        drive->now.lba[1] = (uint8_t)block;
        drive->now.lba[2] = (uint8_t)(block >> 8);
    }
}

/* The buffer is empty: the host fills it with what comes next. */
static void expect_data(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    uint32_t most = IDE_BUFFER_BYTES / SECTOR;
    transfer->position = 0;
    transfer->end = (transfer->sectors < most ? transfer->sectors : most) * SECTOR;
    begin_block(channel);
}

void ide_offer(struct ide_channel *channel, uint32_t size_bytes)
{
    struct ide_transfer *transfer = &channel->transfer;
    transfer->position = 0;
    transfer->end = size_bytes;
    if (transfer->phase == IDE_DMA_IN) {
        transfer->drive->status = DRIVE_IDLE | DRIVE_REQUEST;
        ide_dma_run(channel);
        return;
    }
    begin_block(channel);
    ide_interrupt(channel);
}

void ide_go_on(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    struct ide_drive *drive = transfer->drive;
    switch (transfer->phase) {
    case IDE_PIO_IN:
    case IDE_SILENT: ask_by_buffer(channel, BLOCK_READ); break;
    case IDE_PIO_OUT: expect_data(channel); break;
    case IDE_DMA_IN:
    case IDE_DMA_OUT:
        drive->status = DRIVE_IDLE | DRIVE_REQUEST;
        ide_dma_run(channel);
        break;
    default: break;
    }
}

/* Where the last sector stood: ATA-3 and before promise that, and old drivers look. */
static void put_end(struct ide_drive *drive)
{
    ide_ata_set_address(drive, drive->channel->transfer.sector - 1);
    drive->now.count = 0;
}

static void end_of_sectors(struct ide_drive *drive)
{
    if (drive->kind == IDE_CDROM) {
        ide_atapi_finish(drive);
        return;
    }
    put_end(drive);
    ide_finish(drive);
}

/* The host has read, or written, its block to the end. */
static void end_block(struct ide_channel *channel)
{
    struct ide_transfer *transfer = &channel->transfer;
    struct ide_drive *drive = transfer->drive;
    if (transfer->phase == IDE_PACKET) {
        ide_atapi_packet(drive);
    } else if (transfer->position < transfer->end) {
        begin_block(channel);
        ide_interrupt(channel);
    } else if (transfer->phase == IDE_PIO_OUT) {
        ask_by_buffer(channel, BLOCK_WRITE);
    } else if (transfer->sectors) {
        ide_go_on(channel);
    } else if (transfer->packet) {
        ide_atapi_finish(drive);
    } else {
        /* 9.5: the last block of a PIO transfer to the host has no interrupt behind it. */
        if (drive->kind == IDE_DISK && transfer->sector)
            put_end(drive);
        end_transfer(drive);
        drive->status = DRIVE_IDLE;
    }
}

/* ---- the server's answers ----------------------------------------------------------------------- */

static void fail_by_server(struct ide_drive *drive, uint32_t status)
{
    struct ide_transfer *transfer = &drive->channel->transfer;
    bool write = transfer->entry.request.operation != BLOCK_READ;
    if (drive->kind == IDE_CDROM) {
        /* MMC-3, annex: MEDIUM ERROR, unrecovered read error; ILLEGAL REQUEST, address out of range. */
        bool range = status == BLOCK_OUT_OF_RANGE;
        ide_atapi_fail(drive, range ? 5 : 3, range ? 0x21 : 0x11, 0);
        return;
    }
    ide_ata_set_address(drive, transfer->sector);
    drive->now.count = (uint8_t)transfer->sectors;
    if (status == BLOCK_OUT_OF_RANGE)
        ide_fail(drive, ERROR_NOT_FOUND);
    else if (!write)
        ide_fail(drive, ERROR_UNCORRECTABLE);
    else
        ide_fail(drive, ERROR_ABORTED);
    if (write && status == BLOCK_IO_ERROR)
        drive->status |= DRIVE_FAULT;
}

static struct ide_drive *drive_of(struct disk *disk)
{
    return (struct ide_drive *)((char *)disk - offsetof(struct ide_drive, disk));
}

static void done(struct disk *disk, uint8_t n, uint32_t status)
{
    struct ide_drive *drive = drive_of(disk);
    struct ide_channel *channel = drive->channel;
    struct ide_transfer *transfer = &channel->transfer;
    uint32_t sectors = transfer->asked;
    (void)n;
    transfer->asked = 0;
    if (status != BLOCK_OK) {
        fail_by_server(drive, status);
        return;
    }
    if (transfer->entry.request.operation == BLOCK_FLUSH) {
        ide_finish(drive);
        return;
    }
    if (transfer->phase >= IDE_DMA_IN && transfer->phase <= IDE_DMA_OUT &&
        !ide_dma_arrived(channel, sectors * SECTOR))
        return;
    transfer->sector += sectors;
    transfer->sectors -= sectors;
    if (transfer->phase == IDE_PIO_IN) {
        ide_offer(channel, sectors * SECTOR);
    } else if (transfer->sectors == 0) {
        end_of_sectors(drive);
    } else {
        ide_go_on(channel);
        if (transfer->phase == IDE_PIO_OUT)
            ide_interrupt(channel);
    }
}

static bool again(struct disk *disk, uint8_t n, struct disk_entry *entry)
{
    const struct ide_transfer *transfer = &drive_of(disk)->channel->transfer;
    (void)n;
    memcpy(entry, &transfer->entry, sizeof *entry);
    return true;
}

static void pull(struct disk *disk)
{
    struct ide_drive *drive = drive_of(disk);
    struct ide_transfer *transfer = &drive->channel->transfer;
    if (transfer->drive != drive || !transfer->wanted || !disk_has_room(disk))
        return;
    transfer->wanted = false;
    disk_submit(disk, &transfer->entry);
}

/* At the end of each access: what it has asked for goes out. */
static void settle(struct ide_channel *channel)
{
    if (channel->transfer.wanted)
        disk_work(&channel->transfer.drive->disk);
}

void ide_attend(struct ide *ide, uint64_t bits)
{
    for (unsigned place = 0; place < IDE_CHANNELS * IDE_DRIVES; place++) {
        struct ide_drive *drive = &ide->channels[place / IDE_DRIVES].drives[place % IDE_DRIVES];
        if (drive->kind != IDE_NONE && bits >> drive->disk.peer.number & 1)
            disk_work(&drive->disk);
    }
}

/* ---- resets ------------------------------------------------------------------------------------- */

void ide_set_signature(struct ide_drive *drive)
{
    bool packet = drive->kind == IDE_CDROM;
    drive->now =
        (struct ide_registers){.count = 1, .lba = {1, packet ? 0x14 : 0, packet ? 0xeb : 0}};
    drive->previous = (struct ide_registers){0};
    drive->device = 0;
    drive->error = ERROR_DIAGNOSED;
    drive->status = packet ? 0 : DRIVE_IDLE;
}

static void reset_drive(struct ide_drive *drive)
{
    if (drive->kind == IDE_NONE)
        return;
    ide_set_signature(drive);
    drive->power = 0xff;
    drive->attention = drive->kind == IDE_CDROM;
    drive->locked = false;
    drive->sense = (struct ide_sense){0};
}

/* Software reset and EXECUTE DEVICE DIAGNOSTIC concern both drives (9.2, 9.9). */
static void reset_drives(struct ide_channel *channel)
{
    ide_abandon(channel);
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        reset_drive(&channel->drives[n]);
    channel->selected = 0;
    channel->interrupt = false;
    update_line(channel);
}

/* ---- the data port ------------------------------------------------------------------------------ */

/* How many accesses of size_bytes the present block still takes; 0: none is expected. */
static uint32_t room_in_block(const struct ide_channel *channel, bool to_host, unsigned size_bytes,
                              unsigned count)
{
    const struct ide_transfer *transfer = &channel->transfer;
    bool in = transfer->phase == IDE_PIO_IN;
    bool out = transfer->phase == IDE_PIO_OUT || transfer->phase == IDE_PACKET;
    if (!(to_host ? in : out) || transfer->drive != &channel->drives[channel->selected] ||
        !(transfer->drive->status & DRIVE_REQUEST))
        return 0;
    /* The last access may be longer than what is left: a packet's answer can have any length. */
    uint32_t left = (transfer->block_end - transfer->position + size_bytes - 1) / size_bytes;
    return left < count ? left : count;
}

static void move(struct ide_channel *channel, bool to_host, uint8_t *data, uint32_t size_bytes)
{
    struct ide_transfer *transfer = &channel->transfer;
    uint8_t *at = channel->buffer + transfer->position;
    uint32_t part = transfer->block_end - transfer->position;
    if (part > size_bytes)
        part = size_bytes;
    if (to_host) {
        memcpy(data, at, part);
        memset(data + part, 0, size_bytes - part);
    } else {
        memcpy(at, data, part);
    }
    transfer->position += part;
    if (transfer->position == transfer->block_end)
        end_block(channel);
    settle(channel);
}

static bool is_data(uint64_t offset, unsigned size_bytes)
{
    return offset == REGISTER_DATA && size_bytes <= 4;
}

/* So many accesses at most; how many were done. What nobody expects is lost, as on a real channel. */
static unsigned read_data(struct ide_channel *channel, unsigned size_bytes, void *data,
                          unsigned count)
{
    uint32_t room = room_in_block(channel, true, size_bytes, count);
    if (room == 0) {
        memset(data, 0, (size_t)size_bytes * count);
        return count;
    }
    move(channel, true, data, room * size_bytes);
    return room;
}

static unsigned write_data(struct ide_channel *channel, unsigned size_bytes, const void *data,
                           unsigned count)
{
    uint32_t room = room_in_block(channel, false, size_bytes, count);
    if (room == 0)
        return count;
    move(channel, false, (uint8_t *)(uintptr_t)data, room * size_bytes);
    return room;
}

/* ---- the registers ------------------------------------------------------------------------------ */

static uint8_t read_status(const struct ide_channel *channel)
{
    if (channel->drives[0].kind == IDE_NONE)
        return FLOATING;
    return channel->drives[channel->selected].status; /* 0 of a slave that is not there */
}

static uint8_t read_register(struct ide_channel *channel, unsigned number)
{
    const struct ide_drive *drive = selected_of(channel);
    const struct ide_registers *registers =
        channel->control & CONTROL_PREVIOUS ? &drive->previous : &drive->now;
    if (number == REGISTER_COMMAND)
        acknowledge(channel);
    if (number == REGISTER_COMMAND || channel->drives[0].kind == IDE_NONE)
        return read_status(channel);
    if (drive->kind == IDE_NONE)
        return 0;
    switch (number) {
    case REGISTER_FEATURES: return drive->error;
    case REGISTER_COUNT: return registers->count;
    case REGISTER_DEVICE: return drive->device | 0xa0;
    default: return registers->lba[number - REGISTER_LBA_LOW];
    }
}

static bool read_block(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    *value = 0;
    if (is_data(offset, size_bytes)) {
        read_data(device, size_bytes, value, 1);
        return true;
    }
    if (size_bytes != 1)
        return false;
    *value = read_register(device, (unsigned)offset);
    return true;
}

/* Both drives take what is written (7.2). */
static void write_register(struct ide_channel *channel, unsigned number, uint8_t value)
{
    channel->control &= (uint8_t)~CONTROL_PREVIOUS;
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        struct ide_drive *drive = &channel->drives[n];
        struct ide_registers *now = &drive->now, *previous = &drive->previous;
        switch (number) {
        case REGISTER_FEATURES: previous->features = now->features, now->features = value; break;
        case REGISTER_COUNT: previous->count = now->count, now->count = value; break;
        case REGISTER_DEVICE: drive->device = value; break;
        default:
            previous->lba[number - REGISTER_LBA_LOW] = now->lba[number - REGISTER_LBA_LOW];
            now->lba[number - REGISTER_LBA_LOW] = value;
        }
    }
    if (number == REGISTER_DEVICE)
        channel->selected = (value & DEVICE_SECOND) != 0;
}

static void command(struct ide_channel *channel, uint8_t code)
{
    struct ide_drive *drive = selected_of(channel);
    bool packet_reset = code == COMMAND_DEVICE_RESET && drive->kind == IDE_CDROM;
    acknowledge(channel);
    if (code == COMMAND_DIAGNOSE && channel->drives[0].kind != IDE_NONE) {
        reset_drives(channel);
        ide_interrupt(channel);
        return;
    }
    if (drive->kind == IDE_NONE || (drive->status & DRIVE_BUSY && !packet_reset))
        return;
    if (channel->transfer.drive)
        ide_abandon(channel); /* the host has lost interest in it */
    drive->error = 0;
    if (packet_reset) {
        uint8_t device = drive->device;
        ide_set_signature(drive);
        drive->device = device & DEVICE_SECOND;
    } else if (drive->kind == IDE_DISK) {
        ide_ata_command(drive, code);
    } else {
        ide_atapi_command(drive, code);
    }
}

static bool write_block(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct ide_channel *channel = device;
    if (is_data(offset, size_bytes)) {
        write_data(device, size_bytes, &value, 1);
        return true;
    }
    if (size_bytes != 1)
        return false;
    if (channel->control & CONTROL_RESET)
        return true;
    if (offset == REGISTER_COMMAND)
        command(channel, (uint8_t)value);
    else
        write_register(channel, (unsigned)offset, (uint8_t)value);
    settle(channel);
    return true;
}

static unsigned read_string(void *device, uint64_t offset, unsigned size_bytes, void *data,
                            unsigned count)
{
    uint64_t value;
    if (is_data(offset, size_bytes))
        return read_data(device, size_bytes, data, count);
    if (!read_block(device, offset, size_bytes, &value))
        return 0;
    memcpy(data, &value, size_bytes);
    return 1;
}

static unsigned write_string(void *device, uint64_t offset, unsigned size_bytes, const void *data,
                             unsigned count)
{
    uint64_t value = 0;
    if (is_data(offset, size_bytes))
        return write_data(device, size_bytes, data, count);
    memcpy(&value, data, size_bytes);
    return write_block(device, offset, size_bytes, value) ? 1 : 0;
}

static bool read_control(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)offset;
    if (size_bytes != 1)
        return false;
    *value = read_status(device);
    return true;
}

static bool write_control(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct ide_channel *channel = device;
    bool before = (channel->control & CONTROL_RESET) != 0;
    (void)offset;
    if (size_bytes != 1)
        return false;
    channel->control = (uint8_t)value;
    if (value & CONTROL_RESET) {
        reset_drives(channel);
        for (unsigned n = 0; n < IDE_DRIVES; n++)
            if (channel->drives[n].kind != IDE_NONE)
                channel->drives[n].status = DRIVE_BUSY;
    } else if (before) {
        reset_drives(channel);
    }
    update_line(channel);
    return true;
}

/* ---- putting it together ------------------------------------------------------------------------- */

void ide_init(struct ide *ide, struct device_host *host, uint8_t *buffers,
              struct interrupt_line *first, struct interrupt_line *second)
{
    memset(ide, 0, sizeof *ide);
    ide->host = host;
    for (unsigned n = 0; n < IDE_CHANNELS; n++) {
        struct ide_channel *channel = &ide->channels[n];
        channel->ide = ide;
        channel->line = n ? second : first;
        channel->buffer = buffers + n * IDE_BUFFER_BYTES;
        for (unsigned i = 0; i < IDE_DRIVES; i++) {
            channel->drives[i].channel = channel;
            channel->drives[i].number = n * IDE_DRIVES + i;
        }
    }
}

void ide_add_drive(struct ide *ide, unsigned place, enum ide_kind kind,
                   const struct device_peer *peer)
{
    static const struct disk_operations operations = {.again = again, .done = done, .pull = pull};
    static const char *const names[] = {"ide 0 master", "ide 0 slave", "ide 1 master",
                                        "ide 1 slave"};
    struct ide_drive *drive = &ide->channels[place / IDE_DRIVES].drives[place % IDE_DRIVES];
    drive->kind = kind;
    disk_init(&drive->disk, &operations, ide->host, peer, names[place]);
    reset_drive(drive);
}

bool ide_attach(struct ide *ide, struct bus *ports)
{
    static const struct bus_operations block = {.read = read_block,
                                                .write = write_block,
                                                .read_string = read_string,
                                                .write_string = write_string};
    static const struct bus_operations control = {.read = read_control, .write = write_control};
    static const uint16_t bases[IDE_CHANNELS] = {0x1f0, 0x170};
    bool good = true;
    for (unsigned n = 0; n < IDE_CHANNELS; n++) {
        const struct bus_range ranges[] = {
            {bases[n], 8, &block, &ide->channels[n], "IDE channel"},
            {bases[n] + PORT_CONTROL, 1, &control, &ide->channels[n], "IDE channel's control"},
        };
        good &= bus_add(ports, &ranges[0]) && bus_add(ports, &ranges[1]);
    }
    return good;
}
