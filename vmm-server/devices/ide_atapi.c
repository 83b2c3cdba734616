/*
 * A CD-ROM drive with an image in it: packets (ATA/ATAPI-6, 8.25; INF-8020i 2.6 for what old systems use; MMC-3).
 *
 * Features: INQUIRY, TEST UNIT READY, REQUEST SENSE, READ CAPACITY, READ(10), READ(12), READ CD of user data, READ TOC of
 *           one data track (formats 0, 1 and 2), MODE SENSE(10) and (6) of the capabilities page, GET CONFIGURATION,
 *           GET EVENT STATUS NOTIFICATION of the medium, START STOP UNIT, PREVENT ALLOW, SEEK, READ DISC INFORMATION,
 *           MECHANISM STATUS.
 * Missing:  audio, raw sectors, writing.
 */
#include "devices/ide_internal.h"

#include "string.h"

#define CD_BYTES   2048u
#define CD_SECTORS (CD_BYTES / SECTOR)
#define LEAD_OUT   0xaau

enum { NOT_READY = 2, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6 };

enum {
    COMMAND_PACKET = 0xa0,
    COMMAND_IDENTIFY_PACKET = 0xa1,
    COMMAND_IDENTIFY = 0xec,
    COMMAND_READ_SECTORS = 0x20
};

enum {
    TEST_UNIT_READY = 0x00,
    REQUEST_SENSE = 0x03,
    INQUIRY = 0x12,
    MODE_SENSE_6 = 0x1a,
    START_STOP = 0x1b,
    PREVENT_ALLOW = 0x1e,
    READ_CAPACITY = 0x25,
    READ_10 = 0x28,
    SEEK_10 = 0x2b,
    READ_TOC = 0x43,
    GET_CONFIGURATION = 0x46,
    GET_EVENT_STATUS = 0x4a,
    READ_DISC_INFORMATION = 0x51,
    MODE_SENSE_10 = 0x5a,
    READ_12 = 0xa8,
    MECHANISM_STATUS = 0xbd,
    READ_CD = 0xbe
};

