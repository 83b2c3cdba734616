/*
 * IDE controllers with bus mastering, as in the PIIX3: two channels, each with two drives that take turns.
 *
 * State:    for each drive the command that it has or waits with, and a table of regions; for each channel whose turn it is,
 *           how far its reset is, and at the start how far it has been looked for drives. Nothing is waited for in place.
 * Features: 48-bit and 28-bit DMA commands, flush, scatter lists, compatibility and native mode, reset.
 * Missing:  PIO (a drive without DMA is refused), ATAPI, modes of transfer (firmware's are left), hot plugging, FUA commands
 *           (a flush follows instead).
 * Spec:     ATA/ATAPI-7 volume 2, 9 (protocols); Programming Interface for Bus Master IDE Controller 1.0.
 */
#include "ata.h"
#include "drivers.h"

#include "port.h"
#include "print.h"
#include "syscall.h"

/* Of the command ports, and the bits of the device register. */
enum { ATA_DATA = 0, ATA_FAIL = 1, ATA_COUNT = 2, ATA_LBA = 3, ATA_DEVICE = 6, ATA_COMMAND = 7 };
enum { DEVICE_LBA = 0x40, DEVICE_SECOND = 0x10 };
/* The control port. */
enum { CONTROL_NO_INTERRUPT = 2, CONTROL_RESET = 4 };
/* The bus master's ports of a channel (2.1 to 2.3). */
enum { MASTER_COMMAND = 0, MASTER_STATUS = 2, MASTER_TABLE = 4, MASTER_PORTS = 8 };
enum { MASTER_START = 1, MASTER_TO_MEMORY = 8 };
enum { MASTER_ACTIVE = 1, MASTER_ERROR = 2, MASTER_INTERRUPT = 4 };

#define CHANNELS     2u
#define DRIVES       2u
#define REGIONS_MAX  256u
#define BOUNCE_BYTES 16384u
#define PHYSICAL_END (1ull << 32)
#define READY_MS     100u /* for a drive that is selected */
#define IDENTIFY_MS  3000u
/* ATA/ATAPI-7 volume 2, 9.2: SRST is held for 5 us at least, and the status means nothing until 2 ms later. */
#define HOLD_MS       1u
#define SETTLE_MS     3u
#define ERRORS_LOGGED 8u
/* A piece crosses at most one boundary, so it takes at most two regions. */
_Static_assert(2 * DISK_PIECES_MAX <= REGIONS_MAX, "every command fits into the table");

struct channel;
struct drive {
    struct disk disk;
    struct channel *channel;
    uint8_t select; /* 0 or DEVICE_SECOND */
    bool lba48;
    unsigned errors;
    struct disk_command *command; /* that it has or waits with */
    struct ide_region *regions;
    uint64_t regions_physical;
};

enum channel_state {
    CHANNEL_READY,
    CHANNEL_SELECTS, /* the active drive is selected, but not ready for its command */
    /* A reset: */
    CHANNEL_HOLDS,   /* SRST is set */
    CHANNEL_SETTLES, /* it is clear again */
    CHANNEL_RESETS,  /* until no drive is busy any more */
    CHANNEL_RETURNS, /* the drive for whose sake it is done is selected */
    CHANNEL_GONE,
};
enum channel_probe { PROBE_RESETS, PROBE_SELECTS, PROBE_IDENTIFIES };

struct channel {
    struct probe probe;
    struct dma_area *area; /* while it is looked for drives, as the next two */
    enum channel_probe step;
    unsigned number;
    struct server *server;
    uint16_t ports, control, master;
    uint64_t interrupt;
    enum channel_state state;
    struct ata_wait wait;
    struct drive *waited_for; /* by a reset; NULL: at the start */
    struct drive drives[DRIVES];
    struct drive *active;
};

static struct drive *of(struct disk *disk)
{
    return (struct drive *)disk;
}

static struct drive *other_of(struct drive *drive)
{
    return &drive->channel->drives[drive == &drive->channel->drives[0]];
}

/* ---- registers -------------------------------------------------------------------------------------------------- */

/* Reading the control port gives the status without taking the interrupt back. */
static uint8_t look(const struct channel *channel)
{
    return port_read8(channel->control);
}

/* Until a drive's status is its own: four reads. */
static void wait_400ns(const struct channel *channel)
{
    for (unsigned i = 0; i < 4; i++)
        look(channel);
}

static void select_drive(const struct drive *drive, uint8_t device)
{
    port_write8(drive->channel->ports + ATA_DEVICE, device | drive->select);
    wait_400ns(drive->channel);
}

static bool is_ready(const struct channel *channel)
{
    return !(look(channel) & (ATA_BUSY | ATA_REQUEST));
}

