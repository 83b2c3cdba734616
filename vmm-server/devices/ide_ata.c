/*
 * Commands of an IDE hard disk (ATA/ATAPI-6, 8). What a drive does not know ends with ABRT, as there.
 */
#include "devices/ide_internal.h"

#include "string.h"

#define MULTIPLE_MAX    16u
#define HEADS           16u
#define TRACK_SECTORS   63u
#define CYLINDERS_MAX   16383u
#define LBA28_SECTORS   0x0fffffffull
#define PIO_MODES       0x08u /* SET FEATURES 03h: PIO with flow control */
#define MULTIWORD_MODES 0x20u
#define ULTRA_MODES     0x40u

enum {
    READ_SECTORS = 0x20,
    READ_SECTORS_OLD = 0x21,
    READ_SECTORS_EXT = 0x24,
    READ_DMA_EXT = 0x25,
    READ_NATIVE_MAX_EXT = 0x27,
    READ_MULTIPLE_EXT = 0x29,
    WRITE_SECTORS = 0x30,
    WRITE_SECTORS_OLD = 0x31,
    WRITE_SECTORS_EXT = 0x34,
    WRITE_DMA_EXT = 0x35,
    WRITE_MULTIPLE_EXT = 0x39,
    VERIFY = 0x40,
    VERIFY_OLD = 0x41,
    VERIFY_EXT = 0x42,
    RECALIBRATE = 0x10, /* the low four bits have no meaning: ATA-3 and before */
    SEEK = 0x70,
    INITIALIZE_PARAMETERS = 0x91,
    STANDBY_NOW_OLD = 0x94,
    IDLE_NOW_OLD = 0x95,
    STANDBY_OLD = 0x96,
    IDLE_OLD = 0x97,
    CHECK_POWER_OLD = 0x98,
    SLEEP_OLD = 0x99,
    READ_MULTIPLE = 0xc4,
    WRITE_MULTIPLE = 0xc5,
    SET_MULTIPLE = 0xc6,
    READ_DMA = 0xc8,
    READ_DMA_OLD = 0xc9,
    WRITE_DMA = 0xca,
    WRITE_DMA_OLD = 0xcb,
    STANDBY_NOW = 0xe0,
    IDLE_NOW = 0xe1,
    STANDBY = 0xe2,
    IDLE = 0xe3,
    CHECK_POWER = 0xe5,
    SLEEP = 0xe6,
    FLUSH = 0xe7,
    FLUSH_EXT = 0xea,
    IDENTIFY = 0xec,
    SET_FEATURES = 0xef,
    READ_NATIVE_MAX = 0xf8
};

/* ---- addresses ---------------------------------------------------------------------------------- */

static uint64_t low_lba(const struct ide_registers *registers)
{
    return registers->lba[0] | (uint64_t)registers->lba[1] << 8 | (uint64_t)registers->lba[2] << 16;
}

static void set_low_lba(struct ide_registers *registers, uint64_t sector)
{
    for (unsigned i = 0; i < 3; i++)
        registers->lba[i] = (uint8_t)(sector >> 8 * i);
}

struct geometry {
    uint64_t cylinders;
    unsigned heads, track_sectors;
};

/*
 * The drive's own geometry. There is at least one cylinder, and the product does not exceed the capacity (ATA/ATAPI-5,
 * 6.2.1), so that a drive of less than a cylinder has fewer heads or shorter tracks: firmware boots it by them.
 */
static struct geometry own_geometry(const struct ide_drive *drive)
{
    uint64_t sectors = drive->disk.volume.sectors, tracks;
    struct geometry own = {.heads = HEADS, .track_sectors = TRACK_SECTORS};
    if (sectors && sectors < TRACK_SECTORS)
        own.track_sectors = (unsigned)sectors;
    tracks = sectors / own.track_sectors;
    if (tracks && tracks < HEADS)
        own.heads = (unsigned)tracks;
    own.cylinders = tracks / own.heads;
    if (own.cylinders > CYLINDERS_MAX)
        own.cylinders = CYLINDERS_MAX;
    return own;
}

/* As the host counts now: by what it has said, else by the drive's own. */
static struct geometry geometry_now(const struct ide_drive *drive)
{
    struct geometry now = {.heads = drive->heads, .track_sectors = drive->track_sectors};
    if (now.heads == 0)
        return own_geometry(drive);
    now.cylinders = drive->disk.volume.sectors / (now.heads * now.track_sectors);
    return now;
}