static uint16_t big16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t big32(const uint8_t *at)
{
    return (uint32_t)big16(at) << 16 | big16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static uint32_t blocks_of(const struct ide_drive *drive)
{
    uint64_t blocks = drive->disk.volume.sectors / CD_SECTORS;
    return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

static bool has_medium(const struct ide_drive *drive)
{
    return !drive->open && blocks_of(drive) != 0;
}

/* ---- the ends of a command ------------------------------------------------------------------------ */

void ide_atapi_finish(struct ide_drive *drive)
{
    drive->now.count = REASON_COMMAND | REASON_TO_HOST;
    ide_finish(drive);
}

void ide_atapi_fail(struct ide_drive *drive, uint8_t key, uint8_t code, uint8_t qualifier)
{
    drive->sense = (struct ide_sense){key, code, qualifier};
    drive->now.count = REASON_COMMAND | REASON_TO_HOST;
    ide_fail(drive, (uint8_t)(key << 4 | ERROR_ABORTED));
}

static void fail_field(struct ide_drive *drive)
{
    ide_atapi_fail(drive, ILLEGAL_REQUEST, 0x24, 0); /* invalid field in the packet */
}

/* An answer of `size_bytes` is in the buffer, of which the host wants no more than `allocated`. */
static void answer(struct ide_drive *drive, uint32_t size_bytes, uint32_t allocated)
{
    uint32_t bytes = size_bytes < allocated ? size_bytes : allocated;
    if (bytes == 0)
        ide_atapi_finish(drive);
    else
        ide_offer(drive->channel, bytes);
}

/* ---- what the drive says of itself and its medium --------------------------------------------------- */

static uint8_t *clear(struct ide_drive *drive, uint32_t size_bytes)
{
    memset(drive->channel->buffer, 0, size_bytes);
    return drive->channel->buffer;
}

static void inquiry(struct ide_drive *drive, const uint8_t *packet)
{
    uint8_t *data = clear(drive, 36);
    if (packet[1] & 3) { /* vital product data */
        fail_field(drive);
        return;
    }
    data[0] = 0x05; /* CD-ROM */
    data[1] = 0x80; /* removable */
    data[3] = 0x21; /* as ATAPI has it */
    data[4] = 36 - 5;
    memcpy(data + 8, "SEPTUM  CD-ROM          1.0 ", 28);
    answer(drive, 36, packet[4]);
}

static void request_sense(struct ide_drive *drive, const uint8_t *packet)
{
    uint8_t *data = clear(drive, 18);
    data[0] = 0x70;
    data[2] = drive->sense.key;
    data[7] = 10;
    data[12] = drive->sense.code;
    data[13] = drive->sense.qualifier;
    drive->sense = (struct ide_sense){0};
    drive->attention = false;
    answer(drive, 18, packet[4]);
}

static void read_capacity(struct ide_drive *drive)
{
    uint8_t *data = clear(drive, 8);
    put32(data, blocks_of(drive) - 1);
    put32(data + 4, CD_BYTES);
    answer(drive, 8, 8);
}

/* An address as minutes, seconds and frames, if the host wants it so. */
static void put_address(uint8_t *at, uint32_t block, bool msf)
{
    if (!msf) {
        put32(at, block);
        return;
    }
    block += 150;
    at[0] = 0;
    at[1] = (uint8_t)(block / 75 / 60);
    at[2] = (uint8_t)(block / 75 % 60);
    at[3] = (uint8_t)(block % 75);
}

static uint32_t put_track(uint8_t *at, uint8_t track, uint32_t block, bool msf)
{
    at[1] = 0x14; /* a data track */
    at[2] = track;
    put_address(at + 4, block, msf);
    return 8;
}

/* Format 2: of one session, all entries of its lead-in, which are always minutes, seconds and frames. */
static uint32_t put_full_toc(uint8_t *data, uint32_t blocks)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    uint8_t *at = data + 4;
    for (unsigned i = 0; i < sizeof points; i++, at += 11) {
        at[0] = 1;
        at[1] = 0x14;
        at[3] = points[i];
        if (points[i] == 0xa2 || points[i] == 1)
            put_address(at + 7, points[i] == 1 ? 0 : blocks, true);
        else
            at[8] = 1; /* the first and the last track */
    }
    return (uint32_t)(at - data);
}

static void read_toc(struct ide_drive *drive, const uint8_t *packet)
{
    unsigned format = packet[2] & 15 ? packet[2] & 15 : packet[9] >> 6;
    bool msf = packet[1] & 2;
    uint8_t *data = clear(drive, 64), track = packet[6];
    uint32_t bytes = 4;
    data[2] = data[3] = 1;
    if (format == 0 && (track <= 1 || track == LEAD_OUT)) {
        if (track <= 1)
            bytes += put_track(data + bytes, 1, 0, msf);
        bytes += put_track(data + bytes, LEAD_OUT, blocks_of(drive), msf);
    } else if (format == 1) {
        bytes += put_track(data + bytes, 1, 0, msf);
    } else if (format == 2) {
        bytes = put_full_toc(data, blocks_of(drive));
    } else {
        fail_field(drive);
        return;
    }
    put16(data, bytes - 2);
    answer(drive, bytes, big16(packet + 7));
}

static uint32_t put_capabilities(uint8_t *at, bool locked)
{
    at[0] = 0x2a;
    at[1] = 18;
    at[4] = 0x00;                               /* no audio */
    at[6] = (uint8_t)(0x29 | (locked ? 2 : 0)); /* a tray that can be locked and opened */
    put16(at + 8, 176 * 16);                    /* KB/s */
    put16(at + 12, IDE_BUFFER_BYTES / 1024);
    put16(at + 14, 176 * 16);
    return 20;
}

/* Page 1 is how errors are dealt with: by as many attempts as the server makes. */
static uint32_t put_error_page(uint8_t *at)
{
    at[0] = 0x01;
    at[1] = 6;
    return 8;
}

static void mode_sense(struct ide_drive *drive, const uint8_t *packet, bool short_form)
{
    unsigned page = packet[2] & 0x3f, control = packet[2] >> 6;
    uint32_t bytes = short_form ? 4 : 8;
    uint8_t *data = clear(drive, 64);
    if (control == 3) {
        ide_atapi_fail(drive, ILLEGAL_REQUEST, 0x39, 0); /* nothing is saved */
        return;
    }
    if (page == 0x01 || page == 0x3f)
        bytes += put_error_page(data + bytes);
    if (page == 0x2a || page == 0x3f)
        bytes += put_capabilities(data + bytes, drive->locked);
    if (bytes <= 8 && page != 0x01) {
        fail_field(drive);
        return;
    }
    if (control == 1) /* which bits can be changed: none */
        memset(data + (short_form ? 4 : 8), 0, bytes - (short_form ? 4 : 8));
    uint8_t medium = has_medium(drive) ? 0x01 : 0x70;
    if (short_form) {
        data[0] = (uint8_t)(bytes - 1);
        data[1] = medium;
    } else {
        put16(data, bytes - 2);
        data[2] = medium;
    }
    answer(drive, bytes, short_form ? packet[4] : big16(packet + 7));
}

/* MMC-3, 6.6: profile CD-ROM, and the features that it needs. */
static void get_configuration(struct ide_drive *drive, const uint8_t *packet)
{
    uint8_t *data = clear(drive, 64);
    unsigned from = big16(packet + 2), kind = packet[1] & 3;
    uint32_t bytes = 8;
    put16(data + 6, has_medium(drive) ? 0x0008 : 0);
    const struct {
        uint16_t code;
        uint8_t flags, length, data[8];
    } features[] = {
        {0x0000, 0x03, 4, {0x00, 0x08, has_medium(drive), 0}}, /* profiles */
        {0x0001, 0x03, 4, {0, 0, 0, 2}},                       /* core: ATAPI */
        {0x0003, 0x03, 4, {0x29}},                             /* a tray */
        {0x0010, 0x01, 8, {0, 0, 0x08, 0, 0, 1}},              /* reads at random, 2048 bytes */
    };
    for (unsigned i = 0; i < sizeof features / sizeof *features; i++) {
        if (kind == 2 ? features[i].code != from : features[i].code < from)
            continue;
        put16(data + bytes, features[i].code);
        data[bytes + 2] = features[i].flags;
        data[bytes + 3] = features[i].length;
        memcpy(data + bytes + 4, features[i].data, features[i].length);
        bytes += 4u + features[i].length;
    }
    put32(data, bytes - 4);
    answer(drive, bytes, big16(packet + 7));
}

static void get_event_status(struct ide_drive *drive, const uint8_t *packet)
{
    uint8_t *data = clear(drive, 8);
    if (!(packet[1] & 1)) { /* to be told later */
        fail_field(drive);
        return;
    }
    data[3] = 0x10; /* of the medium alone */
    if (!(packet[4] & 0x10)) {
        put16(data, 2);
        data[2] = 0x80; /* no such event */
        answer(drive, 4, big16(packet + 7));
        return;
    }
    put16(data, 6);
    data[2] = 0x04;
    data[4] = drive->tray_event ? (drive->open ? 3 : 2) : 0; /* removed, new medium */
    data[5] = (uint8_t)((drive->open ? 1 : 0) | (has_medium(drive) ? 2 : 0));
    drive->tray_event = false;
    answer(drive, 8, big16(packet + 7));
}

static void read_disc_information(struct ide_drive *drive, const uint8_t *packet)
{
    uint8_t *data = clear(drive, 34);
    put16(data, 32);
    data[2] = 0x0e; /* complete, as is its last session */
    data[3] = data[4] = data[5] = data[6] = 1;
    data[7] = 0x20;
    memset(data + 16, 0xff, 8);
    answer(drive, 34, big16(packet + 7));
}

static void mechanism_status(struct ide_drive *drive, const uint8_t *packet)
{
    uint8_t *data = clear(drive, 8);
    data[1] = drive->open ? 0x10 : 0;
    data[5] = 1;
    answer(drive, 8, big16(packet + 8));
}

/* ---- the medium ----------------------------------------------------------------------------------- */

static void read(struct ide_drive *drive, uint32_t block, uint32_t blocks)
{
    struct ide_transfer *transfer = &drive->channel->transfer;
    if (block > blocks_of(drive) || blocks > blocks_of(drive) - block) {
        ide_atapi_fail(drive, ILLEGAL_REQUEST, 0x21, 0);
        return;
    }
    if (blocks == 0) {
        ide_atapi_finish(drive);
        return;
    }
    transfer->sector = (uint64_t)block * CD_SECTORS;
    transfer->sectors = blocks * CD_SECTORS;
    ide_go_on(drive->channel);
}

/* MMC-3, 6.15: of a data track, its user data or nothing. */
static void read_cd(struct ide_drive *drive, const uint8_t *packet)
{
    uint32_t blocks = (uint32_t)packet[6] << 16 | big16(packet + 7);
    unsigned type = packet[1] >> 2 & 7;
    bool data = packet[9] == 0x10, nothing = packet[9] == 0;
    if ((type != 0 && type != 2 && type != 4) || packet[10] & 7 || !(data || nothing))
        fail_field(drive);
    else
        read(drive, big32(packet + 2), nothing ? 0 : blocks);
}

static void start_stop(struct ide_drive *drive, const uint8_t *packet)
{
    bool load = packet[4] & 2, start = packet[4] & 1;
    if (load && !start && drive->locked) {
        ide_atapi_fail(drive, ILLEGAL_REQUEST, 0x53, 2); /* removal is prevented */
        return;
    }
    if (load && drive->open == start) {
        drive->open = !start;
        drive->tray_event = true;
        drive->attention = start;
    }
    ide_atapi_finish(drive);
}

static void with_medium(struct ide_drive *drive, const uint8_t *packet)
{
    if (!has_medium(drive)) {
        ide_atapi_fail(drive, NOT_READY, 0x3a, drive->open ? 2 : 1);
        return;
    }
    switch (packet[0]) {
    case READ_CAPACITY: read_capacity(drive); break;
    case READ_10: read(drive, big32(packet + 2), big16(packet + 7)); break;
    case READ_12: {
        uint32_t blocks = big32(packet + 6);
        read(drive, big32(packet + 2), blocks);
        break;
    }
    case READ_CD: read_cd(drive, packet); break;
    case READ_TOC: read_toc(drive, packet); break;
    case READ_DISC_INFORMATION: read_disc_information(drive, packet); break;
    case SEEK_10: read(drive, big32(packet + 2), 0); break;
    case TEST_UNIT_READY: ide_atapi_finish(drive); break;
    default: ide_atapi_fail(drive, ILLEGAL_REQUEST, 0x20, 0); break; /* not known */
    }
}

void ide_atapi_packet(struct ide_drive *drive)
{
    struct ide_transfer *transfer = &drive->channel->transfer;
    uint32_t limit = (drive->now.lba[1] | (uint32_t)drive->now.lba[2] << 8) & ~1u;
    uint8_t packet[IDE_PACKET_BYTES];
    memcpy(packet, drive->channel->buffer, sizeof packet);
    ide_begin(drive, drive->now.features & 1 ? IDE_DMA_IN : IDE_PIO_IN);
    transfer->packet = true;
    transfer->block_bytes = limit ? limit : 0xfffe;
    if (drive->attention && packet[0] != INQUIRY && packet[0] != REQUEST_SENSE &&
        packet[0] != GET_CONFIGURATION && packet[0] != GET_EVENT_STATUS) {
        drive->attention = false;
        ide_atapi_fail(drive, UNIT_ATTENTION, 0x29, 0);
        return;
    }
    if (packet[0] != REQUEST_SENSE)
        drive->sense = (struct ide_sense){0};
    switch (packet[0]) {
    case INQUIRY: inquiry(drive, packet); break;
    case REQUEST_SENSE: request_sense(drive, packet); break;
    case MODE_SENSE_6: mode_sense(drive, packet, true); break;
    case MODE_SENSE_10: mode_sense(drive, packet, false); break;
    case GET_CONFIGURATION: get_configuration(drive, packet); break;
    case GET_EVENT_STATUS: get_event_status(drive, packet); break;
    case MECHANISM_STATUS: mechanism_status(drive, packet); break;
    case START_STOP: start_stop(drive, packet); break;
    case PREVENT_ALLOW:
        drive->locked = packet[4] & 1;
        ide_atapi_finish(drive);
        break;
    default: with_medium(drive, packet); break;
    }
}

/* ---- commands --------------------------------------------------------------------------------------- */

/* 8.16 */
static void identify_packet(struct ide_drive *drive)
{
    struct ide_channel *channel = drive->channel;
    uint16_t *words = (uint16_t *)(void *)channel->buffer;
    unsigned mode = drive->mode & 7;
    ide_begin(drive, IDE_PIO_IN);
    memset(words, 0, SECTOR);
    words[0] = 0x85c0; /* a packet device, CD-ROM, removable; 12 bytes, DRQ within 50 us */
    ide_put_text(words + 10, 10, drive->disk.volume.serial, sizeof drive->disk.volume.serial);
    ide_put_text(words + 23, 4, "1.0", 3);
    ide_put_text(words + 27, 20, "SEPTUM CD-ROM", 13);
    words[49] = 0x0b00; /* IORDY, LBA, DMA */
    words[50] = 0x4000;
    words[51] = 0x0200;
    words[53] = 0x0006;
    words[63] = (uint16_t)(0x0007 | ((drive->mode & 0xf8) == 0x20 ? 0x100 << mode : 0));
    words[64] = 0x0003;
    for (unsigned i = 65; i <= 68; i++)
        words[i] = 120;
    words[80] = 0x007e;
    words[82] = 0x4218; /* NOP, DEVICE RESET, packets, power management */
    words[83] = 0x4000;
    words[84] = 0x4000;
    words[85] = 0x4218;
    words[87] = 0x4000;
    words[88] = (uint16_t)(0x003f | ((drive->mode & 0xf8) == 0x40 ? 0x100 << mode : 0));
    words[93] = drive->number % IDE_DRIVES ? 0x6b00 : 0x600b;
    ide_offer(channel, SECTOR);
}

void ide_atapi_command(struct ide_drive *drive, uint8_t command)
{
    switch (command) {
    case COMMAND_PACKET: {
        struct ide_transfer *transfer = ide_begin(drive, IDE_PACKET);
        if (drive->now.features & 2) { /* overlapped */
            ide_fail(drive, ERROR_ABORTED);
            return;
        }
        transfer->end = transfer->block_end = IDE_PACKET_BYTES;
        drive->now.count = REASON_COMMAND;
        drive->status = DRIVE_IDLE | DRIVE_REQUEST;
        return;
    }
    case COMMAND_IDENTIFY_PACKET: identify_packet(drive); return;
    case COMMAND_IDENTIFY: /* 9.12: so a host that looks for a disk finds what it is */
    case COMMAND_READ_SECTORS: {
        uint8_t device = drive->device;
        ide_set_signature(drive);
        drive->device = device & DEVICE_SECOND;
        ide_fail(drive, ERROR_ABORTED);
        return;
    }
    default:
        if (!ide_common_command(drive, command))
            ide_fail(drive, ERROR_ABORTED);
    }
}