static void stop_master(const struct channel *channel)
{
    port_write8(channel->master + MASTER_COMMAND, 0);
    /* Error and interrupt are cleared by writing them (2.2). */
    port_write8(channel->master + MASTER_STATUS,
                port_read8(channel->master + MASTER_STATUS) | MASTER_ERROR | MASTER_INTERRUPT);
}

/* ---- reset ------------------------------------------------------------------------------------------------------ */

static void wait_for(struct channel *channel, unsigned limit_ms)
{
    ata_wait_begin(&channel->wait, channel->server->now, channel->server->ticks_per_ms, limit_ms);
}

/* The next state, at which is looked after so long. */
static void go_on(struct channel *channel, enum channel_state state, unsigned after_ms)
{
    channel->state = state;
    wait_for(channel, after_ms);
    channel->wait.next = channel->wait.end;
}

/*
 * ATA/ATAPI-7, 9.2: both drives forget their commands. Firmware may have left a slave selected that is not there: its
 * status says nothing of the reset, and QEMU, where that goes on for a while, ignores a selection meanwhile.
 */
static void begin_reset(struct channel *channel, struct drive *waited_for)
{
    stop_master(channel);
    channel->active = NULL;
    channel->waited_for = waited_for;
    port_write8(channel->ports + ATA_DEVICE, DEVICE_LBA);
    wait_400ns(channel);
    port_write8(channel->control, CONTROL_RESET | CONTROL_NO_INTERRUPT);
    go_on(channel, CHANNEL_HOLDS, HOLD_MS);
}

/* Looks for what the state waits for. */
static void look_at_reset(struct channel *channel)
{
    uint8_t status = look(channel);
    bool selected = channel->state == CHANNEL_RETURNS;
    if (status == 0xff) {
        channel->state = CHANNEL_GONE;
    } else if (status & (selected ? ATA_BUSY | ATA_REQUEST : ATA_BUSY)) {
        if (!ata_wait_goes_on(&channel->wait, channel->server->now, channel->server->ticks_per_ms))
            channel->state = CHANNEL_GONE;
    } else if (selected || !channel->waited_for) {
        channel->state = CHANNEL_READY;
    } else {
        select_drive(channel->waited_for, DEVICE_LBA);
        channel->state = CHANNEL_RETURNS;
        wait_for(channel, READY_MS);
    }
}