/* Where the command begins. False: there is no such sector (of a head or track that the drive hasn't). */
static bool get_address(struct ide_drive *drive, bool ext, uint64_t *sector)
{
    struct ide_transfer *transfer = &drive->channel->transfer;
    const struct ide_registers *now = &drive->now;
    transfer->addressing = ext ? IDE_LBA48 : drive->device & DEVICE_LBA ? IDE_LBA28 : IDE_CHS;
    if (transfer->addressing == IDE_LBA48) {
        *sector = low_lba(now) | low_lba(&drive->previous) << 24;
        return (drive->device & DEVICE_LBA) != 0;
    }
    if (transfer->addressing == IDE_LBA28) {
        *sector = low_lba(now) | (uint64_t)(drive->device & 15) << 24;
        return true;
    }
    unsigned cylinder = now->lba[1] | now->lba[2] << 8, head = drive->device & 15;
    struct geometry geometry = geometry_now(drive);
    *sector =
        ((uint64_t)cylinder * geometry.heads + head) * geometry.track_sectors + now->lba[0] - 1;
    return now->lba[0] && now->lba[0] <= geometry.track_sectors && head < geometry.heads;
}

void ide_ata_set_address(struct ide_drive *drive, uint64_t sector)
{
    unsigned addressing = drive->channel->transfer.addressing;
    if (addressing == IDE_CHS) {
        struct geometry geometry = geometry_now(drive);
        uint64_t track = sector / geometry.track_sectors, cylinder = track / geometry.heads;
        drive->now.lba[0] = (uint8_t)(sector % geometry.track_sectors + 1);
        drive->now.lba[1] = (uint8_t)cylinder;
        drive->now.lba[2] = (uint8_t)(cylinder >> 8);
        drive->device = (uint8_t)((drive->device & 0xf0) | track % geometry.heads);
        return;
    }
    set_low_lba(&drive->now, sector);
    if (addressing == IDE_LBA48)
        set_low_lba(&drive->previous, sector >> 24);
    else
        drive->device = (uint8_t)((drive->device & 0xf0) | (sector >> 24 & 15));
}

static uint32_t get_count(const struct ide_drive *drive, bool ext)
{
    uint32_t count = drive->now.count | (ext ? drive->previous.count << 8 : 0);
    return count ? count : ext ? 65536 : 256;
}

/* ---- reading and writing ------------------------------------------------------------------------- */

static void transfer(struct ide_drive *drive, enum ide_phase phase, bool ext, unsigned block)
{
    uint64_t sector;
    uint32_t count = get_count(drive, ext);
    bool write = phase == IDE_PIO_OUT || phase == IDE_DMA_OUT;
    if (block == 0 || (write && drive->disk.volume.flags & BLOCK_VOLUME_READ_ONLY)) {
        ide_fail(drive, ERROR_ABORTED);
        return;
    }
    if (!get_address(drive, ext, &sector) || !disk_holds(&drive->disk, sector, count)) {
        ide_fail(drive, ERROR_NOT_FOUND);
        return;
    }
    struct ide_transfer *begun = ide_begin(drive, phase);
    begun->sector = sector;
    begun->sectors = count;
    begun->block_bytes = block * SECTOR;
    ide_go_on(drive->channel);
}

/* 8.43: the sector must be there; nothing moves. */
static void seek(struct ide_drive *drive)
{
    uint64_t sector;
    if (get_address(drive, false, &sector) && disk_holds(&drive->disk, sector, 1))
        ide_finish(drive);
    else
        ide_fail(drive, ERROR_NOT_FOUND);
}

static void flush(struct ide_drive *drive)
{
    if (!(drive->disk.volume.flags & BLOCK_VOLUME_FLUSH)) {
        ide_finish(drive);
        return;
    }
    ide_begin(drive, IDE_SILENT)->entry.request.segments = 0;
    ide_ask(drive->channel, BLOCK_FLUSH, 0);
}

static void native_max(struct ide_drive *drive, bool ext)
{
    uint64_t sectors = drive->disk.volume.sectors;
    if (!(drive->device & DEVICE_LBA) || sectors == 0) {
        ide_fail(drive, ERROR_ABORTED);
        return;
    }
    if (!ext && sectors > LBA28_SECTORS)
        sectors = LBA28_SECTORS;
    drive->channel->transfer.addressing = ext ? IDE_LBA48 : IDE_LBA28;
    ide_ata_set_address(drive, sectors - 1);
    ide_finish(drive);
}

/* ---- what the drive says of itself ---------------------------------------------------------------- */

void ide_put_text(uint16_t *words, unsigned count, const char *text, unsigned length)
{
    for (unsigned i = 0; i < count * 2; i++) {
        uint8_t c = i < length && text[i] ? (uint8_t)text[i] : ' ';
        if (i < length && !text[i])
            length = 0; /* it ends here */
        words[i / 2] |= (uint16_t)(i % 2 ? c : c << 8);
    }
}