/* As struct disk_operations.resume. */
static enum disk_progress go_on_with_reset(struct channel *channel, uint64_t *next)
{
    while (channel->state != CHANNEL_READY && channel->state != CHANNEL_GONE) {
        *next = channel->wait.next;
        if (channel->server->now < *next)
            return DISK_WAITS;
        switch (channel->state) {
        case CHANNEL_HOLDS:
            port_write8(channel->control, CONTROL_NO_INTERRUPT);
            go_on(channel, CHANNEL_SETTLES, SETTLE_MS);
            break;
        case CHANNEL_SETTLES:
            channel->state = CHANNEL_RESETS;
            wait_for(channel, ATA_RESET_MS);
            break;
        default: look_at_reset(channel);
        }
    }
    return channel->state == CHANNEL_READY ? DISK_READY : DISK_GONE;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static void put_address(const struct drive *drive, const struct disk_command *command)
{
    uint16_t ports = drive->channel->ports;
    uint64_t sector = command->sector;
    if (drive->lba48) { /* the registers are two deep: the high halves first */
        port_write8(ports + ATA_COUNT, (uint8_t)(command->sectors >> 8));
        for (unsigned i = 0; i < 3; i++)
            port_write8((uint16_t)(ports + ATA_LBA + i), (uint8_t)(sector >> (24 + 8 * i)));
    }
    port_write8(ports + ATA_COUNT, (uint8_t)command->sectors);
    for (unsigned i = 0; i < 3; i++)
        port_write8((uint16_t)(ports + ATA_LBA + i), (uint8_t)(sector >> 8 * i));
}

static void give(struct drive *drive)
{
    struct channel *channel = drive->channel;
    const struct disk_command *command = drive->command;
    bool moves = command->operation != BLOCK_FLUSH;
    uint8_t direction = command->operation == BLOCK_READ ? MASTER_TO_MEMORY : 0;
    channel->state = CHANNEL_READY;
    stop_master(channel);
    if (moves) {
        put_address(drive, command);
        port_write32(channel->master + MASTER_TABLE, (uint32_t)drive->regions_physical);
        port_write8(channel->master + MASTER_COMMAND, direction);
    }
    port_write8(channel->ports + ATA_COMMAND, ata_command_of(command, drive->lba48));
    if (moves)
        port_write8(channel->master + MASTER_COMMAND, direction | MASTER_START);
}

/* It is the drive's turn. One that does not become ready for its command is looked at by `poll`, and meets its deadline. */
static void start(struct drive *drive)
{
    struct channel *channel = drive->channel;
    const struct disk_command *command = drive->command;
    bool moves = command->operation != BLOCK_FLUSH;
    channel->active = drive;
    channel->state = CHANNEL_SELECTS;
    wait_for(channel, READY_MS);
    select_drive(drive, DEVICE_LBA | (drive->lba48 || !moves ? 0 : command->sector >> 24 & 15));
    if (is_ready(channel))
        give(drive);
}

static bool submit(struct disk *disk, struct disk_command *command, const struct dma_piece *pieces,
                   unsigned count)
{
    struct drive *drive = of(disk);
    if (drive->command || (count && !ide_regions(drive->regions, REGIONS_MAX, pieces, count)))
        return false;
    drive->command = command;
    if (drive->channel->state == CHANNEL_READY && !drive->channel->active)
        start(drive);
    return true;
}

static void kick(struct disk *disk)
{
    (void)disk;
}

static void log_error(struct drive *drive, uint8_t status, uint8_t master)
{
    uint8_t error = status & ATA_ERROR ? port_read8(drive->channel->ports + ATA_FAIL) : 0;
    if (drive->errors++ < ERRORS_LOGGED)
        server_log("%s: error at sector %lu: status %02x, error %02x, bus master %02x%s\n",
                   drive->disk.name, drive->command->sector, status, error, master,
                   drive->errors == ERRORS_LOGGED ? "; further ones are not told" : "");
}

/* Has the active drive ended its command? */
static void poll(struct disk *disk)
{
    struct channel *channel = of(disk)->channel;
    struct drive *drive = channel->active;
    if (drive && channel->state == CHANNEL_SELECTS) {
        if (is_ready(channel))
            give(drive);
        return;
    }
    uint8_t master = port_read8(channel->master + MASTER_STATUS);
    if (!drive || !(master & (MASTER_INTERRUPT | MASTER_ERROR)) || look(channel) & ATA_BUSY)
        return;
    struct disk_command *command = drive->command;
    uint8_t status = port_read8(channel->ports + ATA_COMMAND); /* takes the interrupt back */
    /* A transfer that is still active after the drive has ended it was shorter than the table. */
    bool moves = command->operation != BLOCK_FLUSH;
    bool good = !(status & (ATA_ERROR | ATA_FAULT | ATA_REQUEST)) && !(master & MASTER_ERROR) &&
                !(moves && master & MASTER_ACTIVE);
    if (!good)
        log_error(drive, status, master);
    stop_master(channel);
    drive->command = NULL;
    channel->active = NULL;
    struct drive *other = other_of(drive);
    if (other->command)
        start(other);
    disk_finish(command, good ? BLOCK_OK : BLOCK_IO_ERROR);
}

/* The interrupt is taken back by `poll`, which knows whether the drive has ended. */
static void interrupt(struct disk *disk)
{
    (void)disk;
}

/* A drive becomes ready without an interrupt, and mostly at once: one that takes long is left to disk_watch. */
static bool waits(struct disk *disk)
{
    const struct channel *channel = of(disk)->channel;
    return channel->state != CHANNEL_SELECTS || channel->server->now > channel->wait.end;
}

static void reset(struct disk *disk)
{
    struct drive *drive = of(disk);
    drive->command = NULL;
    begin_reset(drive->channel, drive);
    disk_delay(&other_of(drive)->disk, drive->channel->server->now); /* it is not its fault */
}

static enum disk_progress resume(struct disk *disk, uint64_t *next)
{
    struct drive *drive = of(disk), *other = other_of(drive);
    struct channel *channel = drive->channel;
    enum disk_progress progress = go_on_with_reset(channel, next);
    disk_delay(&other->disk, channel->server->now);
    if (progress == DISK_WAITS)
        return progress;
    port_read8(channel->ports + ATA_COMMAND);
    port_write8(channel->control, 0);
    channel->state = CHANNEL_READY;
    if (other->command)
        start(other);
    return progress;
}

static const struct disk_operations operations = {submit, kick,  interrupt, poll,
                                                  waits,  reset, resume};

/* ---- what is there ------------------------------------------------------------------------------------------------ */

/* What IDENTIFY DEVICE has brought makes a disk. NULL, or why not. */
static const char *make_disk(struct drive *drive, const uint16_t words[ATA_IDENTIFY_WORDS])
{
    struct channel *channel = drive->channel;
    const struct device_grant *grant = channel->probe.grant;
    struct disk *disk = &drive->disk;
    const char *problem = ata_identify(disk, words, &drive->lba48);
    if (problem)
        return problem;
    drive->regions = dma_take(channel->area, REGIONS_MAX * sizeof *drive->regions,
                              REGIONS_MAX * sizeof *drive->regions, &drive->regions_physical);
    disk->bounce = dma_take(channel->area, BOUNCE_BYTES, 4096, &disk->bounce_physical);
    if (!drive->regions || !disk->bounce)
        return "there is too little memory for its commands";
    disk->bounce_bytes = BOUNCE_BYTES;
    disk->operations = &operations;
    disk->interrupts = channel->interrupt;
    disk->depth = 1;
    disk->pieces_max = DISK_PIECES_MAX;
    disk->piece_bytes_max = IDE_REGION_BYTES;
    disk->piece_alignment = 2;
    disk->physical_end = PHYSICAL_END;
    print_buffer(disk->name, sizeof disk->name, "ide %02x:%02x.%u %s %s", grant->location >> 8,
                 grant->location >> 3 & 31, grant->location & 7,
                 channel->ports == grant->bars[0].port ? "first" : "second",
                 drive->select ? "slave" : "master");
    probe_found(&channel->probe, disk);
    return NULL;
}

/* IDENTIFY DEVICE by PIO, interrupts off. */
static void identify(struct channel *channel)
{
    port_write8(channel->ports + ATA_COMMAND, ATA_IDENTIFY);
    wait_400ns(channel);
    channel->step = PROBE_IDENTIFIES;
    wait_for(channel, IDENTIFY_MS);
}

/* It has answered, or said that it is no ATA disk. */
static void take_identity(struct channel *channel)
{
    uint16_t words[ATA_IDENTIFY_WORDS];
    uint8_t status = look(channel);
    if (!(status & ATA_REQUEST) || status & (ATA_ERROR | ATA_FAULT))
        return;
    for (unsigned i = 0; i < ATA_IDENTIFY_WORDS; i++)
        words[i] = port_read16(channel->ports + ATA_DATA);
    const char *problem = make_disk(&channel->drives[channel->number], words);
    if (problem)
        channel->probe.problem = problem;
}

static void look_for_drive(struct channel *channel, unsigned number)
{
    channel->number = number;
    if (number == DRIVES)
        return;
    channel->step = PROBE_SELECTS;
    select_drive(&channel->drives[number], 0);
    wait_for(channel, READY_MS);
}

/* Drives are looked for one after the other once the channel is reset. As struct probe.look. */
static bool look_for_drives(struct probe *probe, uint64_t *next)
{
    struct channel *channel = (struct channel *)probe;
    if (channel->step == PROBE_RESETS) {
        enum disk_progress progress = go_on_with_reset(channel, next);
        if (progress != DISK_READY)
            return progress == DISK_GONE;
        look_for_drive(channel, 0);
    }
    while (channel->number < DRIVES) {
        bool identifies = channel->step == PROBE_IDENTIFIES;
        *next = channel->wait.next;
        if (channel->server->now < *next)
            return false;
        uint8_t status = look(channel);
        bool nobody = status == 0 || status == 0xff;
        bool busy = status & (identifies ? ATA_BUSY : ATA_BUSY | ATA_REQUEST);
        if (!nobody && busy &&
            ata_wait_goes_on(&channel->wait, channel->server->now, channel->server->ticks_per_ms))
            continue;
        if (!nobody && !busy && !identifies) {
            identify(channel);
            continue;
        }
        if (!nobody && !busy)
            take_identity(channel);
        look_for_drive(channel, channel->number + 1);
    }
    select_drive(&channel->drives[0], 0);
    port_read8(channel->ports + ATA_COMMAND);
    stop_master(channel);
    port_write8(channel->control, 0);
    return true;
}

const char *ide_start(struct server *server, const struct device_grant *grant,
                      struct dma_area *area)
{
    const struct device_bar *bars = grant->bars;
    struct channel *channels = server_allocate(CHANNELS * sizeof *channels);
    if (!channels)
        return "there is too little memory for its driver";
    if (!bars[4].port)
        return "it can't move data by itself (no bus master ports)";
    bool native = grant->class_code & 5;
    for (unsigned n = 0; n < CHANNELS; n++) {
        struct channel *channel = &channels[n];
        *channel = (struct channel){
            .probe = {.look = look_for_drives, .grant = grant},
            .area = area,
            .server = server,
            .ports = (uint16_t)bars[2 * n].port,
            .control = (uint16_t)bars[2 * n + 1].port,
            .master = (uint16_t)(bars[4].port + n * MASTER_PORTS),
            .interrupt = TASK_BIT_INTERRUPT(grant->interrupt_number + (native ? 0 : n)),
            .drives = {{.channel = channel}, {.channel = channel, .select = DEVICE_SECOND}},
        };
        if (!channel->ports || !channel->control)
            continue;
        begin_reset(channel, NULL);
        probe_add(server, &channel->probe);
    }
    return NULL;
}