/* Words 54 to 58: as the host counts now (ATA-3, 7.7; obsolete in ATA-6, but asked for). */
static void put_geometry(const struct ide_drive *drive, uint16_t *words)
{
    struct geometry own = own_geometry(drive), now = geometry_now(drive);
    words[1] = (uint16_t)own.cylinders;
    words[3] = (uint16_t)own.heads;
    words[6] = (uint16_t)own.track_sectors;
    words[54] = (uint16_t)(now.cylinders < UINT16_MAX ? now.cylinders : UINT16_MAX);
    words[55] = (uint16_t)now.heads;
    words[56] = (uint16_t)now.track_sectors;
    uint32_t reached = words[54] * now.heads * now.track_sectors;
    words[57] = (uint16_t)reached;
    words[58] = (uint16_t)(reached >> 16);
}

static void put_capacity(const struct ide_drive *drive, uint16_t *words)
{
    uint64_t sectors = drive->disk.volume.sectors;
    uint64_t low = sectors < LBA28_SECTORS ? sectors : LBA28_SECTORS;
    unsigned exponent = 0;
    words[60] = (uint16_t)low;
    words[61] = (uint16_t)(low >> 16);
    for (unsigned i = 0; i < 4; i++)
        words[100 + i] = (uint16_t)(sectors >> 16 * i);
    while (exponent < 15 && (uint64_t)SECTOR << exponent < drive->disk.volume.physical_bytes)
        exponent++;
    if (exponent)
        words[106] = (uint16_t)(0x6000 | exponent);
}

/* 8.15 */
static void identify(struct ide_drive *drive)
{
    struct ide_channel *channel = drive->channel;
    uint16_t *words = (uint16_t *)(void *)channel->buffer;
    unsigned mode = drive->mode & 7;
    ide_begin(drive, IDE_PIO_IN);
    memset(words, 0, SECTOR);
    words[0] = 0x0040; /* not removable */
    put_geometry(drive, words);
    ide_put_text(words + 10, 10, drive->disk.volume.serial, sizeof drive->disk.volume.serial);
    ide_put_text(words + 23, 4, "1.0", 3);
    ide_put_text(words + 27, 20, "SEPTUM DISK", 11);
    words[47] = 0x8000 | MULTIPLE_MAX;
    words[49] = 0x0b00; /* IORDY, LBA, DMA */
    words[50] = 0x4000;
    words[51] = 0x0200;
    words[53] = 0x0007; /* words 54 to 58, 64 to 70 and 88 mean something */
    words[59] = drive->multiple ? 0x0100 | drive->multiple : 0;
    put_capacity(drive, words);
    words[63] = (uint16_t)(0x0007 | ((drive->mode & 0xf8) == MULTIWORD_MODES ? 0x100 << mode : 0));
    words[64] = 0x0003;
    for (unsigned i = 65; i <= 68; i++)
        words[i] = 120; /* ns of a cycle */
    words[80] = 0x007e; /* ATA-1 to ATA/ATAPI-6 */
    words[82] = 0x4028; /* NOP, write cache, power management */
    words[83] = 0x7400; /* FLUSH CACHE and EXT, 48-bit addresses */
    words[84] = 0x4000;
    words[85] = (uint16_t)(0x4008 | (drive->no_cache ? 0 : 0x0020));
    words[86] = 0x3400;
    words[87] = 0x4000;
    words[88] = (uint16_t)(0x003f | ((drive->mode & 0xf8) == ULTRA_MODES ? 0x100 << mode : 0));
    words[93] = drive->number % IDE_DRIVES ? 0x6b00 : 0x600b; /* an 80-conductor cable */
    ide_offer(channel, SECTOR);
}

/* ---- settings ------------------------------------------------------------------------------------- */

/* 8.46, subcommand 03h: what can be set is what IDENTIFY offers. */
static bool set_mode(struct ide_drive *drive)
{
    uint8_t mode = drive->now.count;
    bool known = mode <= 1 || (mode & 0xf8) == PIO_MODES ? (mode & 7) <= 4
                 : (mode & 0xf8) == MULTIWORD_MODES      ? (mode & 7) <= 2
                 : (mode & 0xf8) == ULTRA_MODES          ? (mode & 7) <= 5
                                                         : false;
    if (known && mode & (MULTIWORD_MODES | ULTRA_MODES))
        drive->mode = mode;
    return known;
}

static bool set_features(struct ide_drive *drive)
{
    switch (drive->now.features) {
    case 0x02: drive->no_cache = false; return drive->kind == IDE_DISK;
    case 0x82: drive->no_cache = drive->kind == IDE_DISK; return drive->kind == IDE_DISK;
    case 0x03: return set_mode(drive);
    case 0x55: /* read ahead off, on; power-on defaults kept over a reset, or not: it is so anyway */
    case 0xaa:
    case 0x66:
    case 0xcc: return drive->kind == IDE_DISK;
    default: return false;
    }
}

static void end(struct ide_drive *drive, bool good)
{
    if (good)
        ide_finish(drive);
    else
        ide_fail(drive, ERROR_ABORTED);
}

static bool set_multiple(struct ide_drive *drive)
{
    unsigned count = drive->now.count;
    bool good = count <= MULTIPLE_MAX && (count & (count - 1)) == 0;
    if (good)
        drive->multiple = (uint8_t)count;
    return good;
}

/* 8.16 of ATA-5: from now on the host counts so. */
static bool set_geometry(struct ide_drive *drive)
{
    if (drive->now.count == 0)
        return false;
    drive->track_sectors = drive->now.count;
    drive->heads = (uint16_t)((drive->device & 15) + 1);
    return true;
}

bool ide_common_command(struct ide_drive *drive, uint8_t command)
{
    switch (command) {
    case STANDBY_NOW:
    case STANDBY_NOW_OLD:
    case STANDBY:
    case STANDBY_OLD:
    case SLEEP:
    case SLEEP_OLD: drive->power = 0x00; break;
    case IDLE_NOW:
    case IDLE_NOW_OLD:
    case IDLE:
    case IDLE_OLD: drive->power = 0xff; break;
    case CHECK_POWER:
    case CHECK_POWER_OLD: drive->now.count = drive->power; break;
    case SET_FEATURES: end(drive, set_features(drive)); return true;
    default: return false;
    }
    ide_finish(drive);
    return true;
}

static bool other_command(struct ide_drive *drive, uint8_t command)
{
    switch (command) {
    case SET_MULTIPLE: end(drive, set_multiple(drive)); return true;
    case INITIALIZE_PARAMETERS: end(drive, set_geometry(drive)); return true;
    case READ_NATIVE_MAX:
    case READ_NATIVE_MAX_EXT: native_max(drive, command == READ_NATIVE_MAX_EXT); return true;
    case FLUSH:
    case FLUSH_EXT: flush(drive); return true;
    case IDENTIFY: identify(drive); return true;
    default: break;
    }
    if ((command & 0xf0) == SEEK)
        seek(drive);
    else if ((command & 0xf0) == RECALIBRATE)
        ide_finish(drive);
    else
        return false;
    return true;
}

void ide_ata_command(struct ide_drive *drive, uint8_t command)
{
    unsigned multiple = drive->multiple;
    switch (command) {
    case READ_SECTORS:
    case READ_SECTORS_OLD: transfer(drive, IDE_PIO_IN, false, 1); return;
    case READ_SECTORS_EXT: transfer(drive, IDE_PIO_IN, true, 1); return;
    case READ_MULTIPLE: transfer(drive, IDE_PIO_IN, false, multiple); return;
    case READ_MULTIPLE_EXT: transfer(drive, IDE_PIO_IN, true, multiple); return;
    case READ_DMA:
    case READ_DMA_OLD: transfer(drive, IDE_DMA_IN, false, 1); return;
    case READ_DMA_EXT: transfer(drive, IDE_DMA_IN, true, 1); return;
    case WRITE_SECTORS:
    case WRITE_SECTORS_OLD: transfer(drive, IDE_PIO_OUT, false, 1); return;
    case WRITE_SECTORS_EXT: transfer(drive, IDE_PIO_OUT, true, 1); return;
    case WRITE_MULTIPLE: transfer(drive, IDE_PIO_OUT, false, multiple); return;
    case WRITE_MULTIPLE_EXT: transfer(drive, IDE_PIO_OUT, true, multiple); return;
    case WRITE_DMA:
    case WRITE_DMA_OLD: transfer(drive, IDE_DMA_OUT, false, 1); return;
    case WRITE_DMA_EXT: transfer(drive, IDE_DMA_OUT, true, 1); return;
    case VERIFY:
    case VERIFY_OLD: transfer(drive, IDE_SILENT, false, 1); return;
    case VERIFY_EXT: transfer(drive, IDE_SILENT, true, 1); return;
    default: break;
    }
    if (!other_command(drive, command) && !ide_common_command(drive, command))
        ide_fail(drive, ERROR_ABORTED);
}
